"""TFLite: float, float with half-precision weights, or int8 throughout, all of it for XNNPACK.

The input is uint8 with its own scale and zero point, so that reading pixels and subtracting a whole
mean are one operator. In int8 every tensor between the normalized pixels and the logits is held in
int8; only softmax runs in float, on the logits that leave in float too.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.formats.tflite_file import TFLiteFile
from converters.graph import (
    INPUT,
    Activation,
    Add,
    Affine,
    Convolution,
    Dense,
    Floats,
    Function,
    GlobalAverage,
    Graph,
    Linear,
    Multiply,
    Operator,
    Pad,
    Padding,
    Reshape,
    Shape,
)
from converters.quantization.parameters import PIXELS, SIGMOID, Quantization, quantize_linear
from converters.quantization.recipe import Recipe, exact_shift

_Codes = schema.BuiltinOperator
_Options = schema.BuiltinOptions
# The first versions of each operator that take float and int8, where not 1 and 2:
# tensorflow/lite/tools/versioning/op_version.cc.
_FLOAT_VERSIONS = {_Codes.DEQUANTIZE: 3}
_INT8_VERSIONS = {
    _Codes.CONV_2D: 3,
    _Codes.DEPTHWISE_CONV_2D: 3,
    _Codes.FULLY_CONNECTED: 4,
    _Codes.QUANTIZE: 1,
    _Codes.RESHAPE: 1,
}
_FUSED = {
    "linear": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
_FUNCTIONS: dict[Function, int] = {
    "relu": _Codes.RELU,
    "relu6": _Codes.RELU6,
    "sigmoid": _Codes.LOGISTIC,
    "tanh": _Codes.TANH,
}


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.tflite; see `converters.formats.lower`."""
    path = folder / "model.tflite"
    path.write_bytes(build(graph, precision, recipe))
    return (path,)


def build(graph: Graph, precision: str, recipe: Recipe | None = None) -> bytes:
    """The file in memory."""
    builder = _Builder(graph, precision == "fp16", recipe.quantizations(graph) if recipe else {})
    for operator in graph.operators:
        builder.add(operator)
    return builder.finish()


