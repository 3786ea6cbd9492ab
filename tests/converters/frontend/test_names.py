"""Keras's own names are told from a user's, with all that freezing puts behind them."""

from __future__ import annotations

from typing import Any

import pytest

from converters.frontend.layers import LAYERS
from converters.frontend.names import kind_named, parted
from converters.frontend.operations import OPERATIONS


@pytest.mark.parametrize("kind", sorted({*LAYERS, *OPERATIONS}))
def test_kinds_are_called_as_keras_calls_them(kind: str) -> None:
    from keras.src.utils.naming import to_snake_case

    assert kind_named(kind) == to_snake_case(kind)
    assert parted(kind_named(kind)) == ((kind_named(kind), 0), "")


def test_layers_of_keras_are_taken_apart_as_it_numbers_them() -> None:
    import keras

    layers: list[Any] = [
        keras.layers.Dense(2),
        keras.layers.Dense(2),
        keras.layers.GlobalMaxPooling2D(),
        keras.layers.ReLU(),
        keras.ops.silu(keras.Input((2,)))._keras_history.operation,
    ]
    for layer in layers:
        found = parted(layer.name)
        assert found is not None
        assert str(found[0]) == layer.name
        assert found[1] == ""


@pytest.mark.parametrize(
    ("name", "layer", "part"),
    [
        ("dense", "dense", ""),
        ("dense_12", "dense_12", ""),
        ("dense_1_relu", "dense_1", "_relu"),
        ("dense_1_gelu_tanh", "dense_1", "_gelu_tanh"),
        ("dense_1_2", "dense_1", "_2"),
        ("conv2d_3_silu/scaled", "conv2d_3", "_silu/scaled"),
        ("conv2d/upper", "conv2d", "/upper"),
        ("activation_4_gate_clipped_2", "activation_4", "_gate_clipped_2"),
        ("max_pooling2d_1", "max_pooling2d_1", ""),
        ("global_average_pooling2d/mean", "global_average_pooling2d", "/mean"),
    ],
)
def test_what_freezing_adds_is_apart(name: str, layer: str, part: str) -> None:
    found = parted(name)
    assert found is not None
    assert (str(found[0]), found[1]) == (layer, part)


@pytest.mark.parametrize(
    "name",
    ["my_dense_2", "dense_head", "dense_02", "densely", "stem_conv", "block2a_add", "logits", ""],
)
def test_names_of_a_user_are_none_of_keras(name: str) -> None:
    assert parted(name) is None
