"""Models that resize or cast their images first are frozen as what they compute."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from converters.freeze import freeze
from converters.preprocessing import Preprocessing
from edgenet.errors import UnsupportedModelError, UsageError
from tests.converters.test_freeze import assert_frozen


@pytest.mark.parametrize("nested", [False, True])
def test_a_model_that_resizes_its_images_takes_them_in_that_size(body, nested):
    from keras import Input, Model, Sequential, layers

    inputs = Input((None, None, 3))
    first = layers.Resizing(64, 64)
    x = body((Sequential([first]) if nested else first)(inputs))
    model = Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    assert assert_frozen(model).input_shape == (1, 64, 64, 3)


@pytest.mark.parametrize("nested", [False, True])
def test_a_model_may_augment_its_images_before_it_resizes_them(body, nested):
    from keras import Input, Model, Sequential, layers

    inputs = Input((None, None, 3))
    x = Sequential([Sequential([layers.RandomFlip()]), layers.RandomContrast(0.1)])(inputs)
    resize = layers.Resizing(64, 64)
    x = body((Sequential([layers.RandomZoom(0.1), resize]) if nested else resize)(x))
    model = Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    assert assert_frozen(model).input_shape == (1, 64, 64, 3)


def test_augmentation_may_be_a_pipeline(body):
    from keras import Input, Model, layers

    def piped(*steps: Any) -> Any:
        inputs = Input((None, None, 3))
        x = body(layers.Resizing(64, 64)(layers.Pipeline([*steps], name="piped")(inputs)))
        return Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))

    augmenting = [layers.RandomFlip(), layers.Pipeline([layers.RandomRotation(0.1)])]
    assert assert_frozen(piped(*augmenting)).input_shape == (1, 64, 64, 3)
    with pytest.raises(UnsupportedModelError, match=r"layer 'piped' \(Pipeline\) is outside"):
        freeze(piped(*augmenting, layers.Rescaling(0.5)), input_size=64)


def resized_behind_a_convolution(k: Any, image: Any) -> Any:
    return k.Resizing(64, 64)(k.Conv2D(3, 1)(image))


def resized_in_one_of_two_ways(k: Any, image: Any) -> Any:
    return k.Concatenate()([k.Resizing(64, 64)(image), k.RandomFlip()(image)])


def parted_in_a_nested_model(k: Any, image: Any) -> Any:
    from keras import Input, Model

    inner = Input((None, None, 3))
    both = Model(inner, k.Add()([k.RandomFlip()(inner), k.RandomZoom(0.1)(inner)]))
    return k.Resizing(64, 64)(both(image))


def given_twice_to_a_nested_model(k: Any, image: Any) -> Any:
    from keras import Input, Model

    pair = [Input((None, None, 3)), Input((None, None, 3))]
    return k.Resizing(64, 64)(Model(pair, k.Add()(pair))([image, image]))


@pytest.mark.parametrize(
    "front",
    [
        resized_behind_a_convolution,
        resized_in_one_of_two_ways,
        parted_in_a_nested_model,
        given_twice_to_a_nested_model,
    ],
)
def test_an_open_size_that_is_not_settled_first_is_asked_for(front):
    from keras import Input, Model, layers

    inputs = Input((None, None, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(front(layers, inputs)))
    with pytest.raises(UsageError, match="open: add --input-size PIXELS"):
        freeze(Model(inputs, layers.Dense(3)(x)))


RESIZED_OTHERWISE = {
    "interpolation": "bicubic",
    "antialias": True,
    "crop_to_aspect_ratio": True,
    "pad_to_aspect_ratio": True,
}


@pytest.mark.parametrize("option", RESIZED_OTHERWISE)
def test_a_model_that_resizes_otherwise_than_photos_are(body, option):
    from keras import Input, Model, layers

    def resizing(size: int | None) -> Any:
        inputs = Input((size, size, 3))
        first = layers.Resizing(64, 64, name="first", **{option: RESIZED_OTHERWISE[option]})
        x = layers.GlobalAveragePooling2D()(body(first(inputs)))
        return Model(inputs, layers.Dense(3, "softmax")(x))

    told = rf"'first' resizes with {option}=.* save keras\.Model\(x, model\(x\)\), where x = "
    open_model = resizing(None)
    with pytest.raises(UnsupportedModelError, match=told):
        freeze(open_model)
    inputs = Input((64, 64, 3))
    for model in (resizing(64), Model(inputs, open_model(inputs))):
        assert_frozen(model)


def carried_out(message: str, model: Any) -> Any:
    """The model that the Python in a message makes of a model."""
    import keras

    known = {"keras": keras, "model": model}
    told = message.partition(" save ")[2]
    if told.startswith("what this makes: "):
        exec(told.partition(": ")[2], known)
        return known.get("small", known.get("floats"))
    made, _, where = told.partition(", where ")
    exec(where, known)
    return eval(made, known)


@pytest.mark.parametrize("depth", [0, 1, 2])
@pytest.mark.parametrize("size", [64, None], ids=["fixed", "open"])
@pytest.mark.parametrize("kind", ["Resizing", "CenterCrop"])
def test_the_way_out_that_is_told_of_one_that_resizes_later(kind, size, depth):
    from keras import Input, Model, Sequential, layers

    inputs = Input((size, size, 3))
    x = layers.Rescaling(0.5)(inputs)
    x = layers.Conv2D(8, 3, strides=4)(getattr(layers, kind)(32, 48, name="later")(x))
    model = Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    for _ in range(depth):
        model = Sequential([Input((size, size, 3)), model])
    with pytest.raises(UnsupportedModelError, match=r"'later'.* 64×64 to 32×48") as caught:
        freeze(model, input_size=None if size else 64)
    small = carried_out(str(caught.value), model)
    assert assert_frozen(small, height=32, width=48).input_shape == (1, 32, 48, 3)
    for ours, theirs in zip(small.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_map_that_is_resized_has_no_way_out():
    from keras import Input, Model, layers

    inputs = Input((64, 64, 3))
    x = layers.Resizing(32, 32)(layers.ZeroPadding2D()(layers.Rescaling(0.5)(inputs)))
    with pytest.raises(UnsupportedModelError, match=r"\(Resizing\) is outside the family"):
        freeze(Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))


def test_pixels_may_be_whole_numbers_until_they_are_cast(body):
    from keras import Input, Model, layers, ops

    inputs = Input((64, 64, 3), dtype="uint8")
    x = layers.GlobalAveragePooling2D()(body(ops.cast(inputs, "float32")))
    assert_frozen(Model(inputs, layers.Dense(3, "softmax")(x)))


def test_grey_whole_numbers_are_told_how_to_be_floats():
    from keras import Input, Model, Sequential, layers

    inputs = Input((64, 64, 1), dtype="uint8")
    x = layers.Conv2D(8, 3, strides=4)(layers.Rescaling(1 / 255)(inputs))
    inner = Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    for model in (inner, Sequential([Input((64, 64, 1), dtype="uint8"), inner])):
        with pytest.raises(UnsupportedModelError, match="takes grey images of uint8") as caught:
            freeze(model)
        made = carried_out(str(caught.value), model)
        assert_frozen(made)
        for ours, theirs in zip(made.get_weights(), model.get_weights(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


# What turns pixels of another range into what the layers behind take: the range, and how.
OF_OTHER_PIXELS: dict[str, tuple[str, str, Callable[[Any], list[Any]]]] = {
    "a whole network": ("unit", "0..1", lambda k: [k.Rescaling(255.0), k.Rescaling(1 / 127.5, -1)]),
    "a centre": ("unit", "0..1", lambda k: [k.Rescaling(2.0, -1)]),
    "statistics": (
        "unit",
        "0..1",
        lambda k: [k.Normalization(mean=[0.49, 0.46, 0.41], variance=[0.05] * 3)],
    ),
    "pixels up to 255": ("unit", "0..1", lambda k: [k.Rescaling(255.0)]),
    "pixels of -1..1 up to 255": ("tf", "-1..1", lambda k: [k.Rescaling(127.5, 127.5)]),
    "pixels of -1..1 up to 1": ("tf", "-1..1", lambda k: [k.Rescaling(0.5, 0.5)]),
    "B0 behind those": (
        "tf",
        "-1..1",
        lambda k: [
            k.Rescaling(127.5, 127.5),
            k.Rescaling(1 / 255),
            k.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.05] * 3),
        ],
    ),
    "V2 behind those": (
        "tf",
        "-1..1",
        lambda k: [k.Rescaling(127.5, 127.5), k.Rescaling(1 / 128, -1)],
    ),
}


def behind(front: list[Any]) -> Any:
    from keras import Input, Model, layers

    inputs = x = Input((64, 64, 3))
    for layer in front:
        x = layer(x)
    x = layers.Activation("relu")(layers.Conv2D(8, 3, strides=4)(x))
    return Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


@pytest.mark.parametrize("name", OF_OTHER_PIXELS)
def test_a_model_of_other_pixels_asks_for_the_preparation_it_was_trained_with(name):
    from keras import layers

    fitting, told, front = OF_OTHER_PIXELS[name]
    model = behind(front(layers))
    with pytest.raises(UsageError, match=rf"pixels .*\(layer '.*'\).* {told} ") as caught:
        freeze(model)
    assert re.search(f"add --preprocess .*{fitting}.*, or --preprocess raw", str(caught.value))
    assert_frozen(model, preprocess=Preprocessing.named(fitting))
    freeze(model, preprocess=Preprocessing.named("raw"))
    with pytest.raises(UsageError, match="leave --preprocess off"):
        freeze(model, preprocess=Preprocessing.named("torch"))


@pytest.mark.parametrize(
    "front",
    [
        lambda k: [k.Rescaling(1.0)],
        lambda k: [k.Rescaling(1 / 255)],
        lambda k: [k.Rescaling(1 / 255), k.BatchNormalization()],
        lambda k: [k.Rescaling(1 / 255, 0.1)],
        lambda k: [k.Rescaling(2.0)],
        lambda k: [k.Rescaling(1 / 127.5, -1), k.Rescaling(127.5, 127.5)],
        lambda k: [k.Rescaling(-1 / 255, 1)],
        lambda k: [k.Normalization(mean=[0.0] * 3, variance=[1.0] * 3)],
        lambda k: [k.Normalization(mean=[9.0, 12, 4], variance=[1e-2] * 3)],
    ],
)
def test_pixels_up_to_255_are_not_asked_about(front):
    from keras import layers

    assert_frozen(behind(front(layers)))
