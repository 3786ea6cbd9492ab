"""What turns pixels 0..255 into what a network was trained on, by the names that the field uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from converters.graph import Floats
from edgenet.errors import UsageError

# Of ImageNet's pixels in 0..1, R G B: keras.applications.imagenet_utils, mode "torch".
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


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

    NAMES: ClassVar[tuple[str, ...]] = ("raw", "unit", "tf", "torch", "lite")

    @classmethod
    def named(cls, name: str) -> Preprocessing:
        """The preprocessing of that name.

        Raises:
            UsageError: There is none of that name.
        """
        pixels = {
            "raw": (0.0, 1.0),
            "unit": (0.0, 255.0),
            "tf": (127.5, 127.5),
            "torch": (np.multiply(255, _IMAGENET_MEAN), np.multiply(255, _IMAGENET_DEVIATION)),
            "lite": (127.0, 128.0),
        }
        if name not in pixels:
            raise UsageError(
                f"no preprocessing is called {name!r}: take one of {', '.join(cls.NAMES)}"
            )
        mean, deviation = (np.broadcast_to(np.float64(v), (3,)) for v in pixels[name])
        return cls(name, (1 / deviation).astype(np.float32), (-mean / deviation).astype(np.float32))
