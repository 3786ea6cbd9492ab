"""Freezing keeps the float function, whatever the user built around the network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters.freeze import freeze
from converters.graph import FEATURES, LOGITS, PROBABILITIES, Affine, Convolution, Graph, Operator
from converters.preprocessing import NAMES, Preprocessing
from converters.reference import reference_answers
from tests.converters.graphs import (
    float_answers,
    keras_answers,
    pixels,
    randomized,
    softmax,
    spread_error,
)
from tests.converters.thin import thin

# Of the spread of a logit over the images, for a random network answers all of them nearly alike.
# float32 sums in another order measure up to 2e-4 of it here.
TOLERANCE = 1e-3


def application(name: str, gain: float, classes: int = 7, **options: Any) -> Any:
    """A network of keras.applications with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    build = getattr(keras.applications, name)
    options = {"input_shape": (64, 64, 3), "classes": classes, **options}
    return randomized(build(weights=None, **options), gain)


def assert_frozen(model: Any, *, height: int = 64, width: int = 64, **options: Any) -> Graph:
    """The graph answers as Keras does: logits, and probabilities as the model hands them out."""
    preprocess = options.get("preprocess")
    graph = freeze(model, **options)
    images = pixels(4, height, width)
    found = float_answers(graph, images)
    expected = reference_answers(model, [images], preprocess)
    assert spread_error(expected, found[LOGITS]) < TOLERANCE
    assert found[LOGITS].shape == expected.shape
    return graph


def assert_probabilities(model: Any, graph: Graph, expected: Callable[[Any], Any]) -> None:
    images = pixels(4, *graph.input_shape[1:3])
    found = float_answers(graph, images)[PROBABILITIES]
    assert found == pytest.approx(expected(keras_answers(model, images)), abs=1e-5)


def as_it_is(answers: Any) -> Any:
    return answers


@pytest.mark.parametrize("family", ["b", "lite"])
@pytest.mark.parametrize("size", [64, 75])
def test_our_own_networks(family, size):
    model = thin(family, size)
    graph = assert_frozen(model, height=size, width=size)
    assert_probabilities(model, graph, as_it_is)
    assert graph.outputs == (LOGITS, PROBABILITIES, FEATURES)


def test_the_features_are_the_pooled_map():
    import keras

    model = thin()
    pooled = keras.Model(model.inputs, model.get_layer("avg_pool").output)
    images = pixels(4)
    found = float_answers(freeze(model), images)[FEATURES]
    assert spread_error(keras_answers(pooled, images), found) < TOLERANCE


def test_nothing_of_training_is_left_and_names_are_the_layers():
    graph = freeze(thin())
    kinds = [type(operator).__name__ for operator in graph.operators]
    assert kinds.count("Affine") == 1
    assert {"Pad", "Reshape"}.isdisjoint(kinds)
    assert {op.name for op in graph.operators if isinstance(op, Convolution)} >= {
        *("stem_conv", "block1a_dwconv", "block2a_se_reduce", "top_conv")
    }


def test_a_lite_network_subtracts_a_whole_number():
    first = freeze(thin("lite")).operators[0]
    assert isinstance(first, Affine)
    assert np.array_equal(first.scale, np.ones(3, np.float32))
    assert np.array_equal(first.offset, np.full(3, -127, np.float32))


# Gains that let an answer depend on its image, and no map explode.
@pytest.mark.parametrize(
    ("name", "gain", "height"),
    [("EfficientNetB0", 1.2, 96), ("EfficientNetV2B0", 1.0, 64)],
    ids=["B0 for rectangular images", "V2B0"],
)
def test_keras_applications(name, gain, height):
    model = application(name, gain, input_shape=(height, 64, 3))
    graph = assert_frozen(model, height=height)
    assert graph.input_shape == (1, height, 64, 3)
    assert_probabilities(model, graph, as_it_is)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "gain"), [("EfficientNetB3", 1.05), ("EfficientNetV2S", 0.85)])
def test_larger_keras_applications(name, gain):
    assert_frozen(application(name, gain))


