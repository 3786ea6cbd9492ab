"""ONNX: float, or QDQ in the arrangement that ONNX Runtime runs fastest on x86.

Maps are channels first, as ONNX has them; the input is transposed while it is still uint8. In int8
every activation is uint8 (signed ones take ONNX Runtime's slow path on x86), with a QuantizeLinear
after each operator, so that all of them become QLinear kernels; ReLU and ReLU6 are the saturation
of that quantizer. The logits leave in float. An operator that the recipe has compute in float reads
what is dequantized anyway, and what it makes is quantized once, for those that read it in levels.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import singledispatchmethod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from converters.description import Description
from converters.formats.onnx_nodes import WITH_16_BITS, WITH_GELU, channels_first
from converters.formats.onnx_weights import Weights
from converters.formats.pixel_groups import with_pixel_groups
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
    Floats,
    GlobalMaximum,
    GlobalPool,
    Graph,
    LeakyRelu,
    Linear,
    Multiply,
    Operator,
    Pad,
    Picked,
    Reshape,
    Shape,
)
from converters.scheme.parameters import (
    PIXELS,
    Quantization,
    sigmoid_like,
)
from converters.scheme.recipe import Recipe, exact_shift

_FUNCTIONS = {
    "relu": "Relu",
    "elu": "Elu",
    "sigmoid": "Sigmoid",
    "tanh": "Tanh",
    "softmax": "Softmax",
}
_GELUS = {"gelu": "none", "gelu_tanh": "tanh"}


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.onnx; see `converters.formats.lower`."""
    path = folder / "model.onnx"
    path.write_bytes(build(graph, precision, recipe).SerializeToString(deterministic=True))
    return (path,)


def build(
    graph: Graph, precision: str, recipe: Recipe | None = None, outputs: Sequence[str] | None = None
) -> onnx.ModelProto:
    """The model in memory; `outputs` names other tensors to hand out."""
    builder = Builder(with_pixel_groups(graph, recipe), precision, recipe)
    for operator in builder.graph.operators:
        builder.add(operator)
    return builder.model(graph.outputs if outputs is None else outputs)


