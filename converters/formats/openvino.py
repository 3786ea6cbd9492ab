"""OpenVINO IR: float, or with FakeQuantize where the CPU plugin runs int8 fastest.

Only the inputs of convolutions and of the dense head pass a FakeQuantize; between a convolution and
the next nothing is quantized, so that the plugin fuses convolution and SiLU. Weights are int8
constants with a scale for each channel. A convolution that the recipe has compute in float has
neither; everything else computes in float already.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset1
from openvino import opset13 as ops

from converters.description import Description
from converters.graph import (
    INPUT,
    PROBABILITIES,
    Activation,
    Add,
    Affine,
    Capped,
    Convolution,
    Dense,
    Excess,
    Floats,
    GlobalAverage,
    GlobalMaximum,
    Graph,
    LeakyRelu,
    Linear,
    Multiply,
    Operator,
    Pad,
    Reshape,
)
from converters.head import function_of
from converters.scheme.parameters import (
    Quantization,
    own_scales,
    quantize_linear,
    quantize_weights,
)
from converters.scheme.recipe import Recipe
from edgenet.errors import EdgenetError

_COMPRESSED = ("fp16", "bf16")
_FUNCTIONS = {
    "relu": ops.relu,
    "relu6": lambda x: ops.clamp(x, 0.0, 6.0),
    "elu": lambda x: ops.elu(x, 1.0),
    "gelu": lambda x: ops.gelu(x, "ERF"),
    "gelu_tanh": lambda x: ops.gelu(x, "TANH"),
    "sigmoid": ops.sigmoid,
    "tanh": ops.tanh,
    "softmax": lambda x: ops.softmax(x, axis=-1),
}


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.xml and model.bin; see `converters.formats.lower`."""
    model = build(graph, precision, recipe)
    path = folder / "model.xml"
    try:
        ov.save_model(model, path, compress_to_fp16=precision in _COMPRESSED)
    except RuntimeError as error:
        # All that OpenVINO tells of a full disk is "iostream error".
        raise EdgenetError(f"writing {path} failed ({error}): is the disk full?") from error
    return path, path.with_suffix(".bin")


def build(graph: Graph, precision: str, recipe: Recipe | None = None) -> ov.Model:
    """The model in memory."""
    builder = _Builder(graph, precision, recipe)
    for operator in graph.operators:
        builder.tensors[operator.output] = builder.lowered(operator)
    return builder.model()


