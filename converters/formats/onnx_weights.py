"""The constants of an ONNX graph in the making: in float, in half, or in levels.

`axes` orders the axes of weights as ONNX has them, the output channels first in a convolution.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from converters.formats.onnx_nodes import Nodes
from converters.graph import Floats, Linear
from converters.scheme.parameters import (
    BIAS_LIMIT,
    Quantization,
    own_scales,
    quantize_linear,
    quantize_weights,
)


class Weights(Nodes):
    """Nodes, and the constants that they read in the form that a precision asks for."""

    bias_limit = BIAS_LIMIT

    def __init__(self, precision: str) -> None:
        super().__init__()
        self.precision = precision
        self._levels: dict[tuple[tuple[int, ...], bytes], str] = {}

    def weight(self, name: str, values: Any) -> str:
        """A float constant; fp16 stores half of it and computes in float32."""
        if self.precision != "fp16":
            return self.constant(name, values.astype(np.float32))
        return self.half(name, values)

    def half(self, name: str, values: Any) -> str:
        """A float constant that is stored in half precision."""
        half = self.constant(f"{name}/half", values.astype(np.float16))
        return self.node("Cast", [half], name, to=TensorProto.FLOAT)

    def in_levels(self, name: str, values: Floats) -> str:
        """A constant for what computes in levels of 8 bits."""
        held = Quantization.of_constants(values)
        levels = self.constant(f"{name}/quantized", held.quantize(values))
        return self.dequantized(levels, name, held)

    def float_weights(self, operator: Linear, axes: tuple[int, ...]) -> str:
        """Weights for what computes in float, as the precision stores them."""
        name = f"{operator.name}/weights"
        if self.precision == "int8-mixed":
            # What stays in float for accuracy's sake loses nothing by it.
            return self.half(name, operator.weights.transpose(axes))
        if self.precision != "w8":
            return self.weight(name, operator.weights.transpose(axes))
        # Cast and multiplied, ONNX Runtime widens them once, at load; it would run a
        # DequantizeLinear at every call, and keep its fast convolutions from weights made so.
        scales = own_scales(operator, paired=False)
        levels = quantize_weights(operator, scales).transpose(axes)
        held = self.constant(f"{name}/quantized", levels)
        wide = self.node("Cast", [held], f"{name}/levels", to=TensorProto.FLOAT)
        shape = (-1, 1, 1, 1) if len(axes) == 4 else (1, -1)
        return self.node("Mul", [wide, self.constant(f"{name}/scale", scales.reshape(shape))], name)

    def quantized_constants(
        self, operator: Linear, source: Quantization, axes: tuple[int, ...]
    ) -> list[str]:
        """int8 weights and the bias at the accumulator's scale, both dequantized."""
        constants, name = quantize_linear(operator, source, self.bias_limit), operator.name
        weights = self._weights(operator, constants.weights, constants.scales, axes)
        bias = self.constant(f"{name}/bias/quantized", constants.bias)
        scale = self.constant(f"{name}/bias/scale", constants.scales * np.float32(source.scale))
        return [weights, self.node("DequantizeLinear", [bias, scale], f"{name}/bias", axis=0)]

    def _weights(
        self, operator: Linear, levels: NDArray[np.int8], scales: Floats, axes: tuple[int, ...]
    ) -> str:
        """int8 weights with a scale for each output channel, dequantized."""
        name = f"{operator.name}/weights"
        inputs = [
            self._shared(f"{name}/quantized", levels.transpose(axes)),
            self.constant(f"{name}/scale", scales),
            # All zero, and said: ONNX Runtime up to 1.23 wants them beside scales by channel.
            self.constant(f"{name}/zero_point", np.zeros(scales.size, np.int8)),
        ]
        return self.node("DequantizeLinear", inputs, name, axis=0 if len(axes) == 4 else 1)

    def _shared(self, name: str, values: NDArray[np.int8]) -> str:
        """Adds weights, those that two operators have under the first's name; returns that."""
        key = values.shape, sha256(values.tobytes()).digest()
        return self.constant(self._levels.setdefault(key, name), values)
