"""What turns pixels 0..255 into what a network was trained on, by the names that the field uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph import Floats
from edgenet.errors import UsageError
from edgenet.models.specs import IMAGENET_MEAN, IMAGENET_STDDEV, LITE_MEAN, LITE_STDDEV

# Mean and deviation of pixels 0..255, for all channels or for R, G, B.
_PIXELS: Mapping[str, tuple[Any, Any]] = {
    "raw": (0.0, 1.0),
    "unit": (0.0, 255.0),
    "tf": (127.5, 127.5),
    "torch": (np.multiply(255, IMAGENET_MEAN), np.multiply(255, IMAGENET_STDDEV)),
    "lite": (LITE_MEAN, LITE_STDDEV),
}
NAMES = tuple(_PIXELS)


@dataclass(frozen=True, eq=False)
class Preprocessing:
    """(pixel - mean) / deviation by channel, as pixel * scale + offset with arrays of shape (3,).

    The names: `raw` leaves 0..255 as they are; `unit` is x / 255; `tf` is x / 127.5 - 1 and `torch`
    ImageNet's mean and deviation (both as in keras.applications.imagenet_utils); `lite` is (x -
    127) / 128, EfficientNet-Lite's own.
    """

    name: str
    scale: Floats
    offset: Floats

    @property
    def layer(self) -> str:
        """The Keras layer that does the same, in Python."""
        scales = _one_or_all([f"1/{1 / scale:g}" for scale in self.scale])
        offsets = _one_or_all([str(offset) for offset in self.offset])
        arguments = scales if not self.offset.any() else f"{scales}, {offsets}"
        return f"keras.layers.Rescaling({arguments})"

    @classmethod
    def named(cls, name: str) -> Preprocessing:
        """The preprocessing of that name.

        Raises:
            UsageError: There is none of that name.
        """
        if name not in _PIXELS:
            raise UsageError(f"no preprocessing is called {name!r}: take one of {', '.join(NAMES)}")
        mean, deviation = (np.broadcast_to(np.float64(v), (3,)) for v in _PIXELS[name])
        return cls(name, (1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32))


def _one_or_all(numbers: list[str]) -> str:
    """What channels share, or a list."""
    return numbers[0] if len(set(numbers)) == 1 else f"[{', '.join(numbers)}]"
