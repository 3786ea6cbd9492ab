"""Scales and zero points: the integer arithmetic that TFLite, ONNX and OpenVINO share.

real = scale * (quantized - zero_point), as in Jacob et al. 2018 (arXiv:1712.05877), equation 1.
Activations have one scale a tensor and are held as uint8 or uint16 (int8 and int16 are the same
shifted by half the levels); weights are int8, symmetric, with a scale for each output channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.graph import Convolution, Floats, Linear
from converters.scheme.pairs import largest_pairs

LEVELS = 255
MIDDLE_16 = 2**15
WEIGHT_LEVELS = 127
# Accumulators are int32 in all engines: leave a bit of room for the sum beside the bias.
BIAS_LIMIT = 2**30
SMALLEST_SCALE = 1e-12
# Any step holds what is always zero, but OpenVINO divides the bias of the layer before by the step,
# and refuses quotients of some 1e10.
_IDLE_STEP = 1e-6
# Ranges tried for constants: enough that three offsets come within 0.02 of a pixel's step.
_WIDTHS = 2001


@dataclass(frozen=True)
class Quantization:
    """How a tensor of activations is held, in `bits` 8 or 16: `zero_point` is in 0..`levels`."""

    scale: float
    zero_point: int
    bits: int = 8

    @property
    def levels(self) -> int:
        """The last level: 255 or 65535."""
        return 2**self.bits - 1

    @property
    def dtype(self) -> type[np.unsignedinteger[Any]]:
        """What holds the levels."""
        return np.uint8 if self.bits == 8 else np.uint16

    @property
    def low(self) -> float:
        """The smallest value that it holds."""
        return self.scale * -self.zero_point

    @property
    def high(self) -> float:
        """The largest value that it holds."""
        return self.scale * (self.levels - self.zero_point)

    def quantize(self, values: Floats) -> NDArray[np.unsignedinteger[Any]]:
        """Rounds to the nearest level, halves to even, and saturates."""
        levels = np.rint(values / np.float32(self.scale)) + self.zero_point
        return np.clip(levels, 0, self.levels).astype(self.dtype)

    def dequantize(self, levels: NDArray[np.unsignedinteger[Any]]) -> Floats:
        """The values that the levels stand for."""
        return ((levels.astype(np.int32) - self.zero_point) * np.float32(self.scale)).astype(
            np.float32
        )

    @classmethod
    def covering(cls, low: float, high: float, bits: int = 8) -> Quantization:
        """The parameters for values in [low, high], with zero held exactly (padding needs it).

        In 16 bits zero is the middle level: TFLite's int16 kernels know no other zero point, and
        half of so many levels are enough for ranges that lie on one side.
        """
        low, high = min(low, 0.0), max(high, 0.0)
        smallest = _IDLE_STEP if low == high else SMALLEST_SCALE
        if bits == 16:
            step = max(max(-low, high) / (MIDDLE_16 - 1), smallest)
            return cls(float(np.float32(step)), MIDDLE_16, bits)
        scale = float(np.float32(max((high - low) / LEVELS, smallest)))
        return cls(scale, int(np.clip(round(-low / scale), 0, LEVELS)))

    @classmethod
    def of_constants(cls, values: Floats, bits: int = 8) -> Quantization:
        """The parameters for constants: positive powers of two up to 2^7 apart are exact.

        Others try ranges up to twice as wide as their own; the one whose levels miss least is
        taken.
        """
        if bits == 8 and are_powers(values):
            return cls(float(values.max()) / 128, 0)
        low, high = float(values.min()), float(values.max())
        distinct, counts = np.unique(values, return_counts=True)

        def error(held: Quantization) -> float:
            missed = held.dequantize(held.quantize(distinct)) - distinct
            return float(counts @ np.square(missed, dtype=np.float64))

        widths = np.linspace(1, 2, _WIDTHS if bits == 8 else 1)
        return min((cls.covering(low * width, high * width, bits) for width in widths), key=error)


def are_powers(values: Floats) -> bool:
    """Whether all are positive powers of two."""
    return bool(np.all(np.frexp(values)[0] == 0.5))


# Pixels are their own levels. A sigmoid has its 256 levels in [0, 1), in 16 bits those above the
# middle one, which is zero: the scales that the kernels of TFLite and ONNX Runtime compute with.
PIXELS = Quantization(scale=1.0, zero_point=0)
SIGMOID = Quantization(scale=1.0 / 256, zero_point=0)
SIGMOID_16 = Quantization(scale=1.0 / MIDDLE_16, zero_point=MIDDLE_16, bits=16)


def sigmoid_like(quantization: Quantization) -> Quantization:
    """How the output of a sigmoid is held, in as many bits as another tensor."""
    return SIGMOID if quantization.bits == 8 else SIGMOID_16


@dataclass(frozen=True, eq=False)
class QuantizedLinear:
    """The constants of a convolution or dense layer; `scales` are the weights', (out,)."""

    weights: NDArray[np.int8]
    scales: Floats
    bias: NDArray[np.int32]


def quantize_linear(
    operator: Linear, source: Quantization, bias_limit: int = BIAS_LIMIT
) -> QuantizedLinear:
    """Weights by channel and the bias at the accumulator's scale, for an input held as `source`.

    A channel that is almost dead would have a scale so small that its bias leaves int32: its scale
    is raised until the bias fits `bias_limit`.
    """
    own = own_scales(operator, paired=source.bits == 8)
    scales = np.maximum(own, np.abs(operator.bias) / (source.scale * bias_limit))
    scales = scales.astype(np.float32)
    bias = np.rint(operator.bias / (scales.astype(np.float64) * source.scale)).astype(np.int32)
    return QuantizedLinear(quantize_weights(operator, scales), scales, bias)


def quantize_weights(operator: Linear, scales: Floats) -> NDArray[np.int8]:
    """The weights' levels, in the shape of the weights, for a scale of each output channel."""
    shape = [1] * operator.weights.ndim
    shape[_channel_axis(operator)] = -1
    levels = np.rint(operator.weights / scales.reshape(shape))
    return np.clip(levels, -WEIGHT_LEVELS, WEIGHT_LEVELS).astype(np.int8)


def own_scales(operator: Linear, paired: bool) -> Floats:
    """The scales that the weights were rounded for, else `weight_scales`: (out,)."""
    return weight_scales(operator, paired) if operator.scales is None else operator.scales


def weight_scales(operator: Linear, paired: bool) -> Floats:
    """The scale of each output channel, (out,): its largest weight is the last level.

    Args:
        operator: A convolution or dense layer in float.
        paired: Whether levels will be multiplied with it. Then the largest pair is the last level
            as well, so that the nearest ones keep to `converters.scheme.pairs`.
    """
    axis = _channel_axis(operator)
    others = tuple(a for a in range(operator.weights.ndim) if a != axis)
    largest = np.abs(operator.weights).max(axis=others)
    if paired:
        largest = np.maximum(largest, largest_pairs(operator))
    return np.maximum(largest / WEIGHT_LEVELS, SMALLEST_SCALE).astype(np.float32)


def _channel_axis(operator: Linear) -> int:
    depthwise = isinstance(operator, Convolution) and operator.depthwise
    return 2 if depthwise else operator.weights.ndim - 1
