"""Operations on tensors and odd heads are what Keras computes, or are refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters.freeze import freeze
from converters.graph import LOGITS, PROBABILITIES
from converters.reference import reference_answers
from edgenet.errors import UnsupportedModelError
from tests.converters.graphs import float_answers, keras_answers, pixels, spread_error

SIZE, CHANNELS = 16, 12


def network(
    head: Callable[[Any], Any], *, front: Callable[[Any], Any] | None = None, pool: bool = True
) -> Any:
    """Pixels prepared by `front`, two convolutions, and a head on the map or its mean."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(4)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = front(inputs) if front else layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(8, 3, strides=2, activation="swish")(x)
    x = layers.Conv2D(CHANNELS, 1, activation="relu")(x)
    return keras.Model(inputs, head(layers.GlobalAveragePooling2D()(x) if pool else x))


def classes(x: Any, activation: str | None = None) -> Any:
    from keras import layers

    return layers.Dense(5, activation)(x)


def assert_frozen(model: Any) -> None:
    """By logits and by probabilities, which are Keras's own answer or its softmax."""
    images = pixels(4, SIZE, SIZE)
    found = float_answers(freeze(model), images)
    assert spread_error(reference_answers(model, [images]), found[LOGITS]) < 1e-3
    answers = keras_answers(model, images)
    if (answers >= 0).all() and (answers <= 1).all():
        answers = np.hstack([1 - answers, answers]) if answers.shape[1] == 1 else answers
        assert found[PROBABILITIES] == pytest.approx(answers, abs=1e-5)


def gate(x: Any) -> Any:
    from keras import layers

    return layers.Dense(CHANNELS, "sigmoid")(layers.GlobalAveragePooling2D()(x))


def gated_by_a_vector(x: Any) -> Any:
    from keras import layers

    return classes(layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate(x)])))


def gated_by_a_reshaped_vector(x: Any) -> Any:
    from keras import layers, ops

    product = x * ops.reshape(gate(x), (-1, 1, 1, CHANNELS))
    return classes(layers.GlobalAveragePooling2D()(product), "softmax")


def gated_by_an_expanded_vector(x: Any) -> Any:
    from keras import ops

    expanded = ops.expand_dims(ops.expand_dims(ops.stop_gradient(gate(x)), 1), -2)
    product = x * ops.expand_dims(ops.squeeze(expanded), (1, 2))
    return classes(ops.squeeze(ops.mean(product * expanded, (1, 2), keepdims=True), (1, -2)))


def gated_by_channel_and_position(x: Any) -> Any:
    """Of both at once, as bottleneck attention (BAM, Park et al. 2018) has it."""
    from keras import layers

    by_channel = layers.Reshape((1, 1, CHANNELS))(gate(x))
    both = layers.Add()([by_channel, layers.Conv2D(1, 1)(x)])
    both = layers.Activation("sigmoid")(layers.BatchNormalization()(both))
    return classes(layers.Flatten()(layers.Multiply()([x, both])))


def mean_of_a_convolution(x: Any) -> Any:
    from keras import layers

    return layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1)(x))


def softmax_of_a_convolution(x: Any) -> Any:
    from keras import layers

    pooled = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Flatten()(layers.Conv2D(5, 1, activation="softmax")(pooled))


def pooled_by_operations(x: Any) -> Any:
    from keras import ops

    return ops.softmax(classes(ops.mean(x, axis=(1, 2)) + ops.max(x, axis=[-3, -2])))


def hard_on_a_map(x: Any) -> Any:
    from keras import activations, layers

    x = layers.Activation("hard_swish")(layers.Conv2D(CHANNELS, 1)(x * 4.0))
    squeezed = layers.GlobalAveragePooling2D(keepdims=True)(x)
    x = x * layers.Conv2D(CHANNELS, 1, activation="hard_sigmoid")(squeezed)
    x = layers.GlobalAveragePooling2D()(activations.relu(x, max_value=2))
    return classes(x, "softmax")


@pytest.mark.parametrize(
    "head",
    [
        gated_by_a_vector,
        gated_by_a_reshaped_vector,
        gated_by_an_expanded_vector,
        gated_by_channel_and_position,
        hard_on_a_map,
        mean_of_a_convolution,
        softmax_of_a_convolution,
        pooled_by_operations,
    ],
)
def test_heads_on_a_map(head):
    assert_frozen(network(head, pool=False))


def scaled_logits(x: Any) -> Any:
    return 2.0 - (classes(x) * 0.5 + np.arange(5, dtype=np.float32)) / 3.0


def activated_by_operations(x: Any) -> Any:
    from keras import ops

    return classes(ops.relu6(ops.silu(x)) + ops.tanh(x) * ops.sigmoid(x) + ops.relu(x))


