"""Heads on joined vectors are frozen as what they compute, without a join."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from converters.freeze import freeze
from converters.graph import LOGITS, PROBABILITIES
from tests.converters.graphs import randomized
from tests.converters.test_freeze import assert_frozen, assert_probabilities, two_classes

# By what is joined: a head on the map and one inside, and some of the operators that it becomes.
JOINED: dict[str, tuple[Callable[[Any, Any, Any], Any], set[str]]] = {
    "mean and maximum": (
        lambda k, x, inner: k.Dense(3, "softmax")(k.Dropout(0.2)(mean_and_maximum(k, x))),
        {"dense", "dense/part2", "dense/total"},
    ),
    "one sigmoid": (lambda k, x, inner: k.Dense(1, "sigmoid")(mean_and_maximum(k, x)), set()),
    "maps of two sizes": (
        lambda k, x, inner: k.Dense(3)(k.concatenate([mean(k, inner), mean(k, x)])),
        {"dense/part2"},
    ),
    "kept maps": (
        lambda k, x, inner: k.Dense(3)(k.Flatten()(mean_and_maximum(k, x, keepdims=True))),
        {"dense/part2"},
    ),
    "a convolution as the classifier": (
        lambda k, x, inner: k.Reshape((3,))(k.Conv2D(3, 1)(mean_and_maximum(k, x, keepdims=True))),
        {"conv2d/part2", "conv2d/total"},
    ),
    "normalized and activated": (
        lambda k, x, inner: k.Dense(3)(
            k.Activation("relu")(k.BatchNormalization()(mean_and_maximum(k, x)))
        ),
        {"activation/part2", "batch_normalization/part2"},
    ),
    "a hidden layer": (
        lambda k, x, inner: k.Dense(3)(
            k.BatchNormalization()(k.Dense(8, "relu")(mean_and_maximum(k, x)))
        ),
        {"dense", "dense_1/part2", "dense_1/total", "dense_1_relu"},
    ),
    "a hidden layer that is normalized": (
        lambda k, x, inner: k.Dense(3)(k.BatchNormalization()(k.Dense(8)(mean_and_maximum(k, x)))),
        {"dense", "dense_1/part2", "dense_1/total"},
    ),
    "a join of joins": (
        lambda k, x, inner: k.Dense(3)(k.Concatenate()([mean_and_maximum(k, x), mean(k, inner)])),
        {"dense/part3", "dense/total2", "dense/total"},
    ),
    "a vector twice": (lambda k, x, inner: k.Dense(3)(twice(k, mean(k, x))), {"dense/part2"}),
    "one vector": (lambda k, x, inner: k.Dense(3)(k.Concatenate()([mean(k, x)])), {"dense"}),
    "by an operation": (
        lambda k, x, inner: k.Dense(3)(joined_by_an_operation(mean(k, inner), mean(k, x))),
        {"dense/part2"},
    ),
    "read twice": (
        lambda k, x, inner: read_twice(k, mean_and_maximum(k, x)),
        {"dense", "dense_1/part2", "dense_2/part2"},
    ),
}


def mean(k: Any, x: Any) -> Any:
    return k.GlobalAveragePooling2D()(x)


def mean_and_maximum(k: Any, x: Any, **options: Any) -> Any:
    pools = k.GlobalAveragePooling2D(**options), k.GlobalMaxPooling2D(**options)
    return k.Concatenate()([pool(x) for pool in pools])


def twice(k: Any, x: Any) -> Any:
    return k.Concatenate()([x, x])


def joined_by_an_operation(*vectors: Any) -> Any:
    from keras import ops

    return ops.concatenate(vectors, axis=1)


def read_twice(k: Any, x: Any) -> Any:
    return k.Dense(3)(k.Add()([k.Dense(8, "relu")(x), k.Dense(8)(x)]))


@pytest.mark.parametrize("name", JOINED)
def test_joined_vectors(body, name):
    import keras

    # For the names of the layers alone: what else lies in memory need not be looked through.
    keras.backend.clear_session(free_memory=False)
    build, operators = JOINED[name]
    inner = body.get_layer("block2b_add").output
    model = randomized(keras.Model(body.inputs, build(keras.layers, body.output, inner)))
    graph = assert_frozen(model)
    assert operators <= {operator.name for operator in graph.operators}
    assert "Concatenate" not in {type(operator).__name__ for operator in graph.operators}


def test_a_sigmoid_of_joined_vectors_is_two_classes(body):
    from keras import Model, layers

    joined = mean_and_maximum(layers, body.output)
    model = Model(body.inputs, layers.Dense(1, "sigmoid")(joined))
    assert_probabilities(model, assert_frozen(model), two_classes)


def test_joined_vectors_are_no_features(body):
    from keras import Model, layers

    joined = mean_and_maximum(layers, body.output)
    graph = freeze(Model(body.inputs, layers.Dense(3)(joined)))
    assert graph.outputs == (LOGITS, PROBABILITIES)
