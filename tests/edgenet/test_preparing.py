from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from edgenet.errors import UsageError
from edgenet.images import INTERPOLATIONS, ImageError, prepare
from tests.photos import photo


@given(
    size=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    target=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    fraction=st.floats(0.01, 1.0),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_prepare_gives_the_size_asked_for(
    size: tuple[int, int], target: tuple[int, int], fraction: float, interpolation: str
) -> None:
    result = prepare(photo(*size), *target, fraction, interpolation)
    assert (result.shape, result.dtype) == ((*target, 3), np.uint8)


@given(
    colour=st.tuples(*[st.integers(0, 255)] * 3),
    fraction=st.floats(0.1, 1.0),
    interpolation=st.sampled_from(INTERPOLATIONS),
)
def test_prepare_keeps_one_colour(
    colour: tuple[int, int, int], fraction: float, interpolation: str
) -> None:
    result = prepare(Image.new("RGB", (33, 21), colour), 7, 9, fraction, interpolation)
    assert (result == colour).all()


def test_a_fraction_below_one_takes_the_central_square() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (15, 5, 25, 15))
    assert (prepare(image, 5, 5, 0.5, "bicubic") == 255).all()


def test_a_fraction_of_one_takes_the_whole_photo() -> None:
    image = Image.new("RGB", (40, 20), "black")
    image.paste("white", (0, 0, 20, 20))
    squashed = prepare(image, 4, 4, 1.0, "bilinear")[:, :, 0]
    assert (squashed[:, 0] == 255).all()
    assert (squashed[:, 3] == 0).all()


def test_a_photo_of_any_size_is_cropped_without_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert prepare(photo(40, 30), 8, 8, 0.9, "bilinear").shape == (8, 8, 3)
    with pytest.raises(ImageError, match="more than Pillow reads"):
        prepare(np.asarray(photo(40, 40)), 8, 8, 0.96, "bilinear")


@pytest.mark.parametrize("kind", ["bicubic", "bilinear"])
def test_pillows_interpolations_are_pillows_own(kind: str) -> None:
    image = photo(40, 30)
    expected = np.asarray(image.resize((9, 7), Image.Resampling[kind.upper()]))
    np.testing.assert_array_equal(prepare(image, 7, 9, 1.0, kind), expected)


def test_no_resize_where_the_size_is_right() -> None:
    image = photo(16, 16)
    np.testing.assert_array_equal(prepare(image, 16, 16, 1.0, "bicubic"), np.asarray(image))


@pytest.mark.parametrize(("fraction", "kind"), [(0.0, "bicubic"), (1.1, "bicubic"), (1.0, "cubic")])
def test_options_out_of_range_are_refused(fraction: float, kind: str) -> None:
    with pytest.raises(UsageError):
        prepare(photo(), 8, 8, fraction, kind)


@pytest.mark.parametrize("size", [(8, 8), (30, 40), (5, 77), (64, 19)])
def test_photos_are_sampled_as_tensorflow_does(size: tuple[int, int]) -> None:
    import tensorflow as tf

    image = photo(40, 30)
    found = prepare(image, *size, 1.0, "tf-bilinear")
    expected = tf.image.resize(np.asarray(image, np.float32), size).numpy()
    assert found.shape == (*size, 3)
    assert np.abs(found - expected).max() < 0.51
