"""Scales and zero points: the arithmetic of int8 that TFLite, ONNX and OpenVINO share.

real = scale * (quantized - zero_point), as in Jacob et al. 2018 (arXiv:1712.05877), equation 1.
Activations have one scale a tensor and are held as uint8 (int8 is the same shifted by 128); weights
are int8, symmetric, with a scale for each output channel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.graph import Convolution, Floats, Linear

LEVELS = 255
WEIGHT_LEVELS = 127
# Accumulators are int32 in all engines: leave a bit of room for the sum beside the bias.
_BIAS_LIMIT = 2**30
_SMALLEST_SCALE = 1e-12


@dataclass(frozen=True)
class Quantization:
    """How a tensor of activations is held: `zero_point` is in 0..255."""

    scale: float
    zero_point: int

    @property
    def low(self) -> float:
        """The smallest value that it holds."""
        return self.scale * -self.zero_point

    @property
    def high(self) -> float:
        """The largest value that it holds."""
        return self.scale * (LEVELS - self.zero_point)

    def quantize(self, values: Floats) -> NDArray[np.uint8]:
        """Rounds to the nearest level, halves to even, and saturates."""
        levels = np.rint(values / np.float32(self.scale)) + self.zero_point
        return np.clip(levels, 0, LEVELS).astype(np.uint8)

    def dequantize(self, levels: NDArray[np.uint8]) -> Floats:
        """The values that the levels stand for."""
        return ((levels.astype(np.int32) - self.zero_point) * np.float32(self.scale)).astype(
            np.float32
        )

    @classmethod
    def covering(cls, low: float, high: float) -> Quantization:
        """The parameters for values in [low, high], with zero held exactly (padding needs it)."""
        low, high = min(low, 0.0), max(high, 0.0)
        scale = float(np.float32(max((high - low) / LEVELS, _SMALLEST_SCALE)))
        return cls(scale, int(np.clip(round(-low / scale), 0, LEVELS)))

    def scaled(self, factors: Floats) -> Quantization:
        """The parameters for what it holds times a factor for each channel."""
        ends = np.outer((self.low, self.high), factors)
        return Quantization.covering(float(ends.min()), float(ends.max()))


# Pixels are their own levels, and a sigmoid spends its 256 levels on [0, 1).
PIXELS = Quantization(scale=1.0, zero_point=0)
SIGMOID = Quantization(scale=1.0 / 256, zero_point=0)


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """The constants of a convolution or dense layer; `scales` are the weights', (out,)."""

    weights: NDArray[np.int8]
    scales: Floats
    bias: NDArray[np.int32]


def quantize_linear(operator: Linear, source: Quantization) -> QuantizedLinear:
    """Weights by channel and the bias at the accumulator's scale, for an input held as `source`.

    A channel that is almost dead would have a scale so small that its bias leaves int32: its scale
    is raised until the bias fits.
    """
    own = weight_scales(operator) if operator.scales is None else operator.scales
    scales = np.maximum(own, np.abs(operator.bias) / (source.scale * _BIAS_LIMIT))
    scales = scales.astype(np.float32)
    shape = [1] * operator.weights.ndim
    shape[_channel_axis(operator)] = -1
    levels = np.rint(operator.weights / scales.reshape(shape))
    weights = np.clip(levels, -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)
    bias = np.rint(operator.bias / (scales.astype(np.float64) * source.scale)).astype(np.int32)
    return QuantizedLinear(weights, scales, bias)


def weight_scales(operator: Linear) -> Floats:
    """The scale of each output channel, (out,): its largest weight is the last level."""
    axis = _channel_axis(operator)
    others = tuple(a for a in range(operator.weights.ndim) if a != axis)
    largest = np.abs(operator.weights).max(axis=others)
    return np.maximum(largest / WEIGHT_LEVELS, _SMALLEST_SCALE).astype(np.float32)


def _channel_axis(operator: Linear) -> int:
    depthwise = isinstance(operator, Convolution) and operator.depthwise
    return 2 if depthwise else operator.weights.ndim - 1
