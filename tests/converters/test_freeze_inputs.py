"""Models that resize or cast their images first are frozen as what they compute."""

from __future__ import annotations

from typing import Any

import pytest

from converters.freeze import freeze
from edgenet.errors import UnsupportedModelError
from tests.converters.test_freeze import assert_frozen


@pytest.mark.parametrize("nested", [False, True])
def test_a_model_that_resizes_its_images_takes_them_in_that_size(body, nested):
    from keras import Input, Model, Sequential, layers

    inputs = Input((None, None, 3))
    first = layers.Resizing(64, 64)
    x = body((Sequential([first]) if nested else first)(inputs))
    model = Model(inputs, layers.Dense(3, "softmax")(layers.GlobalAveragePooling2D()(x)))
    assert assert_frozen(model).input_shape == (1, 64, 64, 3)


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

    with pytest.raises(UnsupportedModelError, match=f"'first' resizes with {option}=.* save keras"):
        freeze(resizing(None))
    assert_frozen(resizing(64))


def test_pixels_may_be_whole_numbers_until_they_are_cast(body):
    from keras import Input, Model, layers, ops

    inputs = Input((64, 64, 3), dtype="uint8")
    x = layers.GlobalAveragePooling2D()(body(ops.cast(inputs, "float32")))
    assert_frozen(Model(inputs, layers.Dense(3, "softmax")(x)))
