"""Published weights on real photographs: what the project claims of its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgenet.bundle import Bundle
from edgenet.cli.main import main
from edgenet.images import ImageFolder
from edgenet.measure import parity
from edgenet.runtime import load
from edgenet.runtime.tflite import delegated_fraction

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lite0(published) -> dict[str, Bundle]:
    """Lite0 in fp32 and int8."""
    return {precision: published.bundle("lite0", precision) for precision in ("fp32", "int8")}


@pytest.fixture(scope="module")
def compared(lite0, shared) -> parity.Parity:
    """The int8 files of Lite0 against fp32 on all of val-1300."""
    bundle = lite0["int8"]
    spec = bundle.manifest.input
    photos = ImageFolder.open(shared / "data" / "val-1300")
    whole = type(spec)(**{**vars(spec), "crop_fraction": 1.0})
    reference = load(bundle, threads=1, reference=True)
    sessions = [load(bundle, format, threads=1) for format in bundle.formats]
    return parity.compare(reference, sessions, photos.batches(whole, 32))


def test_lite0_int8_keeps_its_answers_in_every_format(compared):
    assert compared.images == 1300
    assert compared.reference_top1 > 0.8
    for result in compared.results:
        assert result.fidelity.agreement >= 0.985, result
        assert result.fidelity.sqnr_db >= 24, result
        # Four photos are 0.31 points, and chance; McNemar's exact test tells a loss from that.
        assert result.fidelity.drop.mcnemar_p > 0.05, result
        assert result.fidelity.drop_points <= 0.5, result


def test_lite0_int8_is_one_network_in_every_format(compared):
    assert len(compared.cross_agreement) == 3
    for pair in compared.cross_agreement:
        assert pair.agreement >= 0.985, pair


def test_lite0_int8_is_small(lite0):
    for format in ("tflite", "onnx", "openvino"):
        sizes = [lite0[precision].manifest for precision in ("int8", "fp32")]
        int8, fp32 = (
            next(a.bytes for a in manifest.artifacts if a.format == format) for manifest in sizes
        )
        assert int8 <= 0.29 * fp32


def test_lite0_fp32_is_keras(lite0):
    for artifact in lite0["fp32"].manifest.artifacts:
        assert artifact.verified.agreement == 1.0
        assert artifact.verified.max_error < 1e-3


@pytest.fixture(scope="module")
def few_photos(shared, tmp_path_factory) -> Path:
    """Every tenth photograph of val-1300."""
    photos = ImageFolder.open(shared / "data" / "val-1300")
    folder: Path = tmp_path_factory.mktemp("photos")
    assert photos.labels is not None
    rows = [f"{name},{label}" for name, label in zip(photos.names, photos.labels, strict=True)]
    for path in photos.paths[::10]:
        (folder / path.name).symlink_to(path.resolve())
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *rows[::10]]) + "\n")
    return folder


def check(capsys: Any, bundle: Bundle, photos: Path) -> tuple[int, Any]:
    capsys.readouterr()
    arguments = ["--evaluate", str(photos), "--threads", "1", "--json"]
    code = main(["check", str(bundle.path), *arguments])
    return code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(("precision", "floor"), [("fp32", 1.0), ("fp16", 0.98), ("int8", 0.94)])
def test_b0_converts_in_every_precision_and_is_checked(
    capsys, published, few_photos, precision, floor
):
    bundle = published.bundle("b0", precision)
    code, document = check(capsys, bundle, few_photos)
    assert (code, document["passed"]) == (0, True)
    assert document["reference"]["top1"] > 0.7
    for result, artifact in zip(document["results"], bundle.manifest.artifacts, strict=True):
        assert result["agreement"] >= floor
        if precision == "fp32":
            assert artifact.verified.max_error < 1e-3
        if precision == "fp16":
            assert artifact.verified.sqnr_db > 35
        if precision == "int8":
            assert result["sqnr_db"] >= 16.5
            assert result["drop_points"] < 1
            assert result["mcnemar_p"] > 0.05


@pytest.mark.parametrize("variant", ["lite0", "b0"])
def test_xnnpack_takes_the_whole_network(published, variant):
    from ai_edge_litert.interpreter import Interpreter

    bundle = published.bundle(variant, "int8")
    interpreter = Interpreter(model_path=str(bundle.path / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    assert delegated_fraction(interpreter) == 1
    parts = [op for op in interpreter._get_ops_details() if op["op_name"] == "DELEGATE"]
    assert len(parts) == 1


def test_features_of_the_formats_are_alike(lite0, shared):
    photo = ImageFolder.open(shared / "data" / "val-1300").paths[0]
    found = []
    for format in ("tflite", "onnx", "openvino"):
        with load(lite0["fp32"], format) as session:
            found.append(session.embed(photo))
    assert found[0].shape == (1280,)
    assert np.abs(found[1] - found[0]).max() < 1e-4
    assert np.abs(found[2] - found[0]).max() < 1e-4
