"""A SavedModel of Keras 2 that lacks something, or is damaged, is refused in one line.

That whole ones give Keras 2's answers is tested with its other files, in `test_keras2.py`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as to_numpy

from edgenet import protobuf
from edgenet.errors import UsageError
from edgenet.models.savedmodel import read_metadata
from edgenet.models.wholemodel import load_file
from tests.edgenet.models.refusals import refusal

DATA = Path(__file__).parent / "data"
IMAGES = np.random.default_rng(7).integers(0, 256, (2, 8, 8, 3)).astype("float32")

Metadata = dict[str, Any]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(DATA / "small", tmp_path / "small"))


def edit(folder: Path, change: Callable[[Metadata], None]) -> None:
    """Changes what Keras 2 tells of a model."""
    told = read_metadata(folder)
    change(told)
    root = protobuf.message(3, b"root") + protobuf.message(5, json.dumps(told).encode())
    (folder / "keras_metadata.pb").write_bytes(protobuf.message(1, root))


def layers(told: Metadata) -> list[Metadata]:
    return list(told["model_config"]["config"]["layers"])


def test_a_layer_that_no_output_needs_is_left_out(small: Path) -> None:
    """As Keras 2 describes a model that is an attribute of the saved one."""
    spare = {"class_name": "Dense", "name": "spare", "inbound_nodes": []}
    spare["config"] = {"name": "spare", "units": 2}
    expected = to_numpy(load_file(small)(IMAGES, training=False))
    edit(small, lambda told: told["model_config"]["config"]["layers"].append(spare))
    assert np.array_equal(to_numpy(load_file(small)(IMAGES, training=False)), expected)


def own_layer(told: Metadata) -> None:
    layers(told)[-1]["class_name"] = "Custom>Mystery"


def more_units(told: Metadata) -> None:
    layers(told)[-1]["config"]["units"] = 5


def more_weights(told: Metadata) -> None:
    layers(told)[-2]["class_name"] = "Dense"
    layers(told)[-2]["config"] = {"name": layers(told)[-2]["name"], "units": 4}


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (own_layer, "Could not locate class 'Mystery'"),
        (more_units, "shape of the target variable"),
        (more_weights, "variables/variables has no global_average_pooling2d_1/kernel"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_way_out(
    small: Path, change: Callable[[Metadata], None], cause: str
) -> None:
    edit(small, change)
    with pytest.raises(UsageError, match=cause):
        load_file(small)
    told = refusal(small)
    assert "Keras 2.21.0 saved it" in told
    assert "save its weights there by save_weights('w.h5'), build the model in Keras 3" in told


@pytest.mark.parametrize("settings", [None, {}, {"depth": 3}])
def test_a_class_with_a_call_of_its_own_is_told_how_to_be_saved_plain(
    small: Path, settings: Metadata | None
) -> None:
    """Old ones tell no settings, where the class does not."""

    def change(told: Metadata) -> None:
        told["class_name"] = "Called"
        config = told.pop("model_config")
        if settings is not None:
            told["model_config"] = {**config, "class_name": "Called", "config": settings}

    edit(small, change)
    told = refusal(small)
    assert "'Called'" in told
    assert "i = keras.Input(shape); keras.Model(i, model.call(i)).save('plain.keras')" in told


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
@pytest.mark.parametrize(
    "name",
    ["keras_metadata.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"],
)
def test_a_file_that_is_cut_short_is_refused(small: Path, name: str, kept: float) -> None:
    data = (small / name).read_bytes()
    (small / name).write_bytes(data[: int(kept * len(data))])
    assert f"its {Path(name).with_suffix('')}" in refusal(small)


@pytest.mark.parametrize("name", ["variables.index", "variables.data-00000-of-00001"])
def test_a_changed_byte_of_a_weight_is_refused(small: Path, name: str) -> None:
    data = bytearray((small / "variables" / name).read_bytes())
    data[100] ^= 1
    (small / "variables" / name).write_bytes(data)
    assert "its variables/variables.* is damaged or not all there" in refusal(small)


@pytest.mark.parametrize("gone", ["variables", "variables/variables.index"])
def test_weights_that_are_missing_are_told(small: Path, gone: str) -> None:
    (small / gone).rename(small / "elsewhere")
    assert refusal(small).endswith(
        "its variables/variables.* is damaged or not all there: copy the folder again, whole, or "
        "save the model again"
    )


def test_a_saved_model_without_its_layers_is_told_what_to_save(tmp_path: Path) -> None:
    inputs = keras.Input((8, 8, 3))
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).export(tmp_path / "keras3", verbose=False)
    tf.saved_model.save(tf.Module(), tmp_path / "plain")
    for name in ("keras3", "plain"):
        told = refusal(tmp_path / name)
        assert "a SavedModel that does not tell its layers (it has no keras_metadata.pb)" in told
        assert "save the Keras model itself with model.save('m.keras')" in told


def test_another_folder_is_told_to_be_none(tmp_path: Path) -> None:
    told = refusal(tmp_path)
    assert told.endswith("not a SavedModel: save the model with model.save('m.keras')")
