"""Models of grey images: their first convolution makes grey of a photo's red, green and blue.

Files take RGB, whatever the model does, so that no device has to know. What is done to grey ahead
of the first convolution is done to each colour alike; the convolution then adds them up by `GREY`,
whose sum is 1, so that offsets and zeros at the borders stay what they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from converters.graph import INPUT, Affine, Convolution, Floats, Operator, Pad
from edgenet.errors import UnsupportedModelError

GREY: Floats = np.array([0.299, 0.587, 0.114], np.float32)
"""Red, green and blue in grey, as JPEG, Pillow's "L" and `tf.image` have it (ITU-R BT.601)."""


def in_colour(operators: Sequence[Operator]) -> list[Operator]:
    """The operators of a model of one channel, for three.

    Raises:
        UnsupportedModelError: Grey goes two ways, or somewhere else than into a convolution.
    """
    made, tensor = list(operators), INPUT
    while True:
        (place,) = _readers(made, tensor)
        reader = made[place]
        if isinstance(reader, Convolution) and not reader.depthwise:
            grey = np.multiply(reader.weights, GREY[:, None], dtype=np.float32)
            made[place] = replace(reader, weights=grey)
            return made
        if isinstance(reader, Affine):
            made[place] = replace(reader, scale=_alike(reader.scale), offset=_alike(reader.offset))
        elif not isinstance(reader, Pad):
            raise _stranger(reader)
        tensor = reader.output


def grey_of(images: Floats) -> Floats:
    """Grey images, N × height × width × 1, of RGB ones in floats."""
    return np.asarray(images @ GREY, np.float32)[..., None]


def _readers(operators: Sequence[Operator], tensor: str) -> list[int]:
    found = [place for place, operator in enumerate(operators) if tensor in operator.inputs]
    if len(found) != 1:
        raise _stranger(operators[found[0]])
    return found


def _alike(values: Floats) -> Floats:
    """What one channel has, or all have alike, for three."""
    first = values[:1]
    if not np.all(values == first):
        raise UnsupportedModelError(
            "the model takes grey images, and --preprocess torch prepares red, green and blue each "
            "in its own way: take raw, unit, tf or lite"
        )
    return np.repeat(first, len(GREY))


def _stranger(operator: Operator) -> UnsupportedModelError:
    return UnsupportedModelError(
        f"the model takes grey images, and layer {operator.name!r} reads them as no convolution "
        "does that is the only one to read them: convert the part of the model that takes RGB"
    )
