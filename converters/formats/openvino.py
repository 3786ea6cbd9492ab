"""OpenVINO IR: float, or with FakeQuantize where the CPU plugin runs int8 fastest.

Only the inputs of convolutions and of the dense head pass a FakeQuantize; between a convolution and
the next nothing is quantized, so that the plugin fuses convolution and SiLU. Weights are int8
constants with a scale for each channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import opset13 as ops

from converters.graph import (
    INPUT,
    Activation,
    Add,
    Affine,
    Convolution,
    Dense,
    GlobalAverage,
    Graph,
    Linear,
    Multiply,
    Operator,
    Pad,
    Reshape,
)
from converters.quantization.parameters import Quantization, quantize_linear
from converters.quantization.recipe import Recipe
from edgenet.errors import EdgenetError

_FUNCTIONS = {
    "relu": ops.relu,
    "relu6": lambda x: ops.clamp(x, 0.0, 6.0),
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softmax": lambda x: ops.softmax(x, axis=-1),
}


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.xml and model.bin; see `converters.formats.lower`."""
    model = build(graph, recipe)
    path = folder / "model.xml"
    try:
        ov.save_model(model, path, compress_to_fp16=precision == "fp16")
    except RuntimeError as error:
        # All that OpenVINO tells of a full disk is "iostream error".
        raise EdgenetError(f"writing {path} failed ({error}): is the disk full?") from error
    return path, path.with_suffix(".bin")


def build(graph: Graph, recipe: Recipe | None = None) -> ov.Model:
    """The model in memory."""
    builder = _Builder(graph, recipe.quantizations(graph) if recipe else {})
    for operator in graph.operators:
        builder.tensors[operator.output] = builder.lowered(operator)
    return builder.model()


