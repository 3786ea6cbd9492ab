"""TensorFlow's functions, as Keras 2 keeps them in a graph, become layers that do the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.ops import convert_to_numpy as to_numpy

from edgenet.models.keras2 import modernized

MAP = np.random.default_rng(3).uniform(-3, 9, (2, 4, 4, 3)).astype("float32")


def written(function: str, *node: Any) -> dict[str, Any]:
    """One function on one image, as Keras 2 writes it."""
    entrance = {
        "class_name": "InputLayer",
        "config": {"batch_input_shape": [None, 4, 4, 3], "name": "image", "dtype": "float32"},
        "name": "image",
        "inbound_nodes": [],
    }
    operation = {
        "class_name": "TFOpLambda",
        "config": {"name": "it", "trainable": True, "dtype": "float32", "function": function},
        "name": "it",
        "inbound_nodes": [list(node)],
    }
    graph = {
        "name": "model",
        "layers": [entrance, operation],
        "input_layers": [["image", 0, 0]],
        "output_layers": [["it", 0, 0]],
    }
    return {"class_name": "Functional", "config": graph}


def of_image(**arguments: Any) -> tuple[Any, ...]:
    return ("image", 0, 0, {**arguments, "name": None})


def of_constant(constant: float) -> tuple[Any, ...]:
    return ("_CONSTANT_VALUE", -1, constant, {"y": ["image", 0, 0], "name": None})


@pytest.mark.parametrize(
    ("function", "node", "does"),
    [
        ("cast", of_image(dtype="float32"), lambda x: x),
        ("math.truediv", of_image(y=127.5), lambda x: x / 127.5),
        ("math.truediv", of_image(y=[0.2, 0.3, 0.4]), lambda x: x / [0.2, 0.3, 0.4]),
        ("math.subtract", of_image(y=1), lambda x: x - 1),
        ("math.subtract", of_image(y=[1.0, 2.0, 3.0]), lambda x: x - [1, 2, 3]),
        ("math.subtract", of_constant(1.0), lambda x: 1 - x),
        ("math.multiply", of_image(y=2.0), lambda x: x * 2),
        ("math.multiply", of_constant(2.0), lambda x: x * 2),
        ("math.multiply", of_image(y=["image", 0, 0]), lambda x: x * x),
        ("math.add", of_image(y=2.0), lambda x: x + 2),
        ("__operators__.add", of_constant(2.0), lambda x: x + 2),
        ("__operators__.add", of_image(y=["image", 0, 0]), lambda x: x + x),
        (
            "nn.bias_add",
            of_image(bias=[1.0, 2.0, 3.0], data_format="NHWC"),
            lambda x: x + np.array([1, 2, 3]),
        ),
        ("math.reduce_mean", of_image(axis=[1, 2]), lambda x: x.mean((1, 2))),
        (
            "math.reduce_max",
            of_image(axis=[1, 2], keepdims=True),
            lambda x: x.max((1, 2), keepdims=True),
        ),
        ("math.sigmoid", of_image(), tf.math.sigmoid),
        ("math.tanh", of_image(), tf.math.tanh),
        ("nn.relu", of_image(), tf.nn.relu),
        ("nn.relu6", of_image(), tf.nn.relu6),
        ("nn.silu", of_image(), tf.nn.silu),
        ("nn.softmax", of_image(axis=-1), tf.nn.softmax),
        ("image.resize", of_image(size=[2, 3]), lambda x: tf.image.resize(x, (2, 3))),
        (
            "image.resize",
            of_image(size=[2, 3], method="nearest"),
            lambda x: tf.image.resize(x, (2, 3), "nearest"),
        ),
    ],
)
def test_a_function_becomes_a_layer(
    function: str, node: tuple[Any, ...], does: Callable[[Any], Any]
) -> None:
    model = keras.saving.deserialize_keras_object(modernized(written(function, *node)))
    np.testing.assert_allclose(to_numpy(model(MAP)), np.asarray(does(MAP)), rtol=1e-5, atol=1e-6)


def of_images(first: str = "image", **arguments: Any) -> list[Any]:
    """A call on two tensors in a list."""
    return [[name, 0, 0, {**arguments, "name": None}] for name in (first, "image")]


def test_tensors_are_joined() -> None:
    config = modernized(written("concat", *of_images(axis=-1)))
    model = keras.saving.deserialize_keras_object(config)
    assert np.array_equal(to_numpy(model(MAP)), np.concatenate([MAP, MAP], axis=-1))


@pytest.mark.parametrize(
    ("function", "node"),
    [
        ("stack", of_images(axis=-1)),
        ("concat", of_images()),
        ("concat", of_images("_CONSTANT_VALUE", axis=-1)),
    ],
)
def test_other_calls_on_several_tensors_are_refused_by_name(function: str, node: Any) -> None:
    with pytest.raises(ValueError, match=rf"layer 'it' is TensorFlow's function tf\.{function}"):
        modernized(written(function, *node))


@pytest.mark.parametrize(
    ("function", "node"),
    [
        ("math.erf", of_image()),
        ("cast", of_image(dtype="uint8")),
        ("math.truediv", of_constant(1.0)),
        ("math.truediv", of_image(y=["image", 0, 0])),
        ("math.maximum", of_image(y=0.0)),
        ("math.reduce_mean", of_image(axis=[1])),
        ("nn.softmax", of_image(axis=1)),
        ("image.resize", of_image(size=[2, 3], antialias=True)),
    ],
)
def test_another_is_refused_by_name(function: str, node: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=rf"layer 'it' is TensorFlow's function tf\.{function}"):
        modernized(written(function, *node))
