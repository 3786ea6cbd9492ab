"""Models with heads of all kinds, from a .keras file to a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.pipeline import convert
from converters.preprocessing import Preprocessing
from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.runtime import load
from tests.converters.test_pipeline import headed, quick
from tests.networks import Textures, joined_network


def test_a_head_on_mean_and_maximum_is_converted_whole(tiny_models, texture_folder, tmp_path):
    import keras

    model = tmp_path / "joined.keras"
    joined_network(keras.saving.load_model(tiny_models["b"], compile=False)).save(model)
    bundle = convert(
        model, tmp_path / "b", precision="int8", calibration=texture_folder, effort="fast"
    )
    assert bundle.formats == ("tflite", "onnx", "openvino")
    assert all(artifact.verified.sqnr_db > 12 for artifact in bundle.manifest.artifacts)
    names = [output.name for output in bundle.manifest.outputs]
    assert names == ["logits", "probabilities"]
    with load(bundle) as session, pytest.raises(UsageError, match="no features output"):
        session.embed(texture_folder / "000.png")


def test_one_of_two_heads_is_converted_and_verified(tmp_path):
    import keras
    from keras import layers

    body = keras.saving.load_model(headed(tmp_path, layers.Dense(4, "relu")), compile=False)
    inputs = keras.Input((32, 32, 3))
    x = body(inputs)
    heads = [layers.Dense(size, "softmax", name=f"of-{size}")(x) for size in (3, 5)]
    keras.Model(inputs, heads, name="two").save(tmp_path / "two.keras")
    with pytest.raises(UnsupportedModelError, match=r"\(of-3, of-5\): choose .* --head NAME"):
        quick(tmp_path / "two.keras", tmp_path / "b")
    bundle = quick(tmp_path / "two.keras", tmp_path / "b", head="of-5")
    assert bundle.manifest.outputs[0].shape == (1, 5)
    assert bundle.manifest.source["head"] == "of-5"


def done_as_told(message: str, model: Any, folder: Path) -> Path:
    """The file that the line of Python in a message writes."""
    import keras

    line = message[message.index("keras.Sequential(") : message.index(" writes")]
    path = folder / "m.keras"
    eval(line.replace(path.name, str(path)), {"keras": keras, "model": model})
    return path


def test_labels_that_may_all_be_true_get_sigmoids_as_told(tmp_path):
    import keras
    from keras import layers

    path, lines = headed(tmp_path, layers.Dense(3)), list[str]()
    quick(path, tmp_path / "b", report=lines.append)
    (said,) = (line for line in lines if "linear values" in line)
    model = keras.saving.load_model(path, compile=False)
    bundle = quick(done_as_told(said, model, tmp_path), tmp_path / "b")
    image = Textures.make(1, seed=1, size=32).images
    with load(bundle) as session:
        logits, probabilities = session.run(image), session.probabilities(image)
    assert probabilities == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-5)


@pytest.mark.parametrize("function", ["linear", "tanh", "relu"])
def test_one_value_becomes_two_classes_as_told(tmp_path, function):
    import keras
    from keras import layers

    path = headed(tmp_path, layers.Dense(1, function))
    with pytest.raises(UnsupportedModelError, match=f"ends in one {function} value") as caught:
        quick(path, tmp_path / "b")
    model = keras.saving.load_model(path, compile=False)
    bundle = quick(done_as_told(str(caught.value), model, tmp_path), tmp_path / "b")
    assert bundle.classes == 2


@pytest.mark.parametrize("preprocess", ["unit", "tf", "torch", "lite"])
def test_pixels_prepared_twice_are_converted_as_told(tiny_models, tmp_path, preprocess):
    """As a network of its own preprocessing is that was trained on a generator's x / 255."""
    import keras

    with pytest.raises(UsageError, match="leave --preprocess off; where") as caught:
        quick(tiny_models["b"], tmp_path / "b", preprocess=preprocess)
    model = keras.saving.load_model(tiny_models["b"], compile=False)
    bundle = quick(done_as_told(str(caught.value), model, tmp_path), tmp_path / "b")
    images = Textures.make(4, seed=1).images
    prepared = Preprocessing.named(preprocess)
    expected = np.asarray(model(images * prepared.scale + prepared.offset, training=False))
    with load(bundle) as session:
        assert session.probabilities(images) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("last", ["its activation", "an activation of its activation", "a cast"])
def test_probabilities_however_they_are_written_are_verified_as_logits(tmp_path, last):
    import keras
    from keras import layers

    softmax = layers.Activation(layers.Softmax()) if "of" in last else layers.Softmax()
    path = headed(tmp_path, layers.Dense(3, "softmax" if last == "a cast" else softmax))
    if last == "a cast":
        model = keras.saving.load_model(path, compile=False)
        keras.Model(model.inputs, keras.ops.cast(model.outputs[0], "float32")).save(path)
    bundle = quick(path, tmp_path / "b")
    assert bundle.manifest.artifacts[0].verified.agreement == 1
