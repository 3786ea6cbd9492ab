"""ONNX: float, or QDQ in the arrangement that ONNX Runtime runs fastest on x86.

Maps are channels first, as ONNX has them; the input is transposed while it is still uint8. In int8
every activation is uint8 (signed ones take ONNX Runtime's slow path on x86), with a QuantizeLinear
after each operator, so that all of them become QLinear kernels; ReLU and ReLU6 are the saturation
of that quantizer. The logits leave in float.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.graph import (
    INPUT,
    LOGITS,
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
from converters.quantization.parameters import PIXELS, SIGMOID, Quantization, quantize_linear
from converters.quantization.recipe import Recipe, exact_shift

# Opset 17 and IR version 8 are what ONNX Runtime 1.13 (2022) reads.
OPSET, IR_VERSION = 17, 8
_FUNCTIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "softmax": "Softmax"}


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.onnx; see `converters.formats.lower`."""
    path = folder / "model.onnx"
    path.write_bytes(build(graph, precision, recipe).SerializeToString(deterministic=True))
    return (path,)


def build(
    graph: Graph, precision: str, recipe: Recipe | None = None, outputs: Sequence[str] | None = None
) -> onnx.ModelProto:
    """The model in memory; `outputs` names other tensors to hand out."""
    builder = _Builder(graph, precision == "fp16", recipe.quantizations(graph) if recipe else {})
    for operator in graph.operators:
        builder.add(operator)
    return builder.model(graph.outputs if outputs is None else outputs)


def channels_first(shape: Sequence[int]) -> list[int]:
    """The shape as ONNX holds it: maps are (batch, channels, height, width)."""
    return [shape[0], shape[3], shape[1], shape[2]] if len(shape) == 4 else list(shape)


