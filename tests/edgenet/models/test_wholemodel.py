"""A user's own model loads whole, or is refused in one line that says how to go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from edgenet.errors import UsageError
from edgenet.models import compound
from edgenet.models.efficientnet import efficientnet
from edgenet.models.wholemodel import assumed, load_file
from tests.edgenet.models.refusals import refusal

B = compound(width=0.25, depth=0.3, resolution=32)


class Trainer(keras.Model):
    """Trains in its own way, and is a graph otherwise."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


class Called(keras.Model):
    """Is no graph: its call tells what it does."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.network = efficientnet(B, classes=3)

    def call(self, images: Any) -> Any:
        return self.network(images)


def answers(model: keras.Model) -> np.ndarray:
    images = np.random.default_rng(7).integers(0, 256, (2, 32, 32, 3)).astype("float32")
    return to_numpy(model(images, training=False))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_nested_model_keeps_the_statistics_of_its_pixels(tmp_path: Path, suffix: str) -> None:
    base = efficientnet(B, classes=3)
    for layer in base.layers:
        if isinstance(layer, keras.layers.Normalization):
            layer.adapt_mean.assign([0.5, 0.4, 0.3])
            layer.adapt_variance.assign([0.2, 0.3, 0.4])
            layer.finalize_state()
    inputs = keras.Input((32, 32, 3))
    model = keras.Model(inputs, keras.Sequential([base])(inputs))
    model.save(tmp_path / f"m{suffix}")
    assert np.array_equal(answers(load_file(tmp_path / f"m{suffix}")), answers(model))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("nested", [False, True], ids=["whole", "nested"])
def test_a_class_for_training_loads_as_the_graph_that_it_is(
    tmp_path: Path, suffix: str, nested: bool
) -> None:
    network = efficientnet(B, classes=3)
    model: keras.Model = Trainer(network.inputs, network.outputs)
    model.compile("adam", loss="mse")
    if nested:
        inputs = keras.Input((32, 32, 3))
        model = keras.Model(inputs, model(inputs))
    model.save(tmp_path / f"m{suffix}")
    assert np.array_equal(answers(load_file(tmp_path / f"m{suffix}")), answers(model))


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_class_with_a_call_of_its_own_is_told_how_to_be_saved_plain(
    tmp_path: Path, suffix: str
) -> None:
    model = Called()
    expected = answers(model)
    model.save(tmp_path / f"m{suffix}")
    told = refusal(tmp_path / f"m{suffix}")
    assert "'Called'" in told
    assert "keras.Model(model.inputs, model.outputs).save('plain.keras')" in told
    assert "i = keras.Input(shape); keras.Model(i, model.call(i)).save('plain.keras')" in told

    i = keras.Input((32, 32, 3))
    keras.Model(i, model.call(i)).save(tmp_path / "plain.keras")
    assert np.array_equal(answers(load_file(tmp_path / "plain.keras")), expected)


def test_a_preprocess_input_of_which_keras_3_keeps_the_name_alone_is_asked_for(
    tmp_path: Path,
) -> None:
    inputs = keras.Input((32, 32, 3))
    outputs = keras.layers.Lambda(keras.applications.resnet50.preprocess_input)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    told = refusal(tmp_path / "m.keras")
    assert "does not say whose preprocess_input it is; EfficientNet's does nothing" in told


def test_the_fixed_dropout_of_the_efficientnet_package_loads(tmp_path: Path) -> None:
    class FixedDropout(keras.layers.Dropout):
        pass

    inputs = keras.Input((4, 4, 3))
    outputs = FixedDropout(0.2, noise_shape=(None, 1, 1, 1))(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    loaded = load_file(tmp_path / "m.keras")
    assert type(loaded.layers[1]) is keras.layers.Dropout
    assert loaded.layers[1].rate == 0.2


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_activations_of_tensorflow_load(tmp_path: Path, suffix: str) -> None:
    import tensorflow as tf

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.Conv2D(4, 3, 8, activation=tf.nn.silu)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, activation=tf.nn.softmax)(x))
    model.save(tmp_path / f"m{suffix}")
    assert np.array_equal(answers(load_file(tmp_path / f"m{suffix}")), answers(model))


def test_an_hdf5_file_by_another_name_is_told(tmp_path: Path) -> None:
    efficientnet(B, classes=3).save(tmp_path / "m.h5")
    (tmp_path / "m.h5").rename(tmp_path / "m.keras")
    with pytest.raises(UsageError, match=r"rename it to m\.h5"):
        load_file(tmp_path / "m.keras")


def test_a_layer_that_keras_does_not_hold_is_named(tmp_path: Path) -> None:
    class Mystery(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, Mystery()(inputs)).save(tmp_path / "m.keras")
    told = refusal(tmp_path / "m.keras")
    assert "Mystery" in told
    assert "hand one that has your own layers to edgenet.convert() in Python" in told


def test_what_is_of_a_package_that_is_not_installed_is_told_where_it_is_read(
    tmp_path: Path,
) -> None:
    class Block(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x

    Block.__module__ = "keras_hub.src.models.not_installed"
    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, Block()(inputs)).save(tmp_path / "m.keras")
    told = refusal(tmp_path / "m.keras")
    assert "it is read where keras_hub is installed, by pip install keras-hub, or where the" in told


def test_code_inside_a_model_is_not_run(tmp_path: Path) -> None:
    inputs = keras.Input((4, 4, 3))
    outputs = keras.layers.Lambda(lambda x: x + 1)(inputs)
    keras.Model(inputs, outputs).save(tmp_path / "m.keras")
    with pytest.raises(UsageError, match="Keras cannot load it"):
        load_file(tmp_path / "m.keras")


def swish(x: Any) -> Any:
    """Not what Keras calls so."""
    return x * keras.ops.sigmoid(1.702 * x)


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_what_a_file_does_not_tell_is_told_once(tmp_path: Path, suffix: str) -> None:
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(4, 3, activation=swish)(inputs)
    x = keras.layers.Dense(3, "relu")(keras.layers.Activation(swish)(x))
    Trainer(inputs, x).save(tmp_path / f"own{suffix}")
    function, kind = sorted(assumed(tmp_path / f"own{suffix}"))
    assert "an activation 'swish' that was not Keras's own: it is taken for" in function
    assert "class 'Trainer' is not in the file" in kind
    keras.Model(inputs, keras.layers.Dense(3, "swish")(inputs)).save(tmp_path / f"m{suffix}")
    assert not list(assumed(tmp_path / f"m{suffix}"))