class Builder(Weights):
    """Appends node by node; what another arrangement does otherwise, it overrides."""

    # ONNX Runtime multiplies a map by a gate pixel by pixel; in levels, whole rows of so many
    # pixels or more go faster (2 % of B0). A float, for lowerings that set it to infinity.
    least_row = 20.0

    def __init__(self, graph: Graph, precision: str, recipe: Recipe | None) -> None:
        super().__init__(precision)
        self.graph = graph
        self.quantizations = {} if recipe is None else recipe.quantizations(graph)
        self.float_operators = frozenset() if recipe is None else recipe.float_operators
        self.unrounded = graph.unrounded
        self.wide = recipe is not None and recipe.activation_bits == 16
        if self.wide:
            self.need(*WITH_16_BITS)
        self.take_pixels()

    def take_pixels(self) -> None:
        """Moves the pixels as they come: as bytes they cost least."""
        self.node("Transpose", [INPUT], f"{INPUT}/transposed", perm=[0, 3, 1, 2])

    def quantized(self, operator: Operator) -> bool:
        """Whether an operator computes in levels; pixels are normalized in float."""
        return (
            operator.output in self.quantizations
            and operator.name not in self.float_operators
            and operator.inputs[0] != INPUT
            and not self.graph.ends_in_float(operator)
        )

    def read(self, operator: Operator, which: int = 0) -> str:
        """A tensor as its reader takes it: through levels, where that computes in them."""
        name = operator.inputs[which]
        if name in self.held or not self.quantized(operator):
            return name
        through = f"{name}/dequantized"
        if through not in self.held:
            self.requantize(name, f"{name}/quantized", through, self.quantizations[name])
        return through

    def emit(
        self, kind: str, inputs: Sequence[str], tensor: str, quantized: bool, **attributes: Any
    ) -> None:
        """Appends a node that makes a tensor, behind quantizers where it is held in levels."""
        if not quantized or tensor in self.unrounded:
            self.node(kind, inputs, tensor, **attributes)
            return
        source = self.node(kind, inputs, f"{tensor}/float", **attributes)
        self.requantize(source, f"{tensor}/quantized", tensor, self.quantizations[tensor])

    @singledispatchmethod
    def add(self, operator: Operator) -> None:
        """Appends the nodes of an operator."""
        raise NotImplementedError(type(operator).__name__)

    @add.register
    def _(self, operator: Affine) -> None:
        source, quantized = self.read(operator), self.quantized(operator)
        if source == INPUT:
            shift = exact_shift(operator)
            if self.quantizations and shift is not None:
                self._shifted_pixels(operator, Quantization(1.0, shift))
                return
            source = self._float_pixels()
        elif quantized and self._is_map(operator):
            # The one way to scale channels that runs so in levels on several threads.
            self.add(operator.as_convolution())
            return
        scale, offset = (
            v.reshape(-1, 1, 1) if self._is_map(operator) else v
            for v in (operator.scale, operator.offset)
        )
        if not np.any(operator.offset):
            inputs = [source, self.weight(f"{operator.name}/factor", scale)]
            self.emit("Mul", inputs, operator.output, quantized)
            return
        if not np.all(operator.scale == 1):
            inputs = [source, self.weight(f"{operator.name}/factor", scale)]
            source = self.node("Mul", inputs, f"{operator.name}/scaled")
        if operator.inputs[0] == INPUT:
            # A row of them, or ONNX Runtime, which moves channels last, adds pixel by pixel.
            offset = np.tile(offset, (1, 1, self.graph.shapes[INPUT][2]))
            added = self.pixel_offset(operator, offset)
        else:
            added = self.weight(f"{operator.name}/offset", offset)
        self.emit("Add", [source, added], operator.output, quantized)

    def pixel_offset(self, operator: Affine, values: Floats) -> str:
        """What is added to pixels: in levels where the sum is, or ONNX Runtime adds in float."""
        name = f"{operator.name}/offset"
        in_levels = map(self.quantized, self.graph.consumers[operator.output])
        if self.wide or not any(in_levels):
            return self.weight(name, values)
        return self.in_levels(name, values)

    def _shifted_pixels(self, operator: Affine, quantization: Quantization) -> None:
        """Pixels are the levels themselves, whoever reads them."""
        self.dequantized(f"{INPUT}/transposed", operator.output, quantization)
        if self.quantizations[operator.output] == quantization:
            self.held.add(operator.output)

    def _float_pixels(self) -> str:
        if self.graph.pixels == "float32":
            return f"{INPUT}/transposed"
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
        quantized, name = self.quantized(operator), operator.output
        constants = (
            self.quantized_constants(operator, self.quantizations[operator.inputs[0]], axes)
            if quantized
            else [
                self.float_weights(operator, axes),
                self.weight(f"{operator.name}/bias", operator.bias),
            ]
        )
        inputs = [self.read(operator), *constants]
        saturates = (
            quantized and name not in self.unrounded and self._ends_where(operator.function, name)
        )
        if operator.function == "linear" or saturates:
            self.emit(kind, inputs, name, quantized, **attributes)
            return
        linear = self.node(kind, inputs, f"{name}/linear", **attributes)
        self._clip(operator.function, linear, name, quantized)

    def _ends_where(self, function: str, tensor: str) -> bool:
        """Whether the levels of a tensor end where ReLU or ReLU6 does."""
        held = self.quantizations[tensor]
        return held.low == 0 and (function == "relu" or held.high < 6 + held.scale)

    def _clip(self, function: str, source: str, tensor: str, quantized: bool) -> None:
        if function == "relu6":
            bounds = [self.constant(f"relu6/{v}", np.float32(v)) for v in (0, 6)]
            self.emit("Clip", [source, *bounds], tensor, quantized)
        else:
            self.emit(_FUNCTIONS[function], [source], tensor, quantized)

    @add.register
    def _(self, operator: Activation) -> None:
        source, tensor = self.read(operator), operator.output
        quantized = self.quantized(operator)
        if operator.function in _GELUS:
            self.need(*WITH_GELU)
            self.emit("Gelu", [source], tensor, quantized, approximate=_GELUS[operator.function])
            return
        if operator.function != "silu":
            self._clip(operator.function, source, tensor, quantized)
            return
        gate = f"{tensor}/sigmoid"
        if quantized:
            self.quantizations[gate] = sigmoid_like(self.quantizations[tensor])
        elif source in self.held:
            self._silu_of_levels(source, gate, tensor)
            return
        self.emit("Sigmoid", [source], gate, quantized)
        self.emit("Mul", [source, gate], tensor, quantized)

    def _silu_of_levels(self, source: str, gate: str, tensor: str) -> None:
        """SiLU in float; another view of the values, which costs nothing, is their one reader.

        ONNX Runtime dequantizes anew for each reader, and behind two it does not see SiLU.
        """
        shape = channels_first(self.graph.shapes[tensor])
        flat = self.node("Flatten", [source], f"{tensor}/flat")
        self.node("Sigmoid", [flat], gate)
        product = self.node("Mul", [flat, gate], f"{tensor}/product")
        # Whatever the batch: 0 takes the source's.
        view = self.constant(f"{tensor}/shape", np.array([0, *shape[1:]], np.int64))
        self.node("Reshape", [product, view], tensor)

    @add.register
    def _(self, operator: LeakyRelu) -> None:
        source, quantized = self.read(operator), self.quantized(operator)
        self.emit("LeakyRelu", [source], operator.output, quantized, alpha=operator.slope)

    @add.register
    def _(self, operator: Add) -> None:
        self.emit("Add", self._both(operator), operator.output, self.quantized(operator))

    @add.register
    def _(self, operator: Multiply) -> None:
        self.emit("Mul", self._factors(operator), operator.output, self.quantized(operator))

    @add.register
    def _(self, operator: Capped) -> None:
        factors, tensor = self._factors(operator), operator.output
        if self.quantized(operator):
            # Its levels end at `most`.
            self.emit("Mul", factors, tensor, True)
            return
        product = self.node("Mul", factors, f"{tensor}/product")
        most = self.constant(f"{operator.name}/most", np.float32(operator.most))
        self.node("Min", [product, most], tensor)

    @add.register
    def _(self, operator: Excess) -> None:
        source, tensor, name = self.read(operator), operator.output, f"{operator.name}/offset"
        offset = np.array([-operator.threshold], np.float32)
        if self.quantized(operator):
            # Its levels start at zero.
            self.emit("Add", [source, self.in_levels(name, offset)], tensor, True)
            return
        shifted = self.node("Add", [source, self.constant(name, offset)], f"{tensor}/shifted")
        self.node("Relu", [shifted], tensor)

    @add.register
    def _(self, operator: Concatenate) -> None:
        inputs = [self.read(operator, which) for which in range(len(operator.inputs))]
        self.emit("Concat", inputs, operator.output, self.quantized(operator), axis=1)

    @add.register
    def _(self, operator: Picked) -> None:
        channels = self.constant(f"{operator.name}/channels", operator.channels.astype(np.int64))
        self.node("Gather", [self.read(operator), channels], operator.output, axis=1)

    def _factors(self, operator: Multiply) -> list[str]:
        """The map, and the gate in the form that multiplies it fastest."""
        feature_map, gate = (self.graph.shapes[name] for name in operator.inputs)
        inputs = self._both(operator)
        if gate[1:3] == (1, 1) != feature_map[1:3]:
            if self.quantized(operator) and feature_map[2] >= self.least_row:
                inputs[1] = self._row(inputs[1], feature_map[2])
            elif self.quantizations and not self.quantized(operator):
                inputs[1] = self._spread(inputs[1], operator, feature_map[1:3])
        return inputs

    def _spread(self, gate: str, operator: Multiply, size: Shape) -> str:
        """A gate for a whole map: in its blocked layout ONNX Runtime multiplies equal shapes only.

        Resize has a kernel in that layout, unlike Expand, so that nothing leaves it on the way. A
        file that is float throughout keeps to the plain product, which every accelerator takes.
        """
        factors = self.constant(f"spread/{size[0]}x{size[1]}", np.array([1, 1, *size], np.float32))
        return self.node(
            "Resize",
            [gate, "", factors],
            f"{operator.output}/gate",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )

    def _row(self, source: str, width: int) -> str:
        """A gate for a whole row of pixels: the same levels again and again."""
        gate = source.removesuffix("/dequantized")
        row = f"{gate}/row"
        if row in self.held:
            return row
        self.held.add(row)
        shape = self.constant(f"row/{width}", np.array([1, 1, 1, width], np.int64))
        levels = self.node("Expand", [f"{gate}/quantized", shape], f"{row}/quantized")
        return self.dequantized(levels, row, self.quantizations[gate])

    def _both(self, operator: Operator) -> list[str]:
        return [self.read(operator, which) for which in range(2)]

    @add.register
    def _(self, operator: GlobalPool) -> None:
        source, tensor, quantized = self.read(operator), operator.output, self.quantized(operator)
        # In float: ONNX Runtime has no GlobalMaxPool in int8, and its MaxPool is slower.
        kind = "GlobalMaxPool" if isinstance(operator, GlobalMaximum) else "GlobalAveragePool"
        if operator.keep:
            self.emit(kind, [source], tensor, quantized)
            return
        pooled = self.node(kind, [source], f"{operator.name}/pooled")
        if not quantized:
            self.node("Flatten", [pooled], tensor)
            return
        self.flatten(pooled, tensor)

    def flatten(self, pooled: str, tensor: str) -> None:
        """Flattens behind the quantizer, so that the pooling is one QLinear kernel."""
        parameters = self.parameters(tensor, self.quantizations[tensor])
        levels = self.node("QuantizeLinear", [pooled, *parameters], f"{tensor}/levels")
        flat = self.node("Flatten", [levels], f"{tensor}/quantized")
        self.dequantized(flat, tensor, self.quantizations[tensor])
        self.held.add(tensor)

    @add.register
    def _(self, operator: Pad) -> None:
        p = operator.padding
        pads = self.constant(
            f"{operator.name}/pads",
            np.array([0, 0, p.top, p.left, 0, 0, p.bottom, p.right], np.int64),
        )
        inputs = [self.read(operator), pads]
        self.emit("Pad", inputs, operator.output, self.quantized(operator))

    @add.register
    def _(self, operator: Reshape) -> None:
        source, quantized = self.read(operator), self.quantized(operator)
        if len(self.graph.shapes[operator.inputs[0]]) == 4:
            source = self.node(
                "Transpose", [source], f"{operator.name}/channels_last", perm=[0, 2, 3, 1]
            )
        is_map = self._is_map(operator)
        # Whatever the batch: a session may ask for another.
        shape = self.constant(f"{operator.name}/shape", np.array([-1, *operator.target], np.int64))
        if not is_map:
            self.emit("Reshape", [source, shape], operator.output, quantized)
            return
        reshaped = self.node("Reshape", [source, shape], f"{operator.name}/reshaped")
        self.emit("Transpose", [reshaped], operator.output, quantized, perm=[0, 3, 1, 2])

    def model(self, outputs: Sequence[str]) -> onnx.ModelProto:
        """The model, with these tensors to hand out."""
        shapes = self.graph.shapes
        kind = TensorProto.UINT8 if self.graph.pixels == "uint8" else TensorProto.FLOAT
        inputs = [helper.make_tensor_value_info(INPUT, kind, shapes[INPUT])]
        values = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, channels_first(shapes[name]))
            for name in outputs
        ]
        model = self.whole(self.graph.name, inputs, values)
        if self.graph.description is not None:
            helper.set_model_props(model, _properties(self.graph.description))
        return model


def _properties(description: Description) -> dict[str, str]:
    """What ONNX Runtime hands out as `custom_metadata_map`; class names are a JSON array."""
    properties = {"pixels": description.pixels}
    if description.labels is not None:
        properties["labels"] = json.dumps(description.labels, ensure_ascii=False)
    return properties