class _Builder:
    def __init__(self, graph: Graph, half: bool, quantizations: dict[str, Quantization]) -> None:
        self.graph = graph
        self.half = half
        self.quantizations = {name: q for name, q in quantizations.items() if name != LOGITS}
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self.node("Transpose", [INPUT], f"{INPUT}/transposed", perm=[0, 3, 1, 2])

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        self.constants.setdefault(
            name, numpy_helper.from_array(np.asarray(values, order="C"), name)
        )
        return name

    def weight(self, name: str, values: Any) -> str:
        """A float constant; fp16 stores half of it and computes in float32."""
        if not self.half:
            return self.constant(name, values.astype(np.float32))
        half = self.constant(f"{name}/half", values.astype(np.float16))
        return self.node("Cast", [half], name, to=TensorProto.FLOAT)

    def dequantized(self, levels: str, name: str, quantization: Quantization) -> str:
        return self.node("DequantizeLinear", [levels, *self._parameters(name, quantization)], name)

    def _parameters(self, name: str, quantization: Quantization) -> tuple[str, str]:
        return (
            self.constant(f"{name}/scale", np.float32(quantization.scale)),
            self.constant(f"{name}/zero_point", np.uint8(quantization.zero_point)),
        )

    def emit(self, kind: str, inputs: Sequence[str], tensor: str, **attributes: Any) -> None:
        """Appends a node that makes a tensor, between quantizers where it is held in int8."""
        quantization = self.quantizations.get(tensor)
        if quantization is None:
            self.node(kind, inputs, tensor, **attributes)
            return
        self.node(kind, inputs, f"{tensor}/float", **attributes)
        self.requantize(f"{tensor}/float", tensor, quantization)

    def requantize(self, source: str, tensor: str, quantization: Quantization) -> None:
        parameters = self._parameters(tensor, quantization)
        self.node("QuantizeLinear", [source, *parameters], f"{tensor}/quantized")
        self.node("DequantizeLinear", [f"{tensor}/quantized", *parameters], tensor)

    @singledispatchmethod
    def add(self, operator: Operator) -> None:
        raise NotImplementedError(type(operator).__name__)

    @add.register
    def _(self, operator: Affine) -> None:
        scale, offset = (
            v.reshape(-1, 1, 1) if self._is_map(operator) else v
            for v in (operator.scale, operator.offset)
        )
        source = operator.inputs[0]
        if source == INPUT:
            shift = exact_shift(operator)
            if self.quantizations and shift is not None:
                self.dequantized(f"{INPUT}/transposed", operator.output, Quantization(1.0, shift))
                return
            source = self._float_pixels()
        if not np.all(operator.scale == 1):
            source = self.node(
                "Mul",
                [source, self.weight(f"{operator.name}/factor", scale)],
                f"{operator.name}/scaled",
            )
        self.emit("Add", [source, self.weight(f"{operator.name}/offset", offset)], operator.output)

    def _float_pixels(self) -> str:
        if self.quantizations:
            return self.dequantized(f"{INPUT}/transposed", INPUT + "/float", PIXELS)
        return self.node("Cast", [f"{INPUT}/transposed"], INPUT + "/float", to=TensorProto.FLOAT)

    def _is_map(self, operator: Operator) -> bool:
        return len(self.graph.shapes[operator.output]) == 4

    @add.register
    def _(self, operator: Convolution) -> None:
        # (height, width, in, out) becomes (out, in, height, width), depthwise (channels, 1, ...).
        axes = (2, 3, 0, 1) if operator.depthwise else (3, 2, 0, 1)
        pad = operator.padding
        self._linear(
            operator,
            "Conv",
            axes,
            kernel_shape=list(operator.kernel),
            strides=list(operator.strides),
            pads=[pad.top, pad.left, pad.bottom, pad.right],
            group=operator.bias.size if operator.depthwise else 1,
        )

    @add.register
    def _(self, operator: Dense) -> None:
        self._linear(operator, "Gemm", (0, 1))

    def _linear(
        self, operator: Linear, kind: str, axes: tuple[int, ...], **attributes: Any
    ) -> None:
        source = self.quantizations.get(operator.inputs[0])
        if source is not None:
            constants = self._quantized_constants(operator, source, axes)
        else:
            constants = [
                self.weight(f"{operator.name}/weights", operator.weights.transpose(axes)),
                self.weight(f"{operator.name}/bias", operator.bias),
            ]
        inputs = [operator.inputs[0], *constants]
        if operator.function == "linear" or operator.output in self.quantizations:
            self.emit(kind, inputs, operator.output, **attributes)
            return
        linear = self.node(kind, inputs, f"{operator.output}/linear", **attributes)
        self._clip(operator.function, linear, operator.output)

    def _quantized_constants(
        self, operator: Linear, source: Quantization, axes: tuple[int, ...]
    ) -> list[str]:
        constants = quantize_linear(operator, source)
        channel_axis = 0 if len(axes) == 4 else 1
        name = operator.name
        scales = self.constant(f"{name}/weights/scale", constants.scales)
        # All zero, and said: ONNX Runtime up to 1.23 wants them beside scales by channel.
        zeros = self.constant(
            f"{name}/weights/zero_point", np.zeros(constants.scales.size, np.int8)
        )
        weights = self.constant(f"{name}/weights/quantized", constants.weights.transpose(axes))
        bias = self.constant(f"{name}/bias/quantized", constants.bias)
        bias_scale = self.constant(
            f"{name}/bias/scale", constants.scales * np.float32(source.scale)
        )
        return [
            self.node(
                "DequantizeLinear", [weights, scales, zeros], f"{name}/weights", axis=channel_axis
            ),
            self.node("DequantizeLinear", [bias, bias_scale], f"{name}/bias", axis=0),
        ]

    def _clip(self, function: str, source: str, tensor: str) -> None:
        if function == "relu6":
            bounds = [self.constant(f"relu6/{v}", np.float32(v)) for v in (0, 6)]
            self.emit("Clip", [source, *bounds], tensor)
        else:
            self.emit(_FUNCTIONS[function], [source], tensor)

    @add.register
    def _(self, operator: Activation) -> None:
        source, tensor = operator.inputs[0], operator.output
        if operator.function != "silu":
            self._clip(operator.function, source, tensor)
            return
        gate = f"{tensor}/sigmoid"
        if tensor in self.quantizations:
            self.quantizations[gate] = SIGMOID
        self.emit("Sigmoid", [source], gate)
        self.emit("Mul", [source, gate], tensor)

    @add.register
    def _(self, operator: Add) -> None:
        self.emit("Add", operator.inputs, operator.output)

    @add.register
    def _(self, operator: Multiply) -> None:
        self.emit("Mul", operator.inputs, operator.output)

    @add.register
    def _(self, operator: GlobalAverage) -> None:
        tensor, quantization = operator.output, self.quantizations.get(operator.output)
        if operator.keep:
            self.emit("GlobalAveragePool", operator.inputs, tensor)
            return
        pooled = self.node("GlobalAveragePool", operator.inputs, f"{tensor}/pooled")
        if quantization is None:
            self.node("Flatten", [pooled], tensor)
            return
        # Flattened behind its quantizer, so that the pooling is one QLinear kernel.
        levels = self.node(
            "QuantizeLinear", [pooled, *self._parameters(tensor, quantization)], f"{tensor}/levels"
        )
        self.dequantized(
            self.node("Flatten", [levels], f"{tensor}/quantized"), tensor, quantization
        )

    @add.register
    def _(self, operator: Pad) -> None:
        p = operator.padding
        pads = self.constant(
            f"{operator.name}/pads",
            np.array([0, 0, p.top, p.left, 0, 0, p.bottom, p.right], np.int64),
        )
        self.emit("Pad", [operator.inputs[0], pads], operator.output)

    @add.register
    def _(self, operator: Reshape) -> None:
        source = operator.inputs[0]
        if len(self.graph.shapes[source]) == 4:
            source = self.node(
                "Transpose", [source], f"{operator.name}/channels_last", perm=[0, 2, 3, 1]
            )
        is_map = self._is_map(operator)
        shape = self.constant(
            f"{operator.name}/shape", np.array(self.graph.shapes[operator.output], np.int64)
        )
        if not is_map:
            self.emit("Reshape", [source, shape], operator.output)
            return
        reshaped = self.node("Reshape", [source, shape], f"{operator.name}/reshaped")
        self.emit("Transpose", [reshaped], operator.output, perm=[0, 3, 1, 2])

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        shapes = self.graph.shapes
        inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, shapes[INPUT])]
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, channels_first(shapes[name]))
            for name in outputs
        ]
        body = helper.make_graph(
            self.nodes, self.graph.name, inputs, values, list(self.constants.values())
        )
        model = helper.make_model(
            body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edgenet"
        )
        model.ir_version = IR_VERSION
        return model