class _Builder:
    def __init__(self, graph: Graph, quantizations: dict[str, Quantization]) -> None:
        self.graph = graph
        self.quantizations = quantizations
        self.parameter = ops.parameter(graph.input_shape, np.uint8, name=INPUT)
        self.parameter.output(0).get_tensor().set_names({INPUT})
        self.tensors: dict[str, Any] = {INPUT: self.parameter}
        self.quantized: dict[str, Any] = {}

    def named(self, node: Any, name: str) -> Any:
        """Names a node: OpenVINO numbers its nodes by process, and files would differ by run."""
        node.set_friendly_name(name)
        return node

    def constant(self, name: str, values: Any) -> Any:
        return self.named(ops.constant(np.asarray(values, order="C")), name)

    @singledispatchmethod
    def lowered(self, operator: Operator) -> Any:
        raise NotImplementedError(type(operator).__name__)

    def source(self, operator: Operator) -> Any:
        return self.tensors[operator.inputs[0]]

    @lowered.register
    def _(self, operator: Affine) -> Any:
        source = self.source(operator)
        if operator.inputs[0] == INPUT:
            order = self.constant(f"{INPUT}/order", np.array([0, 3, 1, 2], np.int64))
            source = self.named(ops.transpose(source, order), f"{INPUT}/transposed")
            source = self.named(ops.convert(source, np.float32), f"{INPUT}/float")
        shape = (1, -1, 1, 1) if len(self.graph.shapes[operator.output]) == 4 else (1, -1)
        if not np.all(operator.scale == 1):
            scale = self.constant(f"{operator.name}/scale", operator.scale.reshape(shape))
            source = self.named(ops.multiply(source, scale), f"{operator.name}/scaled")
        offset = self.constant(f"{operator.name}/offset", operator.offset.reshape(shape))
        return self.named(ops.add(source, offset), operator.output)

    @lowered.register
    def _(self, operator: Convolution) -> Any:
        source, weights = self._operands(
            operator, (2, 3, 0, 1) if operator.depthwise else (3, 2, 0, 1)
        )
        pad = operator.padding
        window = (list(operator.strides), [pad.top, pad.left], [pad.bottom, pad.right], [1, 1])
        if operator.depthwise:
            groups = self.constant(
                f"{operator.name}/groups",
                np.array([operator.bias.size, 1, 1, *operator.kernel], np.int64),
            )
            weights = self.named(
                ops.reshape(weights, groups, False), f"{operator.name}/weights/grouped"
            )
            product = ops.group_convolution(source, weights, *window)
        else:
            product = ops.convolution(source, weights, *window)
        return self._biased(operator, product, (1, -1, 1, 1))

    @lowered.register
    def _(self, operator: Dense) -> Any:
        source, weights = self._operands(operator, (1, 0))
        return self._biased(operator, ops.matmul(source, weights, False, True), (1, -1))

    def _biased(self, operator: Linear, product: Any, shape: tuple[int, ...]) -> Any:
        self.named(product, f"{operator.name}/product")
        bias = self.constant(f"{operator.name}/bias", operator.bias.reshape(shape))
        total = ops.add(product, bias)
        if operator.function == "linear":
            return self.named(total, operator.output)
        self.named(total, f"{operator.name}/biased")
        return self.named(_FUNCTIONS[operator.function](total), operator.output)

    def _operands(self, operator: Linear, axes: tuple[int, ...]) -> tuple[Any, Any]:
        """The input and the weights, output channels first, as the recipe holds them."""
        name, tensor = operator.name, operator.inputs[0]
        quantization = self.quantizations.get(tensor)
        if quantization is None:
            return self.tensors[tensor], self.constant(
                f"{name}/weights", operator.weights.transpose(axes)
            )
        constants = quantize_linear(operator, quantization)
        levels = self.constant(f"{name}/weights/quantized", constants.weights.transpose(axes))
        scales = self.constant(
            f"{name}/weights/scale", constants.scales.reshape(-1, *[1] * (len(axes) - 1))
        )
        levels = self.named(ops.convert(levels, np.float32), f"{name}/weights/float")
        weights = self.named(ops.multiply(levels, scales), f"{name}/weights")
        return self._fake_quantized(tensor, quantization), weights

    def _fake_quantized(self, tensor: str, quantization: Quantization) -> Any:
        if tensor not in self.quantized:
            bounds = [
                self.constant(f"{tensor}/{end}", np.float32(value))
                for end, value in (("low", quantization.low), ("high", quantization.high))
            ]
            node = ops.fake_quantize(self.tensors[tensor], *bounds, *bounds, 256)
            self.quantized[tensor] = self.named(node, f"{tensor}/quantized")
        return self.quantized[tensor]

    @lowered.register
    def _(self, operator: Activation) -> Any:
        source, name = self.source(operator), operator.output
        if operator.function == "silu":
            # The factor that it would add itself has no name.
            return self.named(ops.swish(source, self.constant(f"{name}/beta", np.float32(1))), name)
        return self.named(_FUNCTIONS[operator.function](source), name)

    @lowered.register
    def _(self, operator: Add) -> Any:
        return self.named(
            ops.add(*(self.tensors[name] for name in operator.inputs)), operator.output
        )

    @lowered.register
    def _(self, operator: Multiply) -> Any:
        return self.named(
            ops.multiply(*(self.tensors[name] for name in operator.inputs)), operator.output
        )

    @lowered.register
    def _(self, operator: GlobalAverage) -> Any:
        axes = self.constant(f"{operator.name}/axes", np.array([2, 3], np.int64))
        return self.named(
            ops.reduce_mean(self.source(operator), axes, operator.keep), operator.output
        )

    @lowered.register
    def _(self, operator: Pad) -> Any:
        p = operator.padding
        begin = self.constant(f"{operator.name}/begin", np.array([0, 0, p.top, p.left], np.int64))
        end = self.constant(f"{operator.name}/end", np.array([0, 0, p.bottom, p.right], np.int64))
        zero = self.constant(f"{operator.name}/zero", np.float32(0))
        padded = ops.pad(self.source(operator), begin, end, "constant", zero)
        return self.named(padded, operator.output)

    @lowered.register
    def _(self, operator: Reshape) -> Any:
        source = self._transposed(
            self.source(operator), operator.inputs[0], (0, 2, 3, 1), f"{operator.name}/last"
        )
        shape = self.constant(
            f"{operator.name}/shape", np.array(self.graph.shapes[operator.output], np.int64)
        )
        reshaped = self.named(ops.reshape(source, shape, False), operator.output)
        return self._transposed(reshaped, operator.output, (0, 3, 1, 2), f"{operator.output}/first")

    def _transposed(self, node: Any, tensor: str, order: Sequence[int], name: str) -> Any:
        """Maps change their layout; vectors have none."""
        if len(self.graph.shapes[tensor]) != 4:
            return node
        return self.named(
            ops.transpose(node, self.constant(f"{name}/order", np.array(order, np.int64))), name
        )

    def model(self) -> ov.Model:
        results = []
        for name in self.graph.outputs:
            self.tensors[name].output(0).get_tensor().set_names({name})
            results.append(self.named(ops.result(self.tensors[name]), f"{name}/result"))
        return ov.Model(results, [self.parameter], self.graph.name)
