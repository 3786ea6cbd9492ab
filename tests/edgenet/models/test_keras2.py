"""Files that Keras 2 wrote give Keras 2's answers, or are refused by what is in them.

`data/make_keras2.py` tells what the files hold and how they were made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from edgenet.errors import UsageError
from edgenet.models.keras2 import modernized
from edgenet.models.wholemodel import load_file

DATA = Path(__file__).parent / "data"
ANSWERS = json.loads((DATA / "answers.json").read_text())
IMAGES = np.random.default_rng(7).integers(0, 256, (2, 8, 8, 3)).astype("float32")

Config = dict[str, Any]


def edited(name: str, folder: Path, edit: Callable[[Config], None]) -> Path:
    """A copy of a file of Keras 2, its description changed."""
    path = folder / name
    shutil.copyfile(DATA / name, path)
    with h5py.File(path, "r+") as file:
        config = json.loads(file.attrs["model_config"])
        edit(config)
        file.attrs["model_config"] = json.dumps(config)
    return path


def part(config: Config, kind: str) -> Config:
    """The first layer of a class."""
    return next(layer for layer in config["config"]["layers"] if layer["class_name"] == kind)


@pytest.mark.parametrize("suffix", [".h5", ".keras", ""])
@pytest.mark.parametrize("kind", ["small", "chain"])
def test_a_file_of_keras_2_gives_its_answers(kind: str, suffix: str) -> None:
    model = load_file(DATA / f"{kind}{suffix}")
    answered = to_numpy(model(IMAGES, training=False))
    np.testing.assert_allclose(answered, ANSWERS[kind], rtol=1e-5)


def test_the_oldest_files_of_a_sequential_load(tmp_path: Path) -> None:
    def age(config: Config) -> None:
        entrance, *layers = config["config"]["layers"]
        shape = entrance["config"]["batch_input_shape"]
        layers[0]["class_name"] = "Model"
        layers[0]["config"]["batch_input_shape"] = shape
        config["config"] = layers

    path = edited("chain.h5", tmp_path, age)
    with h5py.File(path, "r+") as file:
        del file.attrs["keras_version"]
    answered = to_numpy(load_file(path)(IMAGES, training=False))
    np.testing.assert_allclose(answered, ANSWERS["chain"], rtol=1e-5)


def resnet(config: Config) -> None:
    part(config, "Lambda")["config"]["module"] = "keras.src.applications.resnet"


def own_code(config: Config) -> None:
    part(config, "Lambda")["config"]["function"][0] = "AAAA"


def own_layer(config: Config) -> None:
    part(config, "Dense")["class_name"] = "Custom>Mystery"


def unknown_setting(config: Config) -> None:
    part(config, "Dense")["config"]["shine"] = 1


def hard(config: Config) -> None:
    part(config, "Dense")["config"]["activation"] = "hard_sigmoid"


def unknown_function(config: Config) -> None:
    part(config, "TFOpLambda")["config"]["function"] = "math.erf"


def sliced(config: Config) -> None:
    layer = part(config, "TFOpLambda")
    layer["class_name"] = "SlicingOpLambda"
    layer["config"]["function"] = "__operators__.getitem"


@pytest.mark.parametrize(
    ("edit", "cause"),
    [
        (resnet, r"layer 'lambda' is a Lambda with code of keras\.src\.applications\.resnet"),
        (own_code, "layer 'lambda' is a Lambda with code of .* which is not run"),
        (own_layer, "Could not locate class 'Mystery'"),
        (unknown_setting, "shine"),
        (unknown_function, r"layer 'tf\.cast' is TensorFlow's function tf\.math\.erf"),
        (hard, "hard_sigmoid of Keras 2, which rises from -2.5 to 2.5"),
        (sliced, r"TensorFlow's function tf\.__operators__\.getitem"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_way_out(
    tmp_path: Path, edit: Callable[[Config], None], cause: str
) -> None:
    path = edited("small.h5", tmp_path, edit)
    with pytest.raises(UsageError, match=cause) as caught:
        load_file(path)
    assert "Keras 2.21.0 saved it" in str(caught.value)
    assert "build the model in Keras 3, give it these weights by load_weights" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_whole_model_by_the_name_of_weights_is_told(tmp_path: Path) -> None:
    shutil.copyfile(DATA / "small.h5", tmp_path / "best.weights.h5")
    with pytest.raises(UsageError, match=r"a whole model.* rename it to best\.h5"):
        load_file(tmp_path / "best.weights.h5")


def layer(kind: str, **settings: Any) -> Config:
    return {"class_name": kind, "config": {"name": "it", **settings}}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (layer("DepthwiseConv2D", groups=1), {"name": "it"}),
        (layer("BatchNormalization", axis=[3]), {"name": "it", "axis": 3}),
        (layer("RandomFlip", rng_type="stateful"), {"name": "it"}),
        (layer("Dense", kernel_initializer={}, bias_regularizer={}), {"name": "it"}),
        (
            layer("Dense", dtype={"class_name": "Policy", "config": {"name": "mixed_float16"}}),
            {"name": "it", "dtype": "mixed_float16"},
        ),
        (
            layer("InputLayer", batch_input_shape=[None, 8, 8, 3], ragged=False, sparse=False),
            {"name": "it", "batch_shape": [None, 8, 8, 3]},
        ),
    ],
)
def test_settings_are_put_in_the_words_of_keras_3(old: Config, new: Config) -> None:
    told = modernized(old)
    assert told["module"] == "keras.layers"
    assert told["config"] == new


def test_the_calls_of_a_nested_model_are_counted_as_keras_3_does() -> None:
    inner = {"name": "inner", "layers": [], "input_layers": [], "output_layers": []}
    calls = [[["image", 0, 0, {}]], [["inner", 1, 0, {"training": False}]]]
    nested = {"class_name": "Functional", "config": inner, "name": "inner", "inbound_nodes": calls}
    head = {**layer("Dense"), "name": "head", "inbound_nodes": [[["inner", 2, 0, {}]]]}
    outer = {
        "name": "outer",
        "layers": [nested, head],
        "input_layers": [["image", 0, 0]],
        "output_layers": [["head", 0, 0]],
    }
    told = modernized({"class_name": "Functional", "config": outer})["config"]
    assert told["layers"][0]["inbound_nodes"][1] == [["inner", 0, 0, {"training": False}]]
    assert told["layers"][1]["inbound_nodes"] == [[["inner", 1, 0, {}]]]
    assert told["output_layers"] == ["head", 0, 0]