def leaky_layers(x: Any) -> Any:
    from keras import layers

    x = layers.LeakyReLU(0.1)(layers.Dense(8)(x))
    x = layers.ReLU(negative_slope=0.3)(layers.Dense(8)(x))
    return classes(layers.Dense(8, "leaky_relu")(x))


def carried_layers(x: Any) -> Any:
    from keras import layers

    x = layers.Dense(8, activation=layers.LeakyReLU(0.1))(x)
    x = layers.Dense(8, activation=layers.ReLU(max_value=6))(x)
    x = layers.Activation(layers.LeakyReLU(0.2))(layers.Dense(8)(x))
    return classes(layers.Dense(8, activation=layers.Activation("linear"))(x))


def relu_functions(x: Any) -> Any:
    from keras import activations, layers

    x = activations.relu(layers.Dense(8)(x))
    x = activations.relu(layers.Dense(8)(x), max_value=6)
    return classes(activations.relu(layers.Dense(8)(x), negative_slope=0.1))


def limited_layers(x: Any) -> Any:
    from keras import activations, layers

    x = layers.ReLU(max_value=0.25)(layers.Dense(8)(x))
    x = layers.Dense(8, activation=layers.ReLU(max_value=0.5))(x)
    return classes(activations.relu(x, max_value=0.125))


def hard_layers(x: Any) -> Any:
    from keras import layers

    x = layers.Activation("hard_swish")(layers.Dense(8)(x))
    return classes(layers.Dense(8, "hard_sigmoid")(layers.Dense(8, "hard_silu")(x)))


def hard_functions(x: Any) -> Any:
    from keras import layers, ops

    return classes(ops.hard_swish(layers.Dense(8)(x)) * ops.hard_sigmoid(layers.Dense(8)(x)))


def leaky_functions(x: Any) -> Any:
    from keras import activations, layers, ops

    x = activations.leaky_relu(layers.Dense(8)(x))
    x = layers.Activation("leaky_relu")(layers.Dense(8)(x))
    return classes(ops.leaky_relu(layers.Dense(8)(x), 0.15))


def smooth_layers(x: Any) -> Any:
    from keras import layers

    x = layers.ELU()(layers.Dense(8, "gelu")(x))
    return classes(layers.Dense(8, "elu")(x))


def smooth_functions(x: Any) -> Any:
    from keras import activations, layers, ops

    x = activations.gelu(activations.elu(layers.Dense(8)(x)))
    x = layers.Activation("gelu")(layers.Dense(8)(x))
    return classes(ops.gelu(layers.Dense(8)(x)) + ops.gelu(x, approximate=False) + ops.elu(x))


def softmax_of_tensorflow(x: Any) -> Any:
    import tensorflow as tf
    from keras import layers

    return layers.Dense(5, activation=tf.nn.softmax)(layers.Dense(8, activation=tf.nn.silu)(x))


def sigmoid_of_tensorflow(x: Any) -> Any:
    import tensorflow as tf
    from keras import layers

    return layers.Activation(tf.nn.sigmoid)(layers.Dense(5, activation=tf.nn.sigmoid)(x))


def softmax_by_an_operation(x: Any) -> Any:
    from keras import ops

    return ops.softmax(classes(x))


def reshaped_softmax(x: Any) -> Any:
    from keras import layers

    return layers.Reshape((5,))(layers.Reshape((5, 1))(classes(x, "softmax")))


def squeezed_softmax(x: Any) -> Any:
    from keras import layers, ops

    maps = layers.Conv2D(5, 1, activation="softmax")(ops.expand_dims(x, (1, 2)))
    return ops.squeeze(maps, (1, 2))


def expanded_softmax(x: Any) -> Any:
    from keras import layers, ops

    return layers.Flatten()(ops.expand_dims(classes(x, "softmax"), 1))


def stopped_softmax(x: Any) -> Any:
    from keras import ops

    return ops.stop_gradient(ops.softmax(classes(x)))


def softmax_joined_alone(x: Any) -> Any:
    from keras import layers, ops

    return ops.concatenate([layers.Concatenate()([classes(x, "softmax")])], axis=-1)


def softmax_before_a_nested_reshape(x: Any) -> Any:
    from keras import Sequential, layers

    return Sequential([Sequential([layers.Reshape((5,))])])(classes(x, "softmax"))


def one_squeezed_sigmoid(x: Any) -> Any:
    from keras import layers, ops

    return ops.squeeze(layers.Dense(1, "sigmoid")(ops.expand_dims(x, (1, 2))), (1, 2))


def one_reshaped_sigmoid(x: Any) -> Any:
    from keras import layers

    return layers.Reshape((1,))(layers.Dense(1, "sigmoid")(x))


def one_normalized_sigmoid(x: Any) -> Any:
    from keras import layers

    return layers.Activation("sigmoid")(layers.BatchNormalization()(layers.Dense(1)(x)))