class _Builder:
    def __init__(self, graph: Graph, half: bool, quantizations: dict[str, Quantization]) -> None:
        self.graph = graph
        self.half = half
        self.quantizations = quantizations
        self.file = TFLiteFile(graph.name)
        normalize = graph.operators[0]
        shift = exact_shift(normalize) if isinstance(normalize, Affine) else None
        self.pixels = PIXELS if shift is None else Quantization(1.0, shift)
        self.shifts_pixels = shift is not None
        self.indices = {INPUT: self.file.tensor(INPUT, graph.input_shape, np.uint8, self.pixels)}

    def tensor(self, name: str, shape: Shape | None = None) -> int:
        """A new tensor of the graph: int8 where the recipe holds it so, else float32."""
        quantization = self.quantizations.get(name)
        held = (
            f"{name}/quantized" if quantization is not None and name in self.graph.outputs else name
        )
        dtype = np.float32 if quantization is None else np.int8
        index = self.file.tensor(
            held, self.graph.shapes[name] if shape is None else shape, dtype, quantization
        )
        self.indices[name] = index
        return index

    def constant(self, name: str, values: Floats) -> int:
        """A float constant; one in half precision is widened by an operator, once, at load."""
        if not self.half:
            return self.file.constant(name, values.astype(np.float32))
        half = self.file.constant(f"{name}/half", values.astype(np.float16))
        wide = self.file.tensor(name, values.shape, np.float32)
        return self.emit(_Codes.DEQUANTIZE, [half], wide)

    def shape_constant(self, name: str, values: Sequence[int]) -> int:
        return self.file.constant(name, np.array(values, np.int32))

    def emit(
        self, code: int, inputs: Sequence[int], output: int, options: Any = None, kind: int = 0
    ) -> int:
        versions = _INT8_VERSIONS if self.quantizations else _FLOAT_VERSIONS
        version = versions.get(code, 2 if self.quantizations else 1)
        return self.file.operator(code, version, inputs, output, options, kind)

    @singledispatchmethod
    def add(self, operator: Operator) -> None:
        raise NotImplementedError(type(operator).__name__)

    @add.register
    def _(self, operator: Affine) -> None:
        tensor = operator.inputs[0]
        if tensor == INPUT:
            self._normalized(operator)
            return
        source = self.indices[tensor]
        if not np.all(operator.scale == 1):
            source = self._scaled(operator, tensor)
        offset = self._vector(f"{operator.name}/offset", operator.offset)
        self._binary(_Codes.ADD, source, offset, self.tensor(operator.output))

    def _normalized(self, operator: Affine) -> None:
        """Pixels become float and, where the recipe says so, int8 from there.

        XNNPACK takes both steps; straight from uint8 to int8 it does not, which costs more.
        """
        shape = self.graph.input_shape
        values = self.file.tensor(f"{INPUT}/values", shape, np.float32)
        self.emit(_Codes.DEQUANTIZE, [self.indices[INPUT]], values)
        if not self.shifts_pixels:
            steps = [(_Codes.ADD, "offset", operator.offset)]
            if not np.all(operator.scale == 1):
                steps.insert(0, (_Codes.MUL, "scale", operator.scale))
            for code, name, constant in steps:
                result = self.file.tensor(f"{INPUT}/{name}", shape, np.float32)
                operand = self.constant(f"{operator.name}/{name}", constant)
                values = self._binary(code, values, operand, result)
        self.indices[operator.output] = values
        if operator.output in self.quantizations:
            self.emit(_Codes.QUANTIZE, [values], self.tensor(operator.output))

    def _scaled(self, operator: Affine, tensor: str) -> int:
        name = f"{operator.name}/scaled"
        if tensor in self.quantizations:
            self.quantizations[name] = self.quantizations[tensor].scaled(operator.scale)
        scaled = self.tensor(name, self.graph.shapes[operator.output])
        scale = self._vector(f"{operator.name}/scale", operator.scale)
        return self._binary(_Codes.MUL, self.indices[tensor], scale, scaled)

    def _vector(self, name: str, values: Floats) -> int:
        """A constant operand, one value a channel."""
        if not self.quantizations:
            return self.constant(name, values)
        quantization = Quantization.covering(float(values.min()), float(values.max()))
        levels = (quantization.quantize(values) ^ 0x80).view(np.int8)
        scale = np.array([quantization.scale], np.float32)
        return self.file.constant(name, levels, scale, zero_point=quantization.zero_point - 128)

    def _binary(self, code: int, first: int, second: int, output: int) -> int:
        if code == _Codes.ADD:
            return self.emit(
                code, [first, second], output, schema.AddOptionsT(), _Options.AddOptions
            )
        return self.emit(code, [first, second], output, schema.MulOptionsT(), _Options.MulOptions)

    @add.register
    def _(self, operator: Convolution) -> None:
        # (height, width, in, out) becomes (out, height, width, in), depthwise (1, ..., channels).
        source, padding = self._padded(operator)
        options: Any = (
            schema.DepthwiseConv2DOptionsT() if operator.depthwise else schema.Conv2DOptionsT()
        )
        options.padding = padding
        options.strideH, options.strideW = operator.strides
        options.fusedActivationFunction = _FUSED[operator.function]
        if operator.depthwise:
            options.depthMultiplier = 1
            code, kind = _Codes.DEPTHWISE_CONV_2D, _Options.DepthwiseConv2DOptions
        else:
            code, kind = _Codes.CONV_2D, _Options.Conv2DOptions
        inputs = [source, *self._constants(operator, (3, 0, 1, 2), 3 if operator.depthwise else 0)]
        self.emit(code, inputs, self.tensor(operator.output), options, kind)

    def _padded(self, operator: Convolution) -> tuple[int, int]:
        """The input and the padding mode, after an explicit Pad where neither mode fits."""
        source = operator.inputs[0]
        if operator.padding == Padding():
            return self.indices[source], schema.Padding.VALID
        _, height, width, channels = self.graph.shapes[source]
        if operator.padding == Padding.same((height, width), operator.kernel, operator.strides):
            return self.indices[source], schema.Padding.SAME
        p = operator.padding
        padded = f"{operator.name}/padded"
        if source in self.quantizations:
            self.quantizations[padded] = self.quantizations[source]
        self.tensor(
            padded,
            (
                self.graph.input_shape[0],
                height + p.top + p.bottom,
                width + p.left + p.right,
                channels,
            ),
        )
        return self._pad(self.indices[source], p, padded), schema.Padding.VALID

    def _pad(self, source: int, padding: Padding, name: str) -> int:
        p = padding
        rows = np.array([[0, 0], [p.top, p.bottom], [p.left, p.right], [0, 0]], np.int32)
        pads = self.file.constant(f"{name}/pads", rows)
        return self.emit(
            _Codes.PAD,
            [source, pads],
            self.indices[name],
            schema.PadOptionsT(),
            _Options.PadOptions,
        )

    @add.register
    def _(self, operator: Dense) -> None:
        inputs = [self.indices[operator.inputs[0]], *self._constants(operator, (1, 0), 0)]
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=_FUSED[operator.function])
        output = self.tensor(operator.output)
        self.emit(_Codes.FULLY_CONNECTED, inputs, output, options, _Options.FullyConnectedOptions)

    def _constants(
        self, operator: Linear, axes: tuple[int, ...], channel_axis: int
    ) -> tuple[int, int]:
        name, source = operator.name, self.quantizations.get(operator.inputs[0])
        if source is None:
            weights = self.constant(f"{name}/weights", operator.weights.transpose(axes))
            return weights, self.constant(f"{name}/bias", operator.bias)
        constants = quantize_linear(operator, source)
        weights = self.file.constant(
            f"{name}/weights", constants.weights.transpose(axes), constants.scales, channel_axis
        )
        bias_scales = constants.scales * np.float32(source.scale)
        return weights, self.file.constant(f"{name}/bias", constants.bias, bias_scales)

    @add.register
    def _(self, operator: Activation) -> None:
        source, name = operator.inputs[0], operator.output
        if operator.function == "softmax":
            options = schema.SoftmaxOptionsT(beta=1.0)
            output = self.tensor(name)
            self.emit(
                _Codes.SOFTMAX, [self._float(source)], output, options, _Options.SoftmaxOptions
            )
            return
        if operator.function != "silu":
            held = self.indices[source] if name in self.quantizations else self._float(source)
            self.emit(_FUNCTIONS[operator.function], [held], self.tensor(name))
            return
        gate = f"{name}/sigmoid"
        if name in self.quantizations:
            self.quantizations[gate] = SIGMOID
        sigmoid = self.emit(
            _Codes.LOGISTIC, [self.indices[source]], self.tensor(gate, self.graph.shapes[name])
        )
        self._binary(_Codes.MUL, self.indices[source], sigmoid, self.tensor(name))

    @add.register
    def _(self, operator: Add) -> None:
        first, second = (self.indices[name] for name in operator.inputs)
        self._binary(_Codes.ADD, first, second, self.tensor(operator.output))

    @add.register
    def _(self, operator: Multiply) -> None:
        first, second = (self.indices[name] for name in operator.inputs)
        self._binary(_Codes.MUL, first, second, self.tensor(operator.output))

    @add.register
    def _(self, operator: GlobalAverage) -> None:
        axes = self.shape_constant(f"{operator.name}/axes", [1, 2])
        options = schema.ReducerOptionsT(keepDims=operator.keep)
        inputs = [self.indices[operator.inputs[0]], axes]
        self.emit(
            _Codes.MEAN, inputs, self.tensor(operator.output), options, _Options.ReducerOptions
        )

    @add.register
    def _(self, operator: Pad) -> None:
        self.tensor(operator.output)
        self._pad(self.indices[operator.inputs[0]], operator.padding, operator.output)

    @add.register
    def _(self, operator: Reshape) -> None:
        shape = self.graph.shapes[operator.output]
        target = self.shape_constant(f"{operator.name}/shape", shape)
        options = schema.ReshapeOptionsT(newShape=list(shape))
        inputs = [self.indices[operator.inputs[0]], target]
        self.emit(
            _Codes.RESHAPE, inputs, self.tensor(operator.output), options, _Options.ReshapeOptions
        )

    def _float(self, name: str) -> int:
        """The tensor in float32, under its own name where it is an output."""
        if name not in self.quantizations:
            return self.indices[name]
        wide = self.file.tensor(name, self.graph.shapes[name], np.float32)
        self.emit(_Codes.DEQUANTIZE, [self.indices[name]], wide)
        del self.quantizations[name]
        self.indices[name] = wide
        return wide

    def finish(self) -> bytes:
        outputs = {name: self._float(name) for name in self.graph.outputs}
        return self.file.finish({INPUT: self.indices[INPUT]}, outputs)
