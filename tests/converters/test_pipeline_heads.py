"""Models with heads of all kinds, from a .keras file to a bundle."""

from __future__ import annotations

import pytest

from converters.pipeline import convert
from edgenet.errors import UsageError
from edgenet.runtime import load
from tests.networks import joined_network


def test_a_head_on_mean_and_maximum_is_converted_whole(texture_folder, tmp_path):
    model = tmp_path / "joined.keras"
    joined_network().save(model)
    bundle = convert(
        model, tmp_path / "b", precision="int8", calibration=texture_folder, effort="fast"
    )
    assert bundle.formats == ("tflite", "onnx", "openvino")
    assert all(artifact.verified.sqnr_db > 12 for artifact in bundle.manifest.artifacts)
    names = [output.name for output in bundle.manifest.outputs]
    assert names == ["logits", "probabilities"]
    with load(bundle) as session, pytest.raises(UsageError, match="no features output"):
        session.embed(texture_folder / "000.png")
