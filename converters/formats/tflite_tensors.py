"""The tensors of a TFLite file in the making, in levels, in float or in both, and its constants."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.formats.cost import reads_pixels, rounds_pixels
from converters.formats.tflite_file import TFLiteFile
from converters.graph import (
    INPUT,
    Convolution,
    Floats,
    Graph,
    Linear,
    Operator,
    Shape,
)
from converters.scheme.parameters import (
    Quantization,
    own_scales,
    quantize_linear,
    quantize_weights,
)
from converters.scheme.recipe import Recipe

_Codes = schema.BuiltinOperator
# The functions whose kernels read no int16.
_NARROW = ("elu", "gelu", "gelu_tanh")


class Tensors:
    """The tensors that operators read and make, in levels or in float, by their names in the graph.

    Attributes:
        integers: Whether all that can be held in levels is, the logits too.
    """

    integers = False

    def __init__(self, graph: Graph, precision: str, recipe: Recipe | None) -> None:
        self.graph = graph
        self.precision = precision
        self.quantizations = {} if recipe is None else recipe.quantizations(graph)
        self.float_operators = frozenset() if recipe is None else recipe.float_operators
        self.file = TFLiteFile(graph.name)
        # By name and by whether it is held in levels: a tensor may be read in both forms.
        self.forms: dict[tuple[str, bool], int] = {}

    def quantized(self, operator: Operator) -> bool:
        """Whether an operator computes in levels.

        Pixels are normalized in float: XNNPACK takes the steps from uint8 to float and from there
        to int8, not the one straight across, which costs more.
        """
        return (
            operator.output in self.quantizations
            and operator.name not in self.float_operators
            and operator.inputs[0] != INPUT
            and not (self._wide(operator) and getattr(operator, "function", None) in _NARROW)
            and not (self.graph.ends_in_float(operator) and self.may_leave_levels(operator))
        )

    def _wide(self, operator: Operator) -> bool:
        return self.quantizations[operator.output].bits == 16

    def may_leave_levels(self, operator: Operator) -> bool:
        """Whether what an operator of int8 makes can be floats."""
        return not self.integers and not self._wide(operator)

    def read(self, operator: Operator, which: int = 0) -> int:
        """A tensor in the form in which its reader computes."""
        return self.form(operator.inputs[which], self.quantized(operator))

    def form(self, name: str, quantized: bool) -> int:
        """A tensor in levels or in float, converted where it was made in the other."""
        if (name, quantized) not in self.forms:
            code = _Codes.QUANTIZE if quantized else _Codes.DEQUANTIZE
            source = self.forms[name, not quantized]
            self.emit(code, [source], self.tensor(name, quantized))
        return self.forms[name, quantized]

    def made(self, operator: Operator) -> int:
        """The tensor that an operator is to make."""
        return self.tensor(operator.output, self.quantized(operator))

    def tensor(self, name: str, quantized: bool, shape: Shape | None = None) -> int:
        """A new tensor, under its own name where it is an output in float or the first form."""
        suffix, is_output = "", name in self.graph.outputs
        if is_output or (name, not quantized) in self.forms:
            suffix = "/quantized" if quantized else "" if is_output else "/float"
        quantization = self.quantizations[name] if quantized else None
        dtype: type[np.generic] = np.float32
        if quantization is not None:
            dtype = np.int8 if quantization.bits == 8 else np.int16
        index = self.file.tensor(
            name + suffix, self.graph.shapes[name] if shape is None else shape, dtype, quantization
        )
        self.forms[name, quantized] = index
        return index

    def constant(self, name: str, values: Floats) -> int:
        """A float constant; one in half precision is widened by an operator, once, at load."""
        if self.precision != "fp16":
            return self.file.constant(name, values.astype(np.float32))
        return self.half(name, values)

    def half(self, name: str, values: Floats) -> int:
        """A float constant that is stored in half precision."""
        half = self.file.constant(f"{name}/half", values.astype(np.float16))
        return self._widened(name, half, values.shape)

    def _widened(self, name: str, constant: int, shape: Shape) -> int:
        wide = self.file.tensor(name, shape, np.float32)
        return self.emit(_Codes.DEQUANTIZE, [constant], wide)

    def shape_constant(self, name: str, values: Sequence[int]) -> int:
        """Adds a shape or axes; returns the index."""
        return self.file.constant(name, np.array(values, np.int32))

    def emit(
        self, code: int, inputs: Sequence[int], output: int, options: Any = None, kind: int = 0
    ) -> int:
        """Appends an operator; returns its output."""
        return self.file.operator(code, inputs, output, options, kind)

    def vector(self, name: str, values: Floats, quantized: bool) -> int:
        """A constant operand, one value a channel."""
        if not quantized:
            return self.constant(name, values)
        bits = self.quantizations[self.graph.answer].bits
        held = Quantization.of_constants(values, bits)
        middle, dtype = 2 ** (bits - 1), np.int8 if bits == 8 else np.int16
        levels = (held.quantize(values).astype(np.int32) - middle).astype(dtype)
        scale = np.array([held.scale], np.float32)
        return self.file.constant(name, levels, scale, zero_point=held.zero_point - middle)

    def constants(
        self, operator: Linear, axes: tuple[int, ...], channel_axis: int
    ) -> tuple[int, int]:
        """Weights, their axes in this order and their scales along one, and the bias."""
        name = operator.name
        if not self.quantized(operator):
            weights = self._float_weights(operator, axes, channel_axis)
            return weights, self.constant(f"{name}/bias", operator.bias)
        source = self.quantizations[operator.inputs[0]]
        constants = quantize_linear(operator, source)
        weights = self.file.constant(
            f"{name}/weights", constants.weights.transpose(axes), constants.scales, channel_axis
        )
        bias_scales = constants.scales * np.float32(source.scale)
        # The kernels for int16 add up in int64.
        bias = constants.bias.astype(np.int32 if source.bits == 8 else np.int64)
        return weights, self.file.constant(f"{name}/bias", bias, bias_scales)

    def _float_weights(self, operator: Linear, axes: tuple[int, ...], channel_axis: int) -> int:
        """The weights for an operator that reads floats."""
        name, rounds = f"{operator.name}/weights", self._rounds(operator)
        if self.precision == "int8-mixed" and not rounds:
            # What stays in float for accuracy's sake loses nothing by it.
            return self.half(name, operator.weights.transpose(axes))
        if self.precision not in ("int8-mixed", "w8", "dynamic"):
            return self.constant(name, operator.weights.transpose(axes))
        scales = own_scales(operator, paired=False)
        levels = quantize_weights(operator, scales).transpose(axes)
        held = self.file.constant(f"{name}/quantized", levels, scales, channel_axis)
        return held if rounds else self._widened(name, held, levels.shape)

    def _rounds(self, operator: Linear) -> bool:
        """Whether the floats that an operator reads are rounded at run time, to multiply levels."""
        if reads_pixels(self.graph, operator):
            return self.precision in ("int8-mixed", "dynamic") and rounds_pixels(
                self.graph, operator, "tflite"
            )
        # XNNPACK has no such depthwise kernel, and LiteRT has a slow one.
        depthwise = isinstance(operator, Convolution) and operator.depthwise
        return self.precision == "dynamic" and not depthwise