@pytest.mark.parametrize("preprocess", NAMES)
def test_a_network_without_preprocessing_is_told_it(preprocess):
    import keras

    inputs = keras.Input((64, 64, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(inputs)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.Activation("swish")(x)
    outputs = keras.layers.Dense(4)(keras.layers.GlobalAveragePooling2D()(x))
    model = randomized(keras.Model(inputs, outputs))
    assert_frozen(model, preprocess=Preprocessing.named(preprocess))


def test_v2_of_an_open_size_without_its_preprocessing():
    import keras

    size = 75
    base = application(
        *("EfficientNetV2B0", 1.0),
        include_top=False,
        include_preprocessing=False,
        input_shape=(None, None, 3),
        pooling="avg",
    )
    model = keras.Model(base.inputs, keras.layers.Dense(3)(base.output))
    graph = assert_frozen(
        model,
        height=size,
        width=size,
        input_size=size,
        preprocess=Preprocessing.named("torch"),
    )
    assert graph.input_shape == (1, size, size, 3)


# What users put on top: Keras layers on the pooled features, or on the map.


def chained(*layers: Any) -> Callable[[Any], Any]:
    """A head that is one layer after another."""

    def head(x: Any) -> Any:
        for layer in layers:
            x = layer(x)
        return x

    return head


def two_classes(answers: Any) -> Any:
    return np.hstack([1 - answers, answers])


def ops() -> Any:
    import keras

    return keras.ops


# By what the user built: the Keras layers, and how their answers become probabilities.
HEADS: dict[str, tuple[Callable[[Any], list[Any]], Callable[[Any], Any]]] = {
    "softmax": (lambda k: [k.Dense(3, "softmax")], as_it_is),
    "two classes": (lambda k: [k.Dense(2, "softmax")], as_it_is),
    "logits": (lambda k: [k.Dense(3)], softmax),
    "logits through a relu": (lambda k: [k.Dense(3, "relu")], softmax),
    "one sigmoid": (lambda k: [k.Dense(1, "sigmoid")], two_classes),
    "one sigmoid as a layer": (lambda k: [k.Dense(1), k.Activation("sigmoid")], two_classes),
    "a sigmoid for each class": (lambda k: [k.Dense(4, "sigmoid")], as_it_is),
    "BatchNorm and Dropout before it": (
        lambda k: [k.BatchNormalization(), k.Dropout(0.5), k.Dense(3, "softmax")],
        as_it_is,
    ),
    "BatchNorm after it": (
        lambda k: [k.Dense(3), k.BatchNormalization(), k.Activation("softmax")],
        as_it_is,
    ),
    "hidden layers": (
        lambda k: [
            k.Dense(16, "relu"),
            k.BatchNormalization(),
            k.Dense(8, "swish"),
            k.Dense(3, "softmax"),
        ],
        as_it_is,
    ),
    "an Activation layer": (lambda k: [k.Dense(3), k.Activation("softmax")], as_it_is),
    "a Softmax layer": (lambda k: [k.Dense(3), k.Softmax()], as_it_is),
    "a Softmax layer as its activation": (lambda k: [k.Dense(3, k.Softmax())], as_it_is),
    "an Activation layer as its activation": (
        lambda k: [k.Dense(4, k.Activation("sigmoid"))],
        as_it_is,
    ),
    "a Softmax layer in an Activation layer": (
        lambda k: [k.Dense(3), k.Activation(k.Softmax())],
        as_it_is,
    ),
    "an operation as its activation": (lambda k: [k.Dense(3, ops().softmax)], as_it_is),
    "one sigmoid by an Activation layer": (
        lambda k: [k.Dense(1, k.Activation("sigmoid"))],
        two_classes,
    ),
    "a cast last, as for mixed precision": (
        lambda k: [k.Dense(3, "softmax"), lambda x: ops().cast(x, "float32")],
        as_it_is,
    ),
    "casts around a sigmoid": (
        lambda k: [
            k.Dense(3),
            lambda x: ops().cast(x, "float32"),
            k.Activation("sigmoid"),
            lambda x: ops().cast(x, "float32"),
        ],
        as_it_is,
    ),
    "a float32 layer last, as for mixed precision": (
        lambda k: [k.Dense(3, "softmax"), k.Activation("linear", dtype="float32")],
        as_it_is,
    ),
}


@pytest.mark.parametrize("name", HEADS)
def test_heads(body, name):
    from keras import Model, layers

    build, expected = HEADS[name]
    head = chained(layers.GlobalAveragePooling2D(), *build(layers))
    model = randomized(Model(body.inputs, head(body.output)))
    assert_probabilities(model, assert_frozen(model), expected)


@pytest.mark.parametrize(
    "ending",
    [
        "flatten after pooling",
        "flatten the kept map",
        "flatten the map itself",
        "maxima",
        "flatten the kept maxima",
        "a mean by a window",
        "maxima by a window",
        "convolution as the classifier",
    ],
)
def test_endings_of_the_map(body, ending):
    from keras import Model, layers

    chains = {
        "flatten after pooling": [layers.GlobalAveragePooling2D(), layers.Flatten()],
        "flatten the kept map": [layers.GlobalAveragePooling2D(keepdims=True), layers.Flatten()],
        "flatten the map itself": [layers.Flatten()],
        "maxima": [layers.GlobalMaxPooling2D()],
        "flatten the kept maxima": [layers.GlobalMaxPooling2D(keepdims=True), layers.Flatten()],
        "a mean by a window": [layers.AveragePooling2D(8), layers.Flatten()],
        "maxima by a window": [layers.MaxPooling2D(8, padding="same"), layers.Flatten()],
        "convolution as the classifier": [
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Conv2D(5, 1, activation="relu"),
            layers.Reshape((-1,)),
        ],
    }
    head = chained(*chains[ending], layers.Dense(3, "softmax"))
    model = Model(body.inputs, head(body.output))
    assert_probabilities(model, assert_frozen(model), as_it_is)


def test_a_functional_wrapper(body):
    from keras import Input, Model, layers

    inputs = Input((64, 64, 3))
    x = layers.RandomFlip("horizontal")(inputs)
    x = layers.RandomRotation(0.1)(x)
    x = body(x, training=False)
    x = layers.Dropout(0.3)(layers.GlobalAveragePooling2D()(x))
    model = Model(inputs, layers.Dense(3, "softmax")(x))
    assert_probabilities(model, assert_frozen(model), as_it_is)


def test_a_sequential_wrapper_with_augmentation(body):
    from keras import Input, Sequential, layers

    augmentation = Sequential([layers.RandomFlip(), layers.RandomZoom(0.1)], name="augmentation")
    model = Sequential(
        [
            Input((64, 64, 3)),
            augmentation,
            body,
            layers.GlobalAveragePooling2D(),
            layers.Dense(3, "softmax"),
        ]
    )
    assert_probabilities(model, assert_frozen(model), as_it_is)


def test_two_wrappers_deep(body):
    from keras import Input, Sequential, layers

    inner = Sequential([Input((64, 64, 3)), body, layers.GlobalAveragePooling2D()])
    model = Sequential([Input((64, 64, 3)), inner, Sequential([layers.Dense(3, "softmax")])])
    assert_probabilities(model, assert_frozen(model), as_it_is)


def test_one_output_of_a_body_that_has_two(body):
    """Nothing of the branch that is not asked for stays in the graph."""
    from keras import Input, Model, layers

    pooled = layers.GlobalAveragePooling2D()(body.output)
    wanted = layers.Dense(3, "softmax", name="wanted")(pooled)
    other = layers.Dense(2, name="other")(layers.Dense(4, name="longer")(pooled))
    for outputs in ([wanted, other], [other, wanted]):
        inner = Model(body.inputs, outputs)
        inputs = Input((64, 64, 3))
        model = Model(inputs, inner(inputs)[outputs.index(wanted)])
        graph = assert_frozen(model)
        assert {"other", "longer"}.isdisjoint(operator.name for operator in graph.operators)


def test_squeeze_and_excite_by_dense_layers_on_a_map(body):
    from keras import Model, layers

    x = body.output
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Dense(x.shape[-1], "sigmoid")(layers.Dense(4, "swish")(gate))
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([gate, x]))
    assert_frozen(Model(body.inputs, layers.Dense(3, "softmax")(x)))


def test_a_squeeze_makes_no_features(body):
    """Where all of the map goes into the head, nothing is pooled: what a gate is made of is not."""
    from keras import Model, layers

    x = body.output
    gate = layers.Dense(4, "swish")(layers.GlobalAveragePooling2D()(x))
    gate = layers.Reshape((1, 1, -1))(layers.Dense(x.shape[-1], "sigmoid")(gate))
    x = layers.Multiply()([x, gate])
    flat, pooled = layers.Flatten()(x), layers.GlobalAveragePooling2D()(x)
    graph = assert_frozen(Model(body.inputs, layers.Dense(3, "softmax")(flat)))
    assert graph.outputs == (LOGITS, PROBABILITIES)
    graph = assert_frozen(Model(body.inputs, layers.Dense(3, "softmax")(pooled)))
    assert graph.outputs == (LOGITS, PROBABILITIES, FEATURES)


def test_a_layer_used_twice(body):
    from keras import Model, layers

    shared = layers.Dense(body.output.shape[-1], "relu", name="shared")
    x = shared(shared(layers.GlobalAveragePooling2D()(body.output)))
    graph = assert_frozen(Model(body.inputs, layers.Dense(3, "softmax")(x)))
    assert {"shared", "shared_2"} <= {operator.name for operator in graph.operators}


@pytest.mark.parametrize(
    "name",
    ["image", "logits", "probabilities", "features", "preprocess", "my classes", "groß (1)", "_m"],
)
def test_a_layer_and_a_model_may_have_any_name(body, name):
    from keras import Model, layers

    x = layers.GlobalAveragePooling2D()(body.output)
    x = layers.Dense(8, "relu", name=name)(x)
    assert_frozen(Model(body.inputs, layers.Dense(3, "softmax")(x), name=name))


def test_a_model_that_ends_in_its_features_hands_them_out_under_both_names(body):
    from keras import Model, layers

    graph = assert_frozen(Model(body.inputs, layers.GlobalAveragePooling2D()(body.output)))
    assert graph.outputs == (LOGITS, PROBABILITIES, FEATURES)
    answers = float_answers(graph, pixels(2))
    assert np.array_equal(answers[LOGITS], answers[FEATURES])


def test_a_batch():
    graph = freeze(thin(), batch=3)
    assert {shape[0] for shape in graph.shapes.values()} == {3}


def thin_in(policy: str) -> Any:
    import keras

    keras.config.set_dtype_policy(policy)
    try:
        return thin()
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_trained_in_mixed_precision(policy):
    """Its weights are float32, and so is what is made of it: Keras is asked in float32 too."""
    model = thin_in(policy)
    assert_frozen(model)
    assert model.get_layer("top_conv").compute_dtype == policy.removeprefix("mixed_")


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_adapted_by_lora_in_mixed_precision(policy):
    """Its kernels are handed out in half precision, products of the adapters in them."""
    model = thin_in(policy)
    for name in ("top_conv", "predictions"):
        layer = model.get_layer(name)
        layer.enable_lora(2)
        layer.lora_kernel_b.assign(
            np.random.default_rng(1).normal(0, 0.05, layer.lora_kernel_b.shape)
        )
    assert_frozen(model)


def test_the_model_is_left_as_it_was():
    model = thin()
    images = pixels(2)
    before = keras_answers(model, images)
    reference_answers(model, [images])
    assert np.array_equal(before, keras_answers(model, images))


def test_operators_come_in_the_order_in_which_they_run():
    made = {"image"}
    operator: Operator
    for operator in freeze(thin()).operators:
        assert made.issuperset(operator.inputs)
        made.add(operator.output)
