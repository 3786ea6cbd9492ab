"""Bringing one photo to the size that a model takes: crop and resize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from edgenet.decoding import IN_MEMORY, ImageSource, decode, pillow_reads
from edgenet.errors import UsageError

if TYPE_CHECKING:
    from PIL import Image

Pixels = npt.NDArray[np.uint8]

INTERPOLATIONS = ("bicubic", "bilinear", "tf-bilinear")
"""Pillow's two, which are antialiased, and what `tf.image.resize` does by itself, which is not."""


def prepare(
    image: ImageSource, height: int, width: int, crop_fraction: float, interpolation: str
) -> Pixels:
    """Brings a photo to the size that a model takes.

    A fraction below 1 cuts out the central square whose side is that fraction of the photo's short
    side, then resizes it. A fraction of 1 does not cut: the whole photo is resized straight,
    squashed where its aspect ratio is another.

    Args:
        image: Anything that `decode` takes.
        height: Of the result, in pixels.
        width: Of the result, in pixels.
        crop_fraction: Above 0, at most 1.
        interpolation: A name of `INTERPOLATIONS`.

    Returns:
        height×width×3 uint8, RGB.

    Raises:
        UsageError: An option out of its range, or as `decode`.
        EdgenetError: As `decode`, an `ImageError` among them.
    """
    from PIL import Image

    require_way(crop_fraction, interpolation)
    photo = decode(image)
    if crop_fraction < 1:
        photo = _central_square(photo, crop_fraction)
    if interpolation == "tf-bilinear":
        return _sampled(np.asarray(photo), height, width)
    resample = Image.Resampling[interpolation.upper()]
    return np.asarray(photo.resize((width, height), resample), np.uint8)


def require_way(crop_fraction: float | None, interpolation: str | None = None) -> None:
    """Refuses ways to prepare a photo that there are not; None leaves it to the model.

    Raises:
        UsageError: The fraction is out of its range, or there is no such interpolation.
    """
    if crop_fraction is not None and not 0 < crop_fraction <= 1:
        raise UsageError(f"the crop fraction must be above 0 and at most 1, not {crop_fraction}")
    if interpolation not in (None, *INTERPOLATIONS):
        raise UsageError(
            f"no interpolation is called {interpolation!r}: take one of {', '.join(INTERPOLATIONS)}"
        )


def _sampled(photo: Pixels, height: int, width: int) -> Pixels:
    """Between the four pixels around each point, however many others a point stands for.

    Source: `tf.image.resize` with `antialias=False`, which `image_dataset_from_directory` calls;
    tensorflow/core/kernels/image/resize_bilinear_op.cc, with half-pixel centers.
    """
    (above, below, down), (left, right, across) = (
        _neighbours(size, wanted)
        for size, wanted in zip(photo.shape, (height, width), strict=False)
    )
    rows = photo[above] + (photo[below] - photo[above].astype(np.float32)) * down[:, None, None]
    found = rows[:, left] + (rows[:, right] - rows[:, left]) * across[:, None]
    return np.asarray(np.rint(found), np.uint8)


def _neighbours(
    size: int, wanted: int
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.float32]]:
    """Of each point wanted, the pixels on both sides, and how far it is from the first, 0..1."""
    place = (np.arange(wanted) + 0.5) * size / wanted - 0.5
    first = np.floor(place).astype(np.intp)
    pair = (first.clip(0, size - 1), (first + 1).clip(0, size - 1))
    return *pair, (place - first).astype(np.float32)


def _central_square(photo: Image.Image, fraction: float) -> Image.Image:
    side = max(1, round(min(photo.size) * fraction))
    left, top = (photo.width - side) // 2, (photo.height - side) // 2
    with pillow_reads(IN_MEMORY):
        return photo.crop((left, top, left + side, top + side))