class _Builder:
    def __init__(self, graph: Graph, precision: str, recipe: Recipe | None) -> None:
        self.graph = graph
        self.precision = precision
        self.quantizations = {} if recipe is None else recipe.quantizations(graph)
        self.float_operators = frozenset() if recipe is None else recipe.float_operators
        self.parameter = ops.parameter(graph.input_shape, np.uint8, name=INPUT)
        self.parameter.output(0).get_tensor().set_names({INPUT})
        # What finds the batch or the channels by layout, as `ov::set_batch` does, asks for it.
        self.parameter.set_layout(ov.Layout("NHWC"))
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
        scale = self.constant(f"{operator.name}/scale", operator.scale.reshape(shape))
        if not np.any(operator.offset):
            return self.named(ops.multiply(source, scale), operator.output)
        if not np.all(operator.scale == 1):
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
        tensor = operator.inputs[0]
        quantization = self.quantizations.get(tensor)
        if quantization is None or operator.name in self.float_operators:
            return self.tensors[tensor], self._float_weights(operator, axes)
        constants = quantize_linear(operator, quantization)
        weights = self._weights(operator, constants.weights, constants.scales, axes)
        return self._fake_quantized(tensor, quantization), weights

    def _float_weights(self, operator: Linear, axes: tuple[int, ...]) -> Any:
        if self.precision != "w8":
            return self._stored(f"{operator.name}/weights", operator.weights.transpose(axes))
        scales = own_scales(operator, paired=False)
        return self._weights(operator, quantize_weights(operator, scales), scales, axes)

    def _stored(self, name: str, weights: Floats) -> Any:
        """Float weights; beside quantizers, OpenVINO stores none in half precision by itself."""
        if self.precision != "int8-mixed":
            return self.constant(name, weights)
        half = self.constant(f"{name}/half", weights.astype(np.float16))
        return self.named(ops.convert(half, np.float32), name)

    def _weights(
        self, operator: Linear, levels: NDArray[np.int8], scales: Floats, axes: tuple[int, ...]
    ) -> Any:
        """int8 weights times a scale for each output channel."""
        name, shape = f"{operator.name}/weights", (-1, *[1] * (len(axes) - 1))
        constant = self.constant(f"{name}/quantized", levels.transpose(axes))
        scale = self.constant(f"{name}/scale", scales.reshape(shape))
        wide = self.named(ops.convert(constant, np.float32), f"{name}/float")
        return self.named(ops.multiply(wide, scale), name)

    def _fake_quantized(self, tensor: str, quantization: Quantization) -> Any:
        if tensor not in self.quantized:
            bounds = [
                self.constant(f"{tensor}/{end}", np.float32(value))
                for end, value in (("low", quantization.low), ("high", quantization.high))
            ]
            node = ops.fake_quantize(
                self.tensors[tensor], *bounds, *bounds, quantization.levels + 1
            )
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
    def _(self, operator: LeakyRelu) -> Any:
        slope = self.constant(f"{operator.name}/slope", np.array([operator.slope], np.float32))
        return self.named(ops.prelu(self.source(operator), slope), operator.output)

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
    def _(self, operator: Capped) -> Any:
        factors = (self.tensors[name] for name in operator.inputs)
        product = self.named(ops.multiply(*factors), f"{operator.name}/product")
        most = self.constant(f"{operator.name}/most", np.float32(operator.most))
        return self.named(ops.minimum(product, most), operator.output)

    @lowered.register
    def _(self, operator: Excess) -> Any:
        offset = self.constant(f"{operator.name}/offset", np.float32(-operator.threshold))
        shifted = self.named(ops.add(self.source(operator), offset), f"{operator.name}/shifted")
        return self.named(ops.relu(shifted), operator.output)

    @lowered.register
    def _(self, operator: GlobalAverage) -> Any:
        axes = self.constant(f"{operator.name}/axes", np.array([2, 3], np.int64))
        return self.named(
            ops.reduce_mean(self.source(operator), axes, operator.keep), operator.output
        )

    @lowered.register
    def _(self, operator: GlobalMaximum) -> Any:
        # OpenVINO 2026.3 computes a quantizer within ReduceMax, and errs.
        window = list(self.graph.shapes[operator.inputs[0]][1:3])
        none = [0, 0]
        # Of the later versions of MaxPool a second output tells where each maximum was.
        pooled = opset1.max_pool(self.source(operator), window, none, none, window)
        if operator.keep:
            return self.named(pooled, operator.output)
        axes = self.constant(f"{operator.name}/axes", np.array([2, 3], np.int64))
        flat = ops.squeeze(self.named(pooled, f"{operator.name}/pooled"), axes)
        return self.named(flat, operator.output)

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
        # For any batch: a session may ask for another.
        target = np.array([-1, *operator.target], np.int64)
        shape = self.constant(f"{operator.name}/shape", target)
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
        model = ov.Model(results, [self.parameter], self.graph.name)
        if self.precision == "w8":
            # Else the CPU plugin rounds what a dense layer with int8 weights reads to int8 too.
            model.set_rt_info("0", ["runtime_options", "DYNAMIC_QUANTIZATION_GROUP_SIZE"])
        if self.graph.description is not None and not self.graph.regresses:
            for name, value in _model_info(self.graph, self.graph.description).items():
                model.set_rt_info(value, ["model_info", name])
        return model


def _model_info(graph: Graph, description: Description) -> dict[str, str]:
    """What OpenVINO's Model API (`model_api.models.ClassificationModel`) reads in a file.

    It takes frames as OpenCV has them, BGR, and parts names by spaces.
    """
    info = {
        "model_type": "Classification",
        "multilabel": str(function_of(graph.producers[PROBABILITIES]) == "sigmoid"),
        "reverse_input_channels": "True",
        "resize_type": "crop" if description.cuts else "standard",
    }
    if description.labels is not None:
        info["labels"] = " ".join("_".join(label.split()) for label in description.labels)
    return info
