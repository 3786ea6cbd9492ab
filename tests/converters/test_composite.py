"""Layers that are made of Keras's own are read as what they are made of."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest

from converters.composite import inlined
from converters.frontend.walk import layer_graph
from converters.in_memory import as_files
from converters.pipeline import convert
from edgenet.errors import UnsupportedModelError
from edgenet.models.weights import load_file
from tests.converters.graphs import pixels, randomized
from tests.networks import Textures


class Squeeze(keras.layers.Layer):
    """Squeeze-and-excite."""

    def __init__(self, filters: int, **options: Any) -> None:
        super().__init__(**options)
        self.reduce = keras.layers.Conv2D(2, 1, activation="swish", name="reduce")
        self.expand = keras.layers.Conv2D(filters, 1, activation="sigmoid", name="expand")

    def call(self, x: Any) -> Any:
        pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
        return x * self.expand(self.reduce(pooled))


class Block(keras.layers.Layer):
    """An inverted residual as keras-hub has it: one layer, its zeros a layer of their own."""

    def __init__(self, filters: int, rate: float = 0.2, **options: Any) -> None:
        super().__init__(**options)
        self.pad = keras.layers.ZeroPadding2D(1)
        self.conv = keras.layers.Conv2D(2 * filters, 3, use_bias=False, name="expand")
        self.norm = keras.layers.BatchNormalization(epsilon=1e-5)
        self.act = keras.layers.Activation("swish")
        self.squeeze = Squeeze(2 * filters)
        self.project = keras.layers.Conv2D(filters, 1)
        self.gain = self.add_weight(shape=(filters,), initializer="ones", name="gain")
        self.drop = keras.layers.Dropout(rate, noise_shape=(None, 1, 1, 1))

    def call(self, x: Any, training: bool = False) -> Any:
        y = self.project(self.squeeze(self.act(self.norm(self.conv(self.pad(x))))))
        y = y * self.gain
        if training:
            y = self.drop(y)
        return keras.layers.add([x, y])


class Backbone(keras.Model):
    """A class that is constructed otherwise than the graph that it is."""

    def __init__(self, blocks: int) -> None:
        inputs = keras.Input((64, 64, 3))
        x = keras.layers.Conv2D(8, 3, 2, padding="same")(keras.layers.Rescaling(1 / 255)(inputs))
        for number in range(blocks):
            x = Block(8, name=f"block{number}")(x)
        super().__init__(inputs, x)


def network() -> Any:
    """Two blocks in a model in a model, of random weights."""
    keras.utils.set_random_seed(5)
    inputs = keras.Input((64, 64, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(Backbone(2)(inputs))
    return randomized(keras.Model(inputs, keras.layers.Dense(5, "softmax")(pooled), name="mine"))


def layers_of(model: Any) -> list[str]:
    return [
        name
        for layer in layer_graph(model).layers
        for name in (layers_of(layer) if layer_graph(layer) else [type(layer).__name__])
    ]


def test_blocks_are_read_as_the_layers_that_they_are_made_of():
    model = network()
    plain = inlined(model)
    found = layers_of(plain)
    assert not {"Block", "Squeeze"} & set(found)
    assert found.count("Conv2D") == 9
    images = pixels(3).astype(np.float32)
    assert np.allclose(model(images), plain(images), atol=1e-6)
    assert plain.get_layer("backbone").get_layer("block1").get_layer("expand") is not None


def test_a_model_of_blocks_converts_as_it_stands_in_memory_and_not_without_its_code(tmp_path):
    """Its classes are not registered, nor would they be made again of what a file tells."""
    model = network()
    bundle = convert(model, tmp_path / "out", formats=("onnx",))
    assert bundle.manifest.artifacts[0].verified.agreement == 1
    with as_files(model, None, 1) as (path, _):
        images = Textures.make(2, seed=1).images.astype(np.float32)
        assert np.allclose(load_file(path.path)(images), model(images), atol=1e-5)


def test_a_model_of_blocks_in_mixed_precision_is_read():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = network()
    finally:
        keras.config.set_dtype_policy("float32")
    assert "Block" not in layers_of(inlined(model))
    with as_files(model, None, 1) as (path, _):
        assert "Block" not in layers_of(load_file(path.path))


def test_a_model_of_keras_s_layers_stays_as_it_is():
    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(inputs)))
    assert inlined(model) is model


class OfTensorflow(keras.layers.Layer):
    """Computes with what takes no symbol of Keras."""

    def call(self, x: Any) -> Any:
        import tensorflow as tf

        return tf.nn.relu(x)


class Fickle(keras.layers.Layer):
    """Answers otherwise when it is followed."""

    def call(self, x: Any) -> Any:
        return x if isinstance(x, keras.KerasTensor) else keras.layers.ReLU()(x - 100)


@pytest.mark.parametrize("kind", [OfTensorflow, Fickle])
def test_a_layer_that_cannot_be_followed_is_refused_by_its_name(kind):
    from converters.freeze import freeze

    inputs = keras.Input((32, 32, 3))
    x = kind(name="mine")(keras.layers.Rescaling(2.0)(inputs))
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    model = inlined(keras.Model(inputs, x))
    with pytest.raises(
        UnsupportedModelError, match=f"'mine' \\({kind.__name__}\\).*hand the model"
    ):
        freeze(model)
