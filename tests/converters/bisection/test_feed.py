"""Pixels reach a file in its layout, its numbers and its batches."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.bisection.feed import Feed
from converters.preprocessing import Preprocessing
from edgenet.errors import UsageError


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 4, 6, 3), np.uint8)


@given(count=st.integers(1, 9), size=st.integers(1, 5))
def test_batches_hold_every_image_once(count, size):
    pixels = images(count)
    batches = list(Feed.of([size, 4, 6, 3], np.uint8, None).batches(pixels))
    assert all(batch.shape == (size, 4, 6, 3) for batch, _ in batches)
    kept = [batch[:whole] for batch, whole in batches]
    np.testing.assert_array_equal(np.concatenate(kept), pixels)


def test_channels_first():
    feed = Feed.of([1, 3, 4, 6], np.float32, None)
    ((batch, _),) = feed.batches(images(1))
    assert feed.size == (4, 6)
    np.testing.assert_array_equal(batch, images(1).transpose(0, 3, 1, 2).astype(np.float32))


def test_a_float_input_is_normalized():
    feed = Feed.of([1, 4, 6, 3], np.float32, Preprocessing.named("tf"))
    ((batch, _),) = feed.batches(images(1))
    np.testing.assert_allclose(batch, images(1) / 127.5 - 1, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "scale", "zero_point"), [("raw", 1.0, -128), ("lite", 1 / 128, -1)]
)
def test_an_int8_input_is_quantized(name, scale, zero_point):
    feed = Feed.of([1, 4, 6, 3], np.int8, Preprocessing.named(name), (scale, zero_point))
    ((batch, _),) = feed.batches(images(1))
    np.testing.assert_array_equal(batch, images(1).astype(int) - 128)


def test_a_half_precision_input_is_normalized_too():
    feed = Feed.of([1, 3, 4, 6], np.float16, Preprocessing.named("unit"))
    ((batch, _),) = feed.batches(images(1))
    assert batch.dtype == np.float16
    np.testing.assert_allclose(batch, images(1).transpose(0, 3, 1, 2) / 255, atol=1e-3)


@pytest.mark.parametrize(("name", "quantization"), [(None, (1.0, 127)), ("tf", (1.0, 0))])
def test_a_uint8_input_takes_pixels_as_they_are(name, quantization):
    """Where only the float reference wants them prepared too."""
    preprocessing = None if name is None else Preprocessing.named(name)
    feed = Feed.of([1, 4, 6, 3], np.uint8, preprocessing, quantization)
    ((batch, _),) = feed.batches(images(1))
    np.testing.assert_array_equal(batch, images(1))


def test_a_uint8_input_with_levels_of_its_own_is_quantized():
    feed = Feed.of([1, 4, 6, 3], np.uint8, Preprocessing.named("tf"), (1 / 127.5, 128))
    ((batch, _),) = feed.batches(images(1))
    assert np.abs(batch.astype(int) - images(1)).max() <= 1


@pytest.mark.parametrize("shape", [[-1, 4, 6, 3], [1, 4, 6, 1], [1, 12], ["batch", 3, 4, 6]])
def test_other_inputs_are_refused(shape):
    with pytest.raises(UsageError, match="RGB images of a fixed size"):
        Feed.of(shape, np.float32, None)
