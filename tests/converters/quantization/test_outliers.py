"""Images of one colour, and those on which a network explodes, set nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from converters.graph import Graph, Linear
from converters.passes import simplify
from converters.quantization.outliers import without_outliers
from converters.quantization.quantize import Method, quantize
from converters.quantization.search import decibels, measure
from converters.quantization.simulate import Image as Batch
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import SIZE, batches, images_of
from tests.converters.test_pipeline import quick

COUNT = 30
COLOURS = st.tuples(*[st.integers(0, 255)] * 3)


def in_proportion() -> Graph:
    """A network as loud as its images are bright."""
    chain = Chain(SIZE, SIZE).affine(1.0, 0.0).convolution(8, (3, 3), (2, 2)).activation("silu")
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").convolution(12)
    return simplify(chain.activation("silu").head())


GRAPH = in_proportion()


def with_bright(places: set[int], count: int = COUNT) -> list[Batch]:
    """Dark images, of which some are fifty times as bright as the others."""
    images = batches(count)
    return [image if place in places else image // 50 for place, image in enumerate(images)]


def left(graph: Graph, images: list[Batch]) -> tuple[list[Batch], list[str]]:
    """What is left of some images, and what was told."""
    told: list[str] = []
    found = without_outliers(graph, images_of(images), told.append)
    kept = list(found.all())
    assert len(kept) == found.count
    return kept, told


@settings(deadline=None, max_examples=20)
@given(st.sets(st.integers(0, COUNT - 1), min_size=1, max_size=COUNT // 5))
def test_images_that_a_network_explodes_on_are_left_out(places):
    images = with_bright(places)
    kept, told = left(GRAPH, images)
    assert kept == [image for place, image in enumerate(images) if place not in places]
    assert f"{len(places)} of {COUNT} images are left out: the network explodes on them" in told[0]


@pytest.mark.parametrize(
    "places", [set(), set(range(COUNT)), set(range(COUNT // 5 + 1))], ids=["no", "all", "many"]
)
def test_where_they_are_none_or_many_all_stay(places):
    images = with_bright(places)
    assert left(GRAPH, images) == (images, [])


@settings(deadline=None, max_examples=20)
@given(st.dictionaries(st.integers(0, COUNT - 1), COLOURS, min_size=1, max_size=20))
def test_images_of_one_colour_are_left_out(shades):
    images = batches(COUNT)
    for place, shade in shades.items():
        images[place] = np.full_like(images[place], shade)
    kept, told = left(GRAPH, images)
    assert kept == [image for place, image in enumerate(images) if place not in shades]
    assert told == [f"{len(shades)} of {COUNT} images are left out: they are of one colour"]


def test_where_all_images_are_of_one_colour_all_stay():
    images = [np.full((1, SIZE, SIZE, 3), shade, np.uint8) for shade in range(100, 130)]
    assert left(GRAPH, images) == (images, [])


def test_a_frame_is_left_out_beside_one_that_explodes():
    images = with_bright({3})
    images[5] = np.zeros_like(images[5])
    kept, told = left(GRAPH, images)
    assert kept == [image for place, image in enumerate(images) if place not in {3, 5}]
    assert len(told) == 2


def test_a_dead_network_explodes_on_nothing():
    dead = GRAPH.with_operators(
        [
            replace(op, weights=np.zeros_like(op.weights), bias=np.zeros_like(op.bias))
            if isinstance(op, Linear)
            else op
            for op in GRAPH.operators
        ]
    )
    images = with_bright(set())
    assert left(dead, images) == (images, [])


def test_int8_is_that_of_the_other_images():
    images, method = with_bright({7, 20}), Method(effort="fast")
    found = quantize(GRAPH, images_of(images), method)
    dark = [image for place, image in enumerate(images) if place not in {7, 20}]
    assert (found.images, found.outliers) == (len(dark), 2)
    assert found.recipe == quantize(GRAPH, images_of(dark), method).recipe


def test_left_in_they_ruin_the_others():
    images = with_bright({1})
    kept, ruined = (
        quantize(GRAPH, images_of(images), Method(effort="fast", without=frozenset(steps)))
        for steps in ([], ["outliers"])
    )
    held_out = kept.held_out
    assert len(held_out) > 1
    on_dark = [
        decibels(measure(replace(made, held_out=held_out), "tflite")) for made in (kept, ruined)
    ]
    assert on_dark[0] > on_dark[1] + 6


def test_the_manifest_counts_them(tmp_path):
    import keras
    from keras import layers

    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2D(8, 3, activation="silu")(layers.Rescaling(1.0)(inputs))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(6, 3, activation="silu")(x))
    keras.Model(inputs, layers.Dense(3, "softmax")(x)).save(tmp_path / "model.keras")
    for place, image in enumerate(with_bright({4})):
        Image.fromarray(image[0]).save(tmp_path / f"{place:02}.png")
    bundle = quick(
        *(tmp_path / "model.keras", tmp_path / "bundle"),
        precision="int8",
        calibration=tmp_path,
        calibration_images=COUNT,
        effort="fast",
    )
    assert bundle.manifest.calibration["images"] == COUNT - 1
    assert bundle.manifest.calibration["outliers"] == 1
