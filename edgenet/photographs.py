"""Crops of the photographs that scikit-image carries: images at hand without a download.

Five colour photographs (a person, a cat, a cup, a motorcycle, a rocket) are cut into random
squares, mirrored or not. Calibration wants squares down to half a photograph (`WIDE`), which vary
more; to compare two files' answers take nearly whole ones (`WHOLE`), which show what they are of.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgenet.errors import MissingExtraError
from edgenet.images import Pixels, decode, prepare

if TYPE_CHECKING:
    from PIL import Image

NAMES = ("astronaut.png", "chelsea.png", "coffee.png", "motorcycle_left.png", "rocket.jpg")
WIDE, WHOLE = 0.5, 0.85
"""The least side of a crop, as a share of the photograph's short side."""
_SEED = 0


def crops(count: int, height: int, width: int, smallest: float = WHOLE) -> Iterator[Pixels]:
    """`count` crops, the same at every call, one height × width × 3 uint8 image at a time.

    They come photograph by photograph, as many of each, give or take one. A smaller `count` gives
    the first crops of each.

    Args:
        count: How many.
        height: Of each, in pixels.
        width: Of each, in pixels.
        smallest: The shortest side of a crop, as a share of the photograph's short side.

    Raises:
        MissingExtraError: scikit-image is not installed; raised by the call, before the first crop.
    """
    return _crops(_paths(), count, height, width, smallest)


def _crops(
    paths: Iterable[Path], count: int, height: int, width: int, smallest: float
) -> Iterator[Pixels]:
    photographs = [decode(path) for path in paths]
    for which, (photograph, share) in enumerate(zip(photographs, _shares(count), strict=True)):
        for square in cut(photograph, share, smallest, which):
            yield prepare(square, height, width, 1.0, "bicubic")


def cut(photo: Image.Image, count: int, smallest: float, which: int) -> Iterator[Pixels]:
    """`count` random squares of a photo, mirrored or not, the same at every call.

    Args:
        photo: In RGB.
        count: How many.
        smallest: The shortest side, as a share of the photo's short side.
        which: The photo's number; each has squares of its own.
    """
    pixels = np.asarray(photo)
    random = np.random.Generator(np.random.PCG64((_SEED, which)))
    for _ in range(count):
        side = max(1, int(min(pixels.shape[:2]) * random.uniform(smallest, 1)))
        top, left = (int(random.integers(0, n - side + 1)) for n in pixels.shape[:2])
        square = pixels[top : top + side, left : left + side]
        yield square[:, ::-1] if random.random() < 0.5 else square


def photographs_of(count: int) -> list[int]:
    """For each of `count` crops, the number (from 0) of the photograph it is cut from."""
    return [which for which, share in enumerate(_shares(count)) for _ in range(share)]


def _shares(count: int) -> list[int]:
    return shares(count, len(NAMES))


def shares(count: int, parts: int) -> list[int]:
    """Splits a count into parts that differ by at most one."""
    each, rest = divmod(count, parts)
    return [each + (which < rest) for which in range(parts)]


def digest() -> str:
    """The sha256, in hexadecimal, over the photographs' files."""
    found = hashlib.sha256()
    for path in _paths():
        found.update(path.read_bytes())
    return found.hexdigest()


def _paths() -> list[Path]:
    """They lie in scikit-image's folder: nothing of it is imported, nothing downloaded."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "name a folder of images, as in check --evaluate DIR or convert --calibration DIR; "
            "taking crops of scikit-image's photographs instead",
            "convert",
            install="pip install scikit-image",
        )
    return [Path(spec.submodule_search_locations[0]) / "data" / name for name in NAMES]
