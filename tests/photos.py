"""Small photos of noise, and the files that hold them."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def photo(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(noise)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = encoded(photo(), "JPEG")
