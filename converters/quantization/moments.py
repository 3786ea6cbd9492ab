"""Second moments of what each convolution and dense layer reads, sampled over the calibration set.

They say which errors of the weights matter: rounding (`converters.quantization.rounding`) moves the
error to where the inputs are small or cancel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.graph import Convolution, Doubles, Floats, Linear

# Positions sampled in each map of each image: with a hundred images more samples than a convolution
# of B0 has inputs (1,152 at most). A depthwise kernel has few inputs.
_POSITIONS = 16
_DEPTHWISE_POSITIONS = 8
# Images whose samples are multiplied at once; of a depthwise convolution, which has many samples
# and small products, fewer.
_IMAGES_A_PRODUCT = 32
_DEPTHWISE_IMAGES_A_PRODUCT = 4
# More taps than these, as of a dense layer on a whole map, are taken in parts, each with moments of
# its own: those of all would be 16 GB at 45,000. B7 has 3,840.
_WIDEST = 4096
_PART = 512


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (groups, taps) and covariance (groups, taps, taps) of an operator's inputs.

    A tap is one input of one output value: kernel height × width × input channels. A depthwise
    convolution has a group for each channel, the others have one, or as many as `in_parts` makes.
    """

    mean: Doubles
    covariance: Doubles

    @property
    def variance(self) -> Doubles:
        """Of each tap: (groups, taps)."""
        return np.diagonal(self.covariance, axis1=1, axis2=2)


class MomentSampler:
    """Sums over images; the same positions of each map are sampled every time."""

    def __init__(self, operator: Linear) -> None:
        self._operator = operator
        self._held: list[Floats] = []
        self._sums: Any = 0.0
        self._products: Any = 0.0
        self._count = 0
        self._centre: Any = 0.0

    def sample(self, tensor: Floats) -> Floats:
        """What `add` wants of one image's input, (1, channels, height, width) or (1, in)."""
        return _samples(self._operator, tensor)

    def add(self, samples: Floats) -> None:
        """Takes in the samples of one image: (groups, samples, taps)."""
        self._held.append(samples)
        depthwise = isinstance(self._operator, Convolution) and self._operator.depthwise
        if len(self._held) == (_DEPTHWISE_IMAGES_A_PRODUCT if depthwise else _IMAGES_A_PRODUCT):
            self._multiply()

    def _multiply(self) -> None:
        """Adds the samples held: one large product costs little more than one of a few samples."""
        if not self._held:
            return
        samples = np.concatenate(self._held, axis=1)
        self._held = []
        if self._count == 0:
            self._centre = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
        # Around the centre a single precision product is exact enough, and twice as fast: a
        # channel may hardly vary around a mean far from zero.
        samples = samples - self._centre[:, None]
        self._sums = self._sums + samples.sum(axis=1, dtype=np.float64)
        self._products = self._products + _squares(samples)
        self._count += samples.shape[1]

    def moments(self) -> Moments:
        """What has been seen."""
        self._multiply()
        mean = np.asarray(self._sums, np.float64) / self._count
        covariance = np.asarray(self._products, np.float64) / self._count
        covariance -= mean[:, :, None] * mean[:, None, :]
        return Moments(self._centre + mean, covariance)


def _squares(samples: Floats) -> Doubles:
    """(groups, samples, taps) to (groups, taps, taps); one group is a symmetric product of BLAS."""
    if len(samples) == 1:
        return (samples[0].T @ samples[0])[None].astype(np.float64)
    return (samples.transpose(0, 2, 1) @ samples).astype(np.float64)


def _samples(operator: Linear, tensor: Floats) -> Floats:
    """Inputs of single output values: (groups, samples, taps)."""
    if not isinstance(operator, Convolution):
        return _by_part(operator, tensor)
    windows = _windows(operator, tensor[0])
    channels, samples = windows.shape[:2]
    if operator.depthwise:
        return windows.reshape(channels, samples, -1)
    # The weights are (height, width, in, out), so a tap's channel comes last.
    return _by_part(operator, windows.transpose(1, 2, 3, 0).reshape(samples, -1))


def _by_part(operator: Linear, samples: Floats) -> Floats:
    return in_parts(operator, samples.T).transpose(0, 2, 1)


def in_parts(operator: Linear, values: NDArray[Any]) -> NDArray[Any]:
    """(taps, n) as (parts, taps of a part, n), with zeros behind the last; most have one part."""
    taps = operator.weights.size // operator.bias.size
    parts = 1 if taps <= _WIDEST else -(-taps // _PART)
    # Even: `neighbours` stay together.
    size = -(-taps // parts // 2) * 2 if parts > 1 else taps
    return np.pad(values, ((0, parts * size - taps), (0, 0))).reshape(parts, size, -1)


def _windows(operator: Convolution, tensor: Floats) -> Floats:
    """What the kernel sees at evenly spaced positions: (channels, samples, height, width)."""
    p, (height, width), (down, across) = operator.padding, operator.kernel, operator.strides
    channels, tall, wide = tensor.shape
    rows = (tall + p.top + p.bottom - height) // down + 1
    columns = (wide + p.left + p.right - width) // across + 1
    # The middles of equal stretches: corners, half of whose window is padding, are not preferred.
    positions = _DEPTHWISE_POSITIONS if operator.depthwise else _POSITIONS
    count = min(positions, rows * columns)
    chosen = ((np.arange(count) + 0.5) * rows * columns / count).astype(np.int64)
    top, left = chosen // columns * down - p.top, chosen % columns * across - p.left
    y = top[:, None, None] + np.arange(height)[None, :, None]
    x = left[:, None, None] + np.arange(width)[None, None, :]
    inside = (y >= 0) & (y < tall) & (x >= 0) & (x < wide)
    # Rather than padded as a whole, which takes longer.
    windows = tensor.reshape(channels, -1)[:, np.where(inside, y * wide + x, 0)]
    if not inside.all():
        windows[:, ~inside] = 0
    return windows
