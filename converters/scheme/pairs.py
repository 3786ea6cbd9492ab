"""Pairs of weights that no CPU's arithmetic makes overflow.

x86 without VNNI, AMD's before Zen 4 and many of Intel's, multiplies levels of activations, 0 to
255, with those of weights two by two, and adds each two products in 16 bits that saturate
(vpmaddubsw, in ONNX Runtime's and oneDNN's int8 kernels for AVX2 and AVX-512). Two large weights of
one sign side by side are cut off then, and nobody says so: on a Zen 3 Lite0 lost 1.6 points in ONNX
Runtime and 4.2 in OpenVINO. Where the levels of any two neighbours of one sign add up to 128 at
most, all CPUs compute the same. Weights of 7 bits would do as well, at twice the step; a scale that
covers the largest *pair* is a quarter coarser on average than one for the largest weight (Lite0,
B0).
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from converters.graph import Convolution, Doubles, Floats, Linear, Shape

PAIR_LEVELS = 128
"""255 · 128 is the last product that 16 bits hold."""


def neighbours(operator: Linear, taps: int) -> NDArray[np.intp]:
    """By tap, those whose products a kernel may add to its own; `taps` stands for none.

    A tap is one input of one output value, in the order of the weights' axes. Kernels read channels
    by fours, the first two and the last two a pair. An odd number of channels goes on without a gap
    into the next pixel where ONNX Runtime lays out what is under a kernel, and in groups of pixels
    (`converters.formats.pixel_groups`), so that a pair may start anywhere. Depthwise kernels add in
    32 bits.

    Args:
        operator: A convolution or dense layer.
        taps: How many it has.

    Returns:
        (taps, 0 to 2).
    """
    if isinstance(operator, Convolution) and operator.depthwise:
        return np.empty((taps, 0), np.intp)
    return _beside(operator.weights.shape, taps)


def _beside(shape: Shape, taps: int) -> NDArray[np.intp]:
    every = np.arange(taps)
    *window, channels, _ = shape
    if prod(window) > 1 and channels % 2:
        beside = np.stack([every - 1, every + 1], axis=1)
    else:
        beside = (every ^ 1)[:, None]
    return np.where(beside < 0, taps, beside)


def largest_pairs(operator: Linear) -> Floats:
    """The largest sum of neighbours of one sign, in magnitude, by output channel: (out,)."""
    weights = operator.weights.reshape(-1, operator.bias.size)
    return _largest(weights, neighbours(operator, len(weights)))


def overflow(levels: NDArray[np.int8]) -> bool:
    """Whether weights, (..., in, out) but no depthwise ones, have a pair that 16 bits cut off."""
    taps = levels.reshape(-1, levels.shape[-1]).astype(np.float32)
    return bool(_largest(taps, _beside(levels.shape, len(taps))).max() > PAIR_LEVELS)


def _largest(weights: Floats, beside: NDArray[np.intp]) -> Floats:
    """Of (taps, out), with each tap's neighbours: (out,)."""
    sums = []
    for sign in (1, -1):
        of_sign = np.maximum(sign * weights, 0)
        others = np.pad(of_sign, ((0, 1), (0, 0)))[beside]
        sums.append((of_sign[:, None] + others).max(axis=(0, 1), initial=0))
    largest: Floats = np.maximum(*sums)
    return largest


def fitting(levels: Doubles, beside: Doubles) -> Doubles:
    """The nearest levels that there is room for.

    Args:
        levels: Of weights, (..., out).
        beside: Those of their neighbours, (0 to 2, ..., out).
    """
    most = PAIR_LEVELS - beside.max(axis=0, initial=0)
    least = -PAIR_LEVELS - beside.min(axis=0, initial=0)
    return np.clip(levels, least, most)
