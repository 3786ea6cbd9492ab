"""What is outside the family is refused by name, with what is supported or what to add."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters.freeze import SUPPORTED, freeze
from converters.graph import LOGITS, PROBABILITIES
from converters.preprocessing import Preprocessing
from converters.reference import reference_answers
from edgenet.errors import UnsupportedModelError, UsageError

SIZE = (32, 32, 3)


def network(body: Callable[[Any], Any], shape: Any = SIZE, head: bool = True) -> Any:
    """Rescaling, a body, and a softmax over three classes."""
    from keras import Input, Model, layers

    inputs = Input(shape)
    x = body(layers.Rescaling(1 / 255)(inputs))
    if head:
        x = layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x))
    return Model(inputs, x, name="mine")


def refusal(model: Any, **options: Any) -> str:
    with pytest.raises(UnsupportedModelError) as caught:
        freeze(model, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


# By the layer's name: the layer, and what of it the message must say.
LAYERS: dict[str, tuple[Callable[[Any, str], Any], str]] = {
    "pool": (lambda k, name: k.MaxPooling2D(name=name), "MaxPooling2D"),
    "twice": (lambda k, name: k.Lambda(lambda x: x * 2, name=name), "Lambda"),
    "grouped": (lambda k, name: k.Conv2D(6, 3, groups=3, name=name), "groups"),
    "dilated": (lambda k, name: k.Conv2D(6, 3, dilation_rate=2, name=name), "dilated"),
    "two-fold": (
        lambda k, name: k.DepthwiseConv2D(3, depth_multiplier=2, name=name),
        "depth multiplier",
    ),
    "smooth": (lambda k, name: k.Conv2D(6, 3, activation="mish", name=name), "'mish'"),
    "elu": (lambda k, name: k.ELU(alpha=0.5, name=name), "alpha 0.5, not 1"),
    "scaled": (lambda k, name: k.Activation("selu", name=name), "'selu'"),
    "carried": (
        lambda k, name: k.Conv2D(6, 3, activation=k.PReLU(), name=name),
        "the activation 'PReLU'",
    ),
    "leaky": (
        lambda k, name: k.ReLU(negative_slope=0.1, max_value=6, name=name),
        "that leaks and is limited",
    ),
    "late": (lambda k, name: k.ReLU(threshold=1, name=name), "begins elsewhere than at 0"),
    "closed": (lambda k, name: k.ReLU(max_value=0, name=name), "limited to 0"),
    "by-row": (lambda k, name: k.BatchNormalization(axis=1, name=name), "axis"),
}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_outside_the_family_is_named(name):
    from keras import layers

    build, said = LAYERS[name]
    message = refusal(network(build(layers, name)))
    assert repr(name) in message
    assert said in message
    assert message.endswith(SUPPORTED)


@pytest.mark.parametrize(
    ("layer", "options", "advice"),
    [
        ("Resizing", (16, 16), "32×32 to 16×16, as edgenet does with photos: save what this"),
        ("RandomCrop", (16, 16), "to 16×16, otherwise than edgenet does with photos"),
        ("CenterCrop", (16, 16), "replace('32, 32, 3]', '16, 16, 3]')"),
        ("CenterCrop", (16, 16), "as --crop-fraction 0.5 does with square photos, where of"),
        ("CenterCrop", (16, 24), "to 16×24, otherwise than edgenet does with photos"),
        ("CenterCrop", (48, 48), "to 48×48, otherwise than edgenet does with photos"),
        ("Resizing", (16, 16, "nearest"), "to 16×16, otherwise than edgenet does with photos"),
        ("Resizing", (16, 16, "bicubic"), "to 16×16, otherwise than edgenet does with photos"),
        ("Resizing", (16, 16, "bilinear", True), "16×16, as edgenet does with photos: save"),
        ("Resizing", (16, 8, "bilinear", True), "16×8, otherwise than edgenet does with photos"),
        ("Resizing", (16, 8, "bilinear", False, True), "16×8, otherwise than edgenet does with"),
        (
            "Resizing",
            (16, 16, "bicubic", False, False, "constant", 0.0, True),
            "by --interpolation bicubic: add that to the command, and save what this",
        ),
        ("UnitNormalization", (), "save the model that ends before it"),
    ],
)
def test_where_there_is_a_way_out_it_is_told(layer, options, advice):
    from keras import layers

    message = refusal(network(getattr(layers, layer)(*options, name="mine")))
    assert f"layer 'mine' ({layer})" in message
    assert advice in message


@pytest.mark.parametrize(
    "end",
    [
        lambda keras, tf: keras.layers.Activation("log_softmax"),
        lambda keras, tf: keras.layers.Dense(3, "log_softmax"),
        lambda keras, tf: keras.layers.Dense(3, tf.nn.log_softmax),
        lambda keras, tf: keras.ops.log_softmax,
    ],
    ids=["layer", "carried", "tensorflow", "operation"],
)
def test_the_way_out_of_log_softmax_is_told_however_it_is_asked_for(end):
    import keras
    import tensorflow as tf

    last = end(keras, tf)
    message = refusal(network(lambda x: last(keras.layers.Flatten()(x)), head=False))
    assert message.endswith("ends before it, and compute it from what session.run gives")


@pytest.mark.parametrize("axis", [1, (1, 3)])
@pytest.mark.parametrize("kind", ["layer", "carried", "operation"])
def test_a_softmax_over_another_axis_than_the_last(kind, axis):
    from keras import layers, ops

    def head(x: Any) -> Any:
        x = layers.Conv2D(3, 1)(layers.GlobalAveragePooling2D(keepdims=True)(x))
        if kind == "operation":
            return layers.Flatten()(ops.softmax(x, axis))
        last = layers.Softmax(axis)
        carrying = layers.Conv2D(3, 1, activation=last)
        return layers.Flatten()(last(x) if kind == "layer" else carrying(x))

    message = refusal(network(head, head=False))
    assert "softmax" in message
    assert "is a softmax over another axis" in message


@pytest.mark.parametrize("axis", [1, -1, [1]])
def test_a_softmax_over_the_last_axis_however_it_is_told(axis):
    from keras import layers

    frozen = freeze(network(lambda x: layers.Softmax(axis)(layers.Flatten()(x)), head=False))
    assert frozen.shapes[PROBABILITIES][1:] == frozen.shapes[LOGITS][1:]


@pytest.mark.parametrize("name", ["softmax", "sigmoid"])
def test_what_a_user_calls_a_softmax_or_sigmoid_may_be_another_function(name):
    from keras import layers, ops

    def own(x: Any) -> Any:
        return getattr(ops, name)(x / 3)

    own.__name__ = name
    last = layers.Dense(3, own, name="mine")
    message = refusal(network(lambda x: last(layers.Flatten()(x)), head=False))
    assert f"layer 'mine' has the activation '{name}' of its own" in message


def pooled(k: Any, x: Any) -> list[Any]:
    """Two vectors of a map."""
    return [k.GlobalAveragePooling2D()(x), k.GlobalMaxPooling2D()(x)]


# By what is joined that does not come apart: the head, and what is said of it.
JOINS: dict[str, tuple[Callable[[Any, Any, Any], Any], str]] = {
    "maps": (lambda k, join, x: k.Flatten()(join([x, x])), "maps: where it makes three channels"),
    "rows": (lambda k, join, x: k.Flatten()(join([x, x], axis=1)), "along another axis"),
    "gated": (
        lambda k, join, x: k.Dense(3)(k.Multiply()([join(pooled(k, x)), join(pooled(k, x))])),
        "vectors for 'multiply",
    ),
    "weighed": (
        lambda k, join, x: k.Dense(3)(k.Softmax(name="s")(join(pooled(k, x)))),
        "vectors for 's': only dense layers, BatchNormalization and activations",
    ),
    "answers": (
        lambda k, join, x: join(pooled(k, x)),
        "what the model answers: save a model of each part",
    ),
    "probabilities": (
        lambda k, join, x: k.Activation("sigmoid")(join(pooled(k, x))),
        "what the model answers: save a model of each part",
    ),
}


@pytest.mark.parametrize("name", JOINS)
def test_a_join_that_does_not_come_apart_is_named(name):
    from keras import layers

    head, said = JOINS[name]

    def join(parts: list[Any], axis: int = -1) -> Any:
        return layers.Concatenate(axis)(parts)

    message = refusal(network(lambda x: head(layers, join, layers.Conv2D(4, 3)(x)), head=False))
    assert "layer 'concatenate" in message
    assert f" joins {said}" in message


def test_a_constant_in_a_join_is_refused():
    from keras import Input, Model, layers, ops

    inputs = Input(batch_shape=(1, *SIZE))
    vector = layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(inputs))
    joined = ops.concatenate([vector, np.zeros((1, 2), np.float32)], axis=-1)
    assert "joins a constant" in refusal(Model(inputs, layers.Dense(3)(joined)))


def test_another_network_is_refused_by_its_first_foreign_layer():
    import keras

    model = keras.applications.ResNet50(weights=None, input_shape=SIZE, classes=3)
    message = refusal(model, preprocess=Preprocessing.named("raw"))
    assert "MaxPooling2D" in message
    assert SUPPORTED in message


def test_a_foreign_layer_in_a_nested_model_is_named():
    from keras import Input, Model, layers

    inputs = Input(SIZE)
    inner = Model(inputs, layers.AveragePooling2D(2, name="deep")(inputs))
    assert "'deep' (AveragePooling2D)" in refusal(network(inner))


def test_a_subclassed_model_is_refused():
    import keras

    class Mine(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    assert "'own' (Mine) is outside the family" in refusal(network(Mine(name="own")))
    assert "is a subclassed model, or not built" in refusal(Mine())


def test_two_inputs_or_outputs_are_refused():
    from keras import Input, Model, layers

    model = network(layers.Conv2D(4, 3, name="inner"))
    outputs = [layers.Dense(2, name="second")(model.output), model.get_layer("inner").output]
    message = refusal(Model(model.inputs, outputs, name="mine"))
    assert "mine has 2 outputs (second, inner): choose one of them by" in message
    assert "--head NAME" in message
    first, second = Input(SIZE), Input(SIZE)
    assert "2 inputs: save a model of one" in refusal(
        Model([first, second], layers.Add()([first, second]))
    )


def test_an_unbuilt_model_is_refused():
    from keras import Sequential, layers

    assert "not built" in refusal(Sequential([layers.Dense(2)]))


@pytest.mark.parametrize("shape", [(32, 32, 2), (32, 32, 4), (3, 32, 32), (10,)])
def test_what_takes_no_rgb_images_is_refused(shape):
    from keras import Input, Model, layers

    inputs = Input(shape)
    message = refusal(Model(inputs, layers.Dense(2)(layers.Flatten()(inputs))))
    assert "not RGB images (height, width, 3)" in message


def test_a_map_is_no_vector_of_classes():
    from keras import layers

    message = refusal(network(layers.Conv2D(4, 3), head=False))
    assert "ends in a tensor (30, 30, 4)" in message


@pytest.mark.parametrize("options", [{"pool_size": 2}, {"pool_size": 30, "strides": 1}])
def test_windows_over_a_part_of_the_map_are_refused(options):
    from keras import layers

    pool = layers.AveragePooling2D(padding="same", **options)
    message = refusal(network(lambda x: pool(layers.Conv2D(4, 3)(x))))
    size = options["pool_size"]
    assert f"pools windows of {size}×{size} in a map of 30×30, not the whole map" in message


@pytest.mark.parametrize("kind", ["GlobalAveragePooling2D", "Flatten"])
def test_channels_first_is_refused_by_its_layer(kind):
    from keras import layers

    head = getattr(layers, kind)(data_format="channels_first")
    message = refusal(network(lambda x: layers.Dense(3)(head(x)), head=False))
    assert f"({kind}) takes maps channels first: build the model again" in message


def test_one_value_is_asked_what_it_is():
    from keras import layers

    model = network(lambda x: layers.Dense(1)(layers.GlobalAveragePooling2D()(x)), head=False)
    message = refusal(model)
    assert "one linear value: add --task regression where" in message


def classes(k: Any, x: Any, function: str | None = "softmax") -> Any:
    return k.Dense(3, function)(k.Flatten()(x))


# By what a model ends in that is no logits.
MIXED: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "a mean": (lambda k, x: (classes(k, x) + classes(k, x)) * 0.5, "already mixed"),
    "a sum of parts": (lambda k, x: classes(k, x) * 0.3 + classes(k, x) * 0.7, "already mixed"),
    "sigmoids": (
        lambda k, x: k.Add()([classes(k, x, "sigmoid"), classes(k, x, "hard_sigmoid")]),
        "already mixed",
    ),
    "a product": (lambda k, x: classes(k, x) * classes(k, x, "sigmoid"), "already mixed"),
    "hard sigmoids": (lambda k, x: classes(k, x, "hard_sigmoid"), "in a hard sigmoid"),
    "one hard sigmoid": (
        lambda k, x: k.Dense(1, "hard_sigmoid")(k.Flatten()(x)),
        "in a hard sigmoid",
    ),
}


@pytest.mark.parametrize("name", MIXED)
def test_probabilities_that_are_no_logits_are_told(name):
    from keras import layers

    head, said = MIXED[name]
    model = network(lambda x: head(layers, x), head=False)
    message = refusal(model)
    assert said in message
    assert "or add --task regression" in message
    freeze(model, task="regression")


@pytest.mark.parametrize(
    "head",
    [
        lambda k, x: classes(k, x, None) * 0.5 + classes(k, x, None) * 0.5,
        lambda k, x: classes(k, x, None) * classes(k, x, "sigmoid"),
        lambda k, x: classes(k, x, None) + classes(k, x),
        lambda k, x: k.ReLU(6)(classes(k, x, None)),
    ],
)
def test_sums_of_other_values_are_logits(head):
    from keras import layers

    frozen = freeze(network(lambda x: head(layers, x), head=False))
    assert frozen.outputs[:2] == (LOGITS, PROBABILITIES)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_told(value):
    from keras import layers

    model = network(layers.Conv2D(4, 3, name="broken"))
    kernel, bias = model.get_layer("broken").get_weights()
    kernel[0, 0, 0, 0] = value
    model.get_layer("broken").set_weights([kernel, bias])
    with pytest.raises(UsageError, match=r"layer 'broken' has weights that are nan or infinite"):
        freeze(model)


@pytest.mark.parametrize("policy", ["float16", "float64"])
def test_weights_in_another_precision_are_told(policy):
    from keras import config, layers

    config.set_dtype_policy(policy)
    try:
        model = network(layers.Conv2D(4, 3))
    finally:
        config.set_dtype_policy("float32")
    assert "set_dtype_policy('float32')" in refusal(model)


def test_pixels_that_are_prepared_in_two_ways_are_refused():
    from keras import Input, Model, layers

    inputs = Input(SIZE)
    ways = [layers.Rescaling(scale)(inputs) for scale in (1 / 255, 0.1)]
    x = layers.Add()([layers.Conv2D(4, 3)(x) for x in ways])
    model = Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    assert "pixels are prepared in more than one way, by 'rescaling" in refusal(model)


@pytest.mark.parametrize("nested", [False, True])
def test_answers_by_a_layer_that_is_used_elsewhere_too_are_refused(nested):
    """To take the logits, Keras is asked without its last function: the gate would lose it too."""
    from keras import Input, Model, Sequential, layers

    shared = layers.Activation("sigmoid", name="both")
    inputs = Input(SIZE)
    x = layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(inputs))
    gate = shared(layers.Dense(4)(layers.GlobalAveragePooling2D(keepdims=True)(x)))
    x = layers.GlobalAveragePooling2D()(layers.Multiply()([x, gate]))
    model = Model(inputs, shared(layers.Dense(3)(x)))
    if nested:
        model = Sequential([Input(SIZE), model])
    with pytest.raises(UnsupportedModelError, match=r"'both' .* an activation of its own"):
        reference_answers(model, [np.zeros((1, *SIZE), np.uint8)])


def test_a_layer_of_ones_own_with_keras_name_is_not_keras():
    from keras import layers

    class Rescaling(layers.Layer):
        def call(self, x: Any) -> Any:
            return x / 100

    assert "'own' (Rescaling) is outside the family" in refusal(network(Rescaling(name="own")))


def test_each_position_by_its_own_mean_is_told():
    from keras import layers

    means = np.zeros(SIZE)
    layer = layers.Normalization(axis=(1, 2, 3), mean=means, variance=means + 1)
    assert "each position by its own mean" in refusal(network(layer))


def test_a_normalized_batch_is_no_preprocessing_of_pixels():
    from keras import Input, Model, layers

    inputs = Input(SIZE)
    x = layers.Conv2D(4, 3)(layers.BatchNormalization()(inputs))
    model = Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))
    with pytest.raises(UsageError, match="--preprocess"):
        freeze(model)
    freeze(model, preprocess=Preprocessing.named("unit"))


@pytest.mark.parametrize("layers", [[], ["Dropout"]])
def test_a_model_that_computes_nothing_is_refused(layers):
    import keras

    x = inputs = keras.Input(SIZE)
    for kind in layers:
        x = getattr(keras.layers, kind)(0.5)(x)
    model = keras.Model(inputs, keras.layers.Identity()(x))
    assert "computes nothing" in refusal(model)
    assert "computes nothing" in refusal(model, preprocess=Preprocessing.named("tf"))


def bare() -> Any:
    from keras import Input, Model, layers

    inputs = Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(inputs))
    return Model(inputs, layers.Dense(3)(x), name="bare")


def test_missing_preprocessing_is_asked_for():
    with pytest.raises(UsageError, match=r"--preprocess raw\|unit\|tf\|torch\|lite"):
        freeze(bare(), input_size=32)


@pytest.mark.parametrize("name", ["unit", "tf", "torch", "lite"])
def test_preprocessing_that_the_model_does_itself_is_refused(name):
    from keras import layers

    model = network(layers.Conv2D(4, 3))
    with pytest.raises(UsageError, match=r"\(layer 'rescaling\w*'\): leave --preprocess off"):
        freeze(model, preprocess=Preprocessing.named(name))
    freeze(model, preprocess=Preprocessing.named("raw"))


def test_an_open_size_is_asked_for_and_a_fixed_one_kept():
    from keras import layers

    with pytest.raises(UsageError, match="add --input-size PIXELS"):
        freeze(bare(), preprocess=Preprocessing.named("tf"))
    with pytest.raises(UsageError, match="takes 32x32 images: leave --input-size off"):
        freeze(network(layers.Conv2D(4, 3)), input_size=64)


@pytest.mark.parametrize("size", [0, -5])
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(UsageError, match="--input-size"):
        freeze(bare(), preprocess=Preprocessing.named("tf"), input_size=size)


def test_a_model_that_keras_quantized():
    model = network(lambda x: x)
    model.quantize("int8")
    assert "is quantized by Keras (int8)" in refusal(model)
