"""Pixels in the form that a file takes them: layout, normalization, numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from converters.preprocessing import Preprocessing
from edgenet.errors import UsageError
from edgenet.images import Pixels


@dataclass(frozen=True, eq=False)
class Feed:
    """What a file takes.

    `shape` is its input's, with 3 channels first or last. A float input gets the pixels through
    `preprocessing`, an int8 input quantized by `scale` and `zero_point` besides; so does a uint8
    input that has both, and any other uint8 input gets the pixels as they are.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    scale: float = 1.0
    zero_point: int = 0
    preprocessing: Preprocessing | None = None

    @classmethod
    def of(
        cls,
        shape: Sequence[int],
        dtype: DTypeLike,
        preprocessing: Preprocessing | None,
        quantization: tuple[float, int] = (1.0, 0),
    ) -> Feed:
        """The feed of an input.

        Raises:
            UsageError: The input is not one of fixed shape that holds RGB images.
        """
        sizes = tuple(size if isinstance(size, int) and size > 0 else 0 for size in shape)
        if len(sizes) != 4 or 0 in sizes or 3 not in (sizes[1], sizes[3]):
            told = "×".join(map(str, shape))
            raise UsageError(
                f"the file takes {told}: bisect needs RGB images of a fixed size, so export it "
                "with a fixed batch and input size"
            )
        return cls(sizes, np.dtype(dtype), *quantization, preprocessing=preprocessing)

    @property
    def channels_first(self) -> bool:
        """Whether the input is (batch, 3, height, width)."""
        return self.shape[3] != 3

    @property
    def size(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        first = 2 if self.channels_first else 1
        return self.shape[first], self.shape[first + 1]

    def batches(self, images: Pixels) -> Iterator[tuple[NDArray[Any], int]]:
        """Batches of the input's own size, the last filled up, and how many images each has."""
        size = self.shape[0]
        for start in range(0, len(images), size):
            part = images[start : start + size]
            filled = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            yield self._prepared(filled), len(part)

    def _prepared(self, pixels: Pixels) -> NDArray[Any]:
        if self.channels_first:
            return np.ascontiguousarray(self._numbers(pixels).transpose(0, 3, 1, 2))
        return self._numbers(pixels)

    def _numbers(self, pixels: Pixels) -> NDArray[Any]:
        plain = self.preprocessing is None or (self.scale, self.zero_point) == (1.0, 0)
        if self.dtype == np.uint8 and plain:
            return pixels
        values = pixels.astype(np.float32)
        if self.preprocessing is not None:
            values = values * self.preprocessing.scale + self.preprocessing.offset
        if np.issubdtype(self.dtype, np.floating):
            return values.astype(self.dtype)
        bounds = np.iinfo(self.dtype)
        levels = np.rint(values / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(levels, bounds.min, bounds.max), self.dtype)