@pytest.mark.parametrize(
    "head",
    [
        scaled_logits,
        leaky_layers,
        leaky_functions,
        relu_functions,
        limited_layers,
        hard_layers,
        hard_functions,
        smooth_layers,
        smooth_functions,
        carried_layers,
        activated_by_operations,
        softmax_by_an_operation,
        softmax_of_tensorflow,
        sigmoid_of_tensorflow,
        reshaped_softmax,
        squeezed_softmax,
        expanded_softmax,
        stopped_softmax,
        softmax_joined_alone,
        softmax_before_a_nested_reshape,
        one_squeezed_sigmoid,
        one_reshaped_sigmoid,
        one_normalized_sigmoid,
    ],
)
def test_heads_on_a_vector(head):
    assert_frozen(network(head))


def test_hard_activations_are_called_what_they_are():
    tensors = [operator.output for operator in freeze(network(hard_layers)).operators]
    for name in ("hard_silu", "hard_sigmoid"):
        assert any(f"_{name}" in tensor for tensor in tensors)
    assert not any("None" in tensor for tensor in tensors)


def padded(x: Any) -> Any:
    from keras import layers

    return layers.Rescaling(1 / 255)(layers.ZeroPadding2D(1)(x))


def of_one_pixel(x: Any) -> Any:
    """Constants in the shape of a map of one pixel."""
    from keras import layers

    x = (x - np.reshape([123.0, 117, 104], (1, 1, 3))) / np.full((1, 1, 1, 1), 255.0)
    return layers.Rescaling(np.full((1, 1, 3), 2.0), offset=np.full((1, 1, 1, 3), 0.1))(x)


@pytest.mark.parametrize(
    "front",
    [
        lambda x: x * (1 / 255.0),
        lambda x: (x - 127.5) / 127.5,
        lambda x: 1 - x / 255,
        padded,
        of_one_pixel,
    ],
)
def test_pixels_prepared_by_operations(front):
    assert_frozen(network(classes, front=front))


def test_a_dictionary_of_one_output():
    import keras

    model = network(classes)
    named = keras.Model(model.inputs, {"scores": model.output})
    images = pixels(2, SIZE, SIZE)
    assert np.array_equal(reference_answers(named, [images]), reference_answers(model, [images]))


def vector_as_a_map(x: Any) -> Any:
    from keras import layers

    return classes(layers.GlobalAveragePooling2D()(x * gate(x)))


def position_by_position(x: Any) -> Any:
    from keras import layers

    return classes(layers.Flatten()(x * np.ones((*x.shape[1:3], 1), np.float32)))


def rescaled_by_position(x: Any) -> Any:
    from keras import layers

    return classes(layers.Flatten()(layers.Rescaling(1.0, np.zeros((*x.shape[1:],)))(x)))


def normalized_by_row(x: Any) -> Any:
    """As many rows as channels."""
    from keras import layers

    rows = x.shape[1]
    by_row = layers.Normalization(axis=1, mean=np.zeros(rows), variance=np.ones(rows))
    return classes(layers.Flatten()(by_row(layers.Conv2D(rows, 1)(x))))


def softmax_over_a_map(x: Any) -> Any:
    from keras import layers

    return layers.GlobalAveragePooling2D()(layers.Conv2D(5, 1, activation="softmax")(x))


def dense_in_three_dimensions(x: Any) -> Any:
    from keras import layers

    return classes(layers.Flatten()(layers.Dense(4)(layers.Reshape((-1, CHANNELS))(x))))


def mean_over_the_height(x: Any) -> Any:
    from keras import layers, ops

    return classes(layers.Flatten()(ops.mean(x, axis=1)))


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (vector_as_a_map, "reshape the vector to (1, 1, channels)"),
        (position_by_position, "has a constant for each position"),
        (rescaled_by_position, "has a constant for each position"),
        (normalized_by_row, "normalizes each position by its own mean"),
        (softmax_over_a_map, "is a softmax over a map"),
        (dense_in_three_dimensions, "on neither a vector nor a map"),
        (mean_over_the_height, "does not go over height and width"),
    ],
)
def test_what_is_outside_the_family_is_told(head, said):
    with pytest.raises(UnsupportedModelError) as caught:
        freeze(network(head, pool=False))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("head", "said"),
    [
        (lambda x: classes(x) - classes(x), "subtracts tensors"),
        (lambda x: 1 / classes(x), "divides by a tensor"),
    ],
)
def test_arithmetic_of_tensors_is_told(head, said):
    with pytest.raises(UnsupportedModelError) as caught:
        freeze(network(head))
    assert said in str(caught.value)


def test_a_softmax_of_one_class_is_always_1():
    from keras import layers

    with pytest.raises(UnsupportedModelError, match="always 1: end in a sigmoid"):
        freeze(network(lambda x: layers.Dense(1, "softmax")(x)))
