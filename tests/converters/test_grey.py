"""Models of grey images take photos in colour, and make grey of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.freeze import freeze
from converters.graph import PROBABILITIES
from converters.grey import GREY
from converters.pipeline import convert
from converters.preprocessing import Preprocessing
from converters.reference import reference_answers
from edgenet.errors import UnsupportedModelError
from edgenet.images import prepare
from edgenet.runtime import load
from tests.converters.graphs import float_answers, pixels, relative_error, spread_error

SIZE = 48


def grey_model(*front: Any) -> Any:
    """Layers ahead of a small network of one channel."""
    from keras import Sequential, layers, utils

    # Raw pixels saturate the softmax of one network in twenty.
    utils.set_random_seed(0)
    body = [
        layers.Conv2D(8, 3, 2, padding="same", activation="silu"),
        layers.GlobalAveragePooling2D(),
        layers.Dense(4, "softmax"),
    ]
    return Sequential([layers.Input((SIZE, SIZE, 1)), *front, *body])


def answers(model: Any, images: Any, told: Preprocessing | None = None) -> Any:
    """What Keras answers to the images in grey."""
    grey = images.astype(np.float32) @ GREY
    grey = grey if told is None else grey * told.scale[0] + told.offset[0]
    return np.asarray(model(grey[..., None]))


def fronts() -> dict[str, list[Any]]:
    from keras import layers

    return {
        "rescaled": [layers.Rescaling(1 / 127.5, -1)],
        "normalized": [layers.Normalization(mean=99.0, variance=41.0**2)],
        "both": [layers.Rescaling(1 / 255), layers.Normalization(mean=0.44, variance=0.2**2)],
        "padded": [layers.Rescaling(1 / 255, -0.5), layers.ZeroPadding2D(2)],
        "in three colours": [layers.Rescaling(1 / 255), layers.Conv2D(3, 1)],
    }


@pytest.mark.parametrize("name", ["rescaled", "normalized", "both", "padded", "in three colours"])
def test_grey_is_made_of_the_colours(name):
    model, images = grey_model(*fronts()[name]), pixels(6, SIZE, SIZE)
    graph = freeze(model)
    assert graph.input_shape == (1, SIZE, SIZE, 3)
    assert spread_error(answers(model, images), float_answers(graph, images)[PROBABILITIES]) < 1e-4


@pytest.mark.parametrize("name", ["raw", "unit", "tf", "lite"])
def test_preparation_is_told_for_grey(name):
    told = Preprocessing.named(name)
    model, images = grey_model(), pixels(6, SIZE, SIZE)
    found = float_answers(freeze(model, preprocess=told), images)[PROBABILITIES]
    assert spread_error(answers(model, images, told), found) < 1e-4


def test_keras_is_asked_in_grey():
    from keras import layers

    model, images = grey_model(layers.Rescaling(1 / 255)), pixels(6, SIZE, SIZE)
    logits = reference_answers(model, [images])
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert shares == pytest.approx(answers(model, images), abs=1e-5)


def test_colours_prepared_each_in_its_own_way_make_no_grey():
    with pytest.raises(UnsupportedModelError, match="take raw, unit, tf or lite"):
        freeze(grey_model(), preprocess=Preprocessing.named("torch"))


@pytest.mark.parametrize("size", [None, 64])
def test_the_way_out_of_resizing_is_told_for_grey(size):
    from keras import Sequential, layers

    resized = [layers.Resizing(SIZE, SIZE, antialias=size is None), layers.Conv2D(4, 3)]
    model = Sequential([layers.Input((size, size, 1)), *resized, layers.Flatten(), layers.Dense(3)])
    wanted = "keras.Input((48, 48, 1))" if size is None else "'64, 64, 1]', '48, 48, 1]'"
    with pytest.raises(UnsupportedModelError) as caught:
        freeze(model)
    assert wanted in str(caught.value)


def test_grey_that_goes_another_way_is_refused():
    import keras
    from keras import layers

    inputs = layers.Input((SIZE, SIZE, 1))
    x = layers.Rescaling(1 / 255)(inputs)
    forked = [layers.Conv2D(8, 3)(x), layers.Conv2D(8, 3, activation="relu")(x)]
    forked_model = keras.Model(
        inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Add()(forked)))
    )
    deep = grey_model(layers.Rescaling(1 / 255), layers.DepthwiseConv2D(3))
    for model in (forked_model, deep):
        with pytest.raises(UnsupportedModelError, match=r"takes grey images, and layer .* reads"):
            freeze(model)


def test_a_bundle_of_a_grey_model_takes_any_photo(tmp_path, texture_folder):
    import keras

    model = keras.applications.EfficientNetB0(
        weights=None, input_shape=(SIZE, SIZE, 1), classes=5, classifier_activation=None
    )
    model.save(tmp_path / "grey.keras")
    bundle = convert(
        tmp_path / "grey.keras",
        tmp_path / "bundle",
        precision="fp16",
        formats=("onnx",),
        calibration=texture_folder,
    )
    photo = texture_folder / "000.png"
    pixel = prepare(photo, SIZE, SIZE, 1.0, "tf-bilinear")[None]
    with load(bundle) as session:
        found = session.run(pixel)
        assert session.run(np.repeat(pixel[..., :1], 3, axis=3)).shape == (1, 5)
    assert relative_error(answers(model, pixel), found) < 0.02
