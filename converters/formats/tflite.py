"""TFLite: float, float with narrower weights, or int8, all of it for XNNPACK; or int16 with int8.

The input is uint8 with its own scale and zero point, so that reading pixels and subtracting a whole
mean are one operator. In int8 every tensor between the normalized pixels and the logits is held in
int8. The logits are sums of int8 products that leave as floats: in 256 levels the first two of
every seventieth photo are equal (B0). Softmax runs in float. Where the recipe has an operator
compute in float, what passes between it and the others is converted once for all readers. A 1×1
convolution among those multiplies in int8 all the same where that is faster: XNNPACK rounds each
pixel that it reads at run time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.formats.pixel_groups import with_pixel_groups
from converters.formats.tflite_metadata import BUFFER_NAME, metadata, with_labels
from converters.formats.tflite_tensors import Tensors
from converters.graph import (
    INPUT,
    Activation,
    Add,
    Affine,
    Capped,
    Concatenate,
    Convolution,
    Dense,
    Excess,
    Function,
    GlobalAverage,
    GlobalMaximum,
    Graph,
    LeakyRelu,
    Multiply,
    Operator,
    Pad,
    Padding,
    Reshape,
)
from converters.scheme.parameters import (
    PIXELS,
    Quantization,
    are_powers,
    own_scales,
    quantize_weights,
    sigmoid_like,
)
from converters.scheme.recipe import Recipe, exact_shift

_Codes = schema.BuiltinOperator
_Options = schema.BuiltinOptions
_FUSED = {
    "linear": schema.ActivationFunctionType.NONE,
    "relu": schema.ActivationFunctionType.RELU,
    "relu6": schema.ActivationFunctionType.RELU6,
}
_FUNCTIONS: dict[Function, int] = {
    "relu": _Codes.RELU,
    "relu6": _Codes.RELU6,
    "elu": _Codes.ELU,
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
    builder = Builder(with_pixel_groups(graph, recipe), precision, recipe)
    for operator in builder.graph.operators:
        builder.add(operator)
    return builder.finish()


class Builder(Tensors):
    """Appends operator by operator; another arrangement overrides what it does otherwise."""

    def __init__(self, graph: Graph, precision: str, recipe: Recipe | None) -> None:
        super().__init__(graph, precision, recipe)
        normalize = graph.operators[0]
        shift = exact_shift(normalize) if isinstance(normalize, Affine) else None
        self.pixels = PIXELS if shift is None else Quantization(1.0, shift)
        self.shifts_pixels = shift is not None and graph.pixels == "uint8"
        self.input = (
            self.file.tensor(INPUT, graph.input_shape, np.uint8, self.pixels)
            if graph.pixels == "uint8"
            else self.file.tensor(INPUT, graph.input_shape, np.float32)
        )

    @singledispatchmethod
    def add(self, operator: Operator) -> None:
        """Appends the TFLite operators of an operator."""
        raise NotImplementedError(type(operator).__name__)

    @add.register
    def _(self, operator: Affine) -> None:
        if operator.inputs[0] == INPUT:
            self._normalized(operator)
            return
        quantized, name = self.quantized(operator), operator.name
        if quantized and (np.any(operator.offset) or not are_powers(operator.scale)):
            self._by_channel(operator)
            return
        source = self.read(operator)
        scale = self.vector(f"{name}/scale", operator.scale, quantized)
        if not np.any(operator.offset):
            self._binary(_Codes.MUL, source, scale, self.made(operator))
            return
        if not np.all(operator.scale == 1):
            scaled = self.tensor(f"{name}/scaled", False, self.graph.shapes[operator.output])
            source = self._binary(_Codes.MUL, source, scale, scaled)
        offset = self.vector(f"{name}/offset", operator.offset, False)
        self._binary(_Codes.ADD, source, offset, self.made(operator))

    def _by_channel(self, operator: Affine) -> None:
        """As a convolution: factors in levels, and what they make, share one scale otherwise."""
        source, shape = self.read(operator), self.graph.shapes[operator.output]
        convolution = operator.as_convolution()
        if len(shape) == 4:
            self._convolve(convolution, source, schema.Padding.VALID, self.made(operator))
            return
        names = [f"{operator.name}/{place}" for place in ("pixel", "convolved")]
        for name, tensor in zip(names, (operator.inputs[0], operator.output), strict=True):
            self.quantizations[name] = self.quantizations[tensor]
        batch, channels = shape
        pixel, made = (self.tensor(name, True, (batch, 1, 1, channels)) for name in names)
        self._reshape(source, names[0], (1, 1, channels), pixel)
        self._convolve(convolution, pixel, schema.Padding.VALID, made)
        self._reshape(made, operator.name, (channels,), self.made(operator))

    def _normalized(self, operator: Affine) -> None:
        """Pixels become float, and levels where an operator reads them so."""
        steps = []
        if not self.shifts_pixels:
            if not np.all(operator.scale == 1):
                steps.append((_Codes.MUL, "scale", operator.scale))
            steps.append((_Codes.ADD, "offset", operator.offset))
        widened = ["values"] if self.graph.pixels == "uint8" else []
        names = [*widened, *(f"{INPUT}/{name}" for _, name, _ in steps)]
        shape = self.graph.input_shape
        # The last of the steps makes the tensor itself.
        outputs = [
            *(self.file.tensor(name, shape, np.float32) for name in names[:-1]),
            self.made(operator),
        ]
        values = self.input
        if widened:
            values = self.emit(_Codes.DEQUANTIZE, [values], outputs.pop(0))
        for (code, name, constant), output in zip(steps, outputs, strict=True):
            # A whole row of pixels: XNNPACK takes three values at a time where only they repeat.
            row = np.broadcast_to(constant, (1, 1, *shape[2:]))
            operand = self.constant(f"{operator.name}/{name}", row)
            values = self._binary(code, values, operand, output)

    def _in_levels_of(self, operator: Operator, bits: int) -> bool:
        return self.quantized(operator) and self.quantizations[operator.output].bits == bits

    def _both(self, operator: Operator) -> tuple[int, int]:
        return self.read(operator, 0), self.read(operator, 1)

    def _binary(
        self, code: int, first: int, second: int, output: int, function: Function = "linear"
    ) -> int:
        """A sum or a product, and a function of it that every engine computes inside."""
        fused = _FUSED[function]
        if code == _Codes.ADD:
            # False: int16 scales are any numbers, not powers of two.
            options = schema.AddOptionsT(potScaleInt16=False, fusedActivationFunction=fused)
            return self.emit(code, [first, second], output, options, _Options.AddOptions)
        product = schema.MulOptionsT(fusedActivationFunction=fused)
        return self.emit(code, [first, second], output, product, _Options.MulOptions)

    @add.register
    def _(self, operator: Convolution) -> None:
        source, padding = self._padded(operator)
        self._convolve(operator, source, padding, self.made(operator))

    def _convolve(self, operator: Convolution, source: int, padding: int, output: int) -> None:
        # (height, width, in, out) becomes (out, height, width, in), depthwise (1, ..., channels).
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
        inputs = [source, *self.constants(operator, (3, 0, 1, 2), 3 if operator.depthwise else 0)]
        self.emit(code, inputs, output, options, kind)

    def _padded(self, operator: Convolution) -> tuple[int, int]:
        """The input and the padding mode, after an explicit Pad where neither mode fits."""
        tensor, source = operator.inputs[0], self.read(operator)
        if operator.padding == Padding():
            return source, schema.Padding.VALID
        batch, height, width, channels = self.graph.shapes[tensor]
        if operator.padding == Padding.same((height, width), operator.kernel, operator.strides):
            return source, schema.Padding.SAME
        p, padded, quantized = operator.padding, f"{operator.name}/padded", self.quantized(operator)
        if quantized:
            self.quantizations[padded] = self.quantizations[tensor]
        shape = (batch, height + p.top + p.bottom, width + p.left + p.right, channels)
        output = self.tensor(padded, quantized, shape)
        return self._pad(source, p, padded, output), schema.Padding.VALID

    def _pad(self, source: int, padding: Padding, name: str, output: int) -> int:
        p = padding
        rows = np.array([[0, 0], [p.top, p.bottom], [p.left, p.right], [0, 0]], np.int32)
        pads = self.file.constant(f"{name}/pads", rows)
        return self.emit(
            _Codes.PAD, [source, pads], output, schema.PadOptionsT(), _Options.PadOptions
        )

    @add.register
    def _(self, operator: Dense) -> None:
        if self._multiplies_floats(operator):
            self._multiplied_in_levels(operator)
            return
        inputs = [self.read(operator), *self.constants(operator, (1, 0), 0)]
        options = schema.FullyConnectedOptionsT(fusedActivationFunction=_FUSED[operator.function])
        output = self.made(operator)
        self.emit(_Codes.FULLY_CONNECTED, inputs, output, options, _Options.FullyConnectedOptions)

    def _multiplies_floats(self, operator: Dense) -> bool:
        """Whether it makes floats of products in int8, its input rounded for each image."""
        if not self.quantized(operator):
            return self.precision == "dynamic"
        readers = self.graph.consumers[operator.output]
        return self.may_leave_levels(operator) and not any(map(self.quantized, readers))

    def _multiplied_in_levels(self, operator: Dense) -> None:
        """Its scales come after: tflite-runtime 2.14 knows one here, not one for each channel."""
        name = operator.name
        scales = own_scales(operator, paired=False)
        levels = quantize_weights(operator, scales).transpose(1, 0)
        inputs = [
            self.form(operator.inputs[0], False),
            self.file.constant(f"{name}/weights", levels, np.ones(1, np.float32)),
            self.constant(f"{name}/bias", operator.bias / scales),
        ]
        products = self.file.tensor(
            f"{name}/products", self.graph.shapes[operator.output], np.float32
        )
        options = schema.FullyConnectedOptionsT(asymmetricQuantizeInputs=True)
        kind = _Options.FullyConnectedOptions
        self.emit(_Codes.FULLY_CONNECTED, inputs, products, options, kind)
        scale = self.constant(f"{name}/scales", scales)
        output = self.tensor(operator.output, False)
        self._binary(_Codes.MUL, products, scale, output, operator.function)

    @add.register
    def _(self, operator: Activation) -> None:
        source, name = self.read(operator), operator.output
        if operator.function == "softmax":
            options = schema.SoftmaxOptionsT(beta=1.0)
            self.emit(
                _Codes.SOFTMAX, [source], self.made(operator), options, _Options.SoftmaxOptions
            )
            return
        if operator.function in ("gelu", "gelu_tanh"):
            options = schema.GeluOptionsT(approximate=operator.function == "gelu_tanh")
            self.emit(_Codes.GELU, [source], self.made(operator), options, _Options.GeluOptions)
            return
        if operator.function in _FUSED and self._in_levels_of(operator, 8):
            # XNNPACK has none of these in int8 by itself, but inside of a product.
            one = self.vector(f"{name}/one", np.ones(1, np.float32), True)
            self._binary(_Codes.MUL, source, one, self.made(operator), operator.function)
            return
        if operator.function != "silu":
            self.emit(_FUNCTIONS[operator.function], [source], self.made(operator))
            return
        gate, quantized = f"{name}/sigmoid", self.quantized(operator)
        if quantized:
            self.quantizations[gate] = sigmoid_like(self.quantizations[name])
        sigmoid = self.tensor(gate, quantized, self.graph.shapes[name])
        self.emit(_Codes.LOGISTIC, [source], sigmoid)
        self._binary(_Codes.MUL, source, sigmoid, self.made(operator))

    @add.register
    def _(self, operator: LeakyRelu) -> None:
        options = schema.LeakyReluOptionsT(alpha=operator.slope)
        source, kind = self.read(operator), _Options.LeakyReluOptions
        self.emit(_Codes.LEAKY_RELU, [source], self.made(operator), options, kind)

    @add.register
    def _(self, operator: Add) -> None:
        self._binary(_Codes.ADD, *self._both(operator), self.made(operator))

    @add.register
    def _(self, operator: Multiply) -> None:
        self._binary(_Codes.MUL, *self._both(operator), self.made(operator))

    @add.register
    def _(self, operator: Capped) -> None:
        factors = self._both(operator)
        if self.quantized(operator):
            # Its levels end at `most`.
            self._binary(_Codes.MUL, *factors, self.made(operator))
            return
        shape = self.graph.shapes[operator.output]
        product = self.file.tensor(f"{operator.output}/product", shape, np.float32)
        self._binary(_Codes.MUL, *factors, product)
        most = self.constant(f"{operator.name}/most", np.array([operator.most]))
        options = schema.MaximumMinimumOptionsT()
        kind = _Options.MaximumMinimumOptions
        self.emit(_Codes.MINIMUM, [product, most], self.made(operator), options, kind)

    @add.register
    def _(self, operator: Excess) -> None:
        offset = np.array([-operator.threshold], np.float32)
        constant = self.vector(f"{operator.name}/offset", offset, self.quantized(operator))
        self._binary(_Codes.ADD, self.read(operator), constant, self.made(operator), "relu")

    @add.register
    def _(self, operator: Concatenate) -> None:
        inputs = [self.read(operator, which) for which in range(len(operator.inputs))]
        options = schema.ConcatenationOptionsT(axis=3)
        kind = _Options.ConcatenationOptions
        self.emit(_Codes.CONCATENATION, inputs, self.made(operator), options, kind)

    @add.register
    def _(self, operator: GlobalAverage) -> None:
        axes = self.shape_constant(f"{operator.name}/axes", [1, 2])
        options = schema.ReducerOptionsT(keepDims=operator.keep)
        inputs = [self.read(operator), axes]
        self.emit(_Codes.MEAN, inputs, self.made(operator), options, _Options.ReducerOptions)

    @add.register
    def _(self, operator: GlobalMaximum) -> None:
        """A window as large as the map: more delegates take that than a reduction."""
        batch, height, width, channels = self.graph.shapes[operator.inputs[0]]
        options = schema.Pool2DOptionsT(
            padding=schema.Padding.VALID,
            strideH=height,
            strideW=width,
            filterHeight=height,
            filterWidth=width,
        )
        kind = _Options.Pool2DOptions
        if operator.keep:
            made = self.made(operator)
            self.emit(_Codes.MAX_POOL_2D, [self.read(operator)], made, options, kind)
            return
        pooled, quantized = f"{operator.name}/pooled", self.quantized(operator)
        if quantized:
            self.quantizations[pooled] = self.quantizations[operator.output]
        window = self.tensor(pooled, quantized, (batch, 1, 1, channels))
        self.emit(_Codes.MAX_POOL_2D, [self.read(operator)], window, options, kind)
        self._reshape(window, operator.name, (channels,), self.made(operator))

    @add.register
    def _(self, operator: Pad) -> None:
        source = self.read(operator)
        self._pad(source, operator.padding, operator.output, self.made(operator))

    @add.register
    def _(self, operator: Reshape) -> None:
        source = self.read(operator)
        self._reshape(source, operator.name, operator.target, self.made(operator))

    def _reshape(self, source: int, name: str, target: Sequence[int], output: int) -> None:
        # Whatever the batch: a session may ask for another.
        shape = [-1, *target]
        inputs = [source, self.shape_constant(f"{name}/shape", shape)]
        options = schema.ReshapeOptionsT(newShape=shape)
        self.emit(_Codes.RESHAPE, inputs, output, options, _Options.ReshapeOptions)

    def finish(self) -> bytes:
        """The file, with the graph's outputs in float."""
        outputs = {name: self.form(name, False) for name in self.graph.outputs}
        description = self.graph.description
        if description is None:
            return self.file.finish({INPUT: self.input}, outputs)
        self.file.describe(BUFFER_NAME, metadata(self.graph, description))
        return with_labels(self.file.finish({INPUT: self.input}, outputs), description)
