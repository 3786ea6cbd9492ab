"""How a QDQ graph hangs together: who makes what, who reads it, what lies between quantizers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converters.graph import Floats

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
BORDERS = (QUANTIZE, DEQUANTIZE)

Bounds = tuple[float | None, float | None]
"""The smallest and the largest value that a tensor takes; None where there is none."""


@dataclass(frozen=True, eq=False)
class QuantizationParameters:
    """Values are (levels - zero_point) · scale; both are one number, or one a channel of `axis`."""

    scale: NDArray[Any]
    zero_point: NDArray[Any]
    axis: int

    def dequantized(self, levels: NDArray[Any]) -> Floats:
        """The values of levels, in float32."""
        # Levels of 16 bits are exact in float32, those of a bias are not.
        wide = levels.astype(np.float32 if levels.dtype.itemsize <= 2 else np.float64)
        zero_point = self._along(self.zero_point, levels.ndim)
        return ((wide - zero_point) * self._along(self.scale, levels.ndim)).astype(np.float32)

    def quantized(self, values: NDArray[Any]) -> NDArray[Any]:
        """The levels of values, of the zero point's type, as a QuantizeLinear makes them."""
        scale, zero_point = (
            self._along(parameter, values.ndim) for parameter in (self.scale, self.zero_point)
        )
        kept = np.iinfo(self.zero_point.dtype)
        levels = np.rint(values.astype(np.float32) / scale) + zero_point
        return np.clip(levels, kept.min, kept.max).astype(kept.dtype)

    def _along(self, parameter: NDArray[Any], rank: int) -> NDArray[np.float32]:
        shape = [1] * rank
        if parameter.size > 1:
            shape[self.axis] = -1
        return parameter.reshape(shape).astype(np.float32)


class Wiring:
    """Who makes and who reads each tensor of a graph, and what lies between two quantizers."""

    def __init__(self, graph: Any) -> None:
        self.constants: dict[str, Any] = {tensor.name: tensor for tensor in graph.initializer}
        self.constants.update(
            {n.output[0]: n.attribute[0].t for n in graph.node if n.op_type == "Constant"}
        )
        for node in graph.node:
            # PyTorch's exporter hands one scale on to all that share it.
            if node.op_type == "Identity" and node.input[0] in self.constants:
                self.constants[node.output[0]] = self.constants[node.input[0]]
        self.makers: dict[str, Any] = {node.output[0]: node for node in graph.node}
        self.readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self._levels = {n.output[0] for n in graph.node if n.op_type == QUANTIZE}
        for node in graph.node:
            if node.op_type not in BORDERS and node.input and node.input[0] in self._levels:
                self._levels.add(node.output[0])
        self._quantized: set[str] = set()
        for node in graph.node:
            if self.is_step(node) and (self._is_in_int8(node) or self._reads_rounded_floats(node)):
                self._quantized.add(node.output[0])

    def is_step(self, node: Any) -> bool:
        """Whether it computes: it is no constant, no quantizer, and not among levels."""
        return (
            node.op_type not in (*BORDERS, "Constant")
            and node.output[0] not in self._levels
            and not self.is_constant(node.output[0])
        )

    def is_constant(self, name: str) -> bool:
        """Whether it is a constant, or made of constants alone by a DequantizeLinear or a Cast."""
        if name in self.constants:
            return True
        node = self.makers.get(name)
        return (
            node is not None
            and node.op_type in (DEQUANTIZE, "Cast")
            and self.is_constant(node.input[0])
        )

    def weights(self, node: Any) -> list[str]:
        """The float or dequantized constants that a node reads."""
        return [
            name
            for name in node.input
            if self.is_constant(name)
            and (name not in self.constants or self.constants[name].data_type == TensorProto.FLOAT)
        ]

    def values(self, name: str) -> NDArray[Any]:
        """The numbers of a constant."""
        return numpy_helper.to_array(self.constants[name])

    def dequantized(self, name: str) -> Floats:
        """The numbers of a constant, in float32, behind a DequantizeLinear or a Cast."""
        if name in self.constants:
            return self.values(name).astype(np.float32)
        node = self.makers[name]
        levels = self.values(node.input[0])
        if node.op_type == "Cast":
            return levels.astype(np.float32)
        return self.quantization(node).dequantized(levels)

    def quantization(self, node: Any) -> QuantizationParameters:
        """Of a QuantizeLinear or a DequantizeLinear."""
        settings = {attribute.name: attribute.i for attribute in node.attribute}
        scale, *rest = (self.values(name) for name in node.input[1:])
        kind = settings.get("output_dtype") or TensorProto.UINT8
        zero_point = rest[0] if rest else np.zeros((), helper.tensor_dtype_to_np_dtype(kind))
        return QuantizationParameters(scale, zero_point, settings.get("axis", 1))

    def levels(self, node: Any) -> NDArray[np.int8] | None:
        """The int8 weights of a product, (..., in, out), of which no depthwise one has any."""
        if len(node.input) < 2 or not self.is_constant(node.input[1]):
            return None
        maker = self.makers.get(node.input[1])
        levels = None if maker is None else self.values(maker.input[0])
        settings = {attribute.name: attribute.i for attribute in node.attribute}
        if levels is None or levels.dtype != np.int8 or settings.get("group", 1) > 1:
            return None
        if node.op_type == "Conv":
            return levels.transpose(2, 3, 1, 0)
        return levels.T if settings.get("transB") else levels

    def shape(self, name: str) -> Sequence[int]:
        """The shape of a constant, through its DequantizeLinear."""
        while name not in self.constants:
            name = self.makers[name].input[0]
        return tuple(self.constants[name].dims)

    def quantizer(self, name: str) -> Any | None:
        """The QuantizeLinear that reads a tensor, or None."""
        found = (node for node in self.readers.get(name, ()) if node.op_type == QUANTIZE)
        return next(found, None)

    def held(self, name: str) -> tuple[float, float] | None:
        """The ends of the levels that a whole tensor is rounded to, or None."""
        node = self.quantizer(name)
        held = None if node is None else self.quantization(node)
        if held is None or held.scale.size > 1:
            return None
        levels = np.iinfo(held.zero_point.dtype)
        low, high = held.dequantized(np.array([levels.min, levels.max]))
        return float(low), float(high)

    def bounds(self, node: Any) -> Bounds:
        """The bounds that the quantizer behind a node stands for, by its first or last level.

        There are some where a map is held in two pieces (`converters.quantization.piecewise`): of
        two products of the same tensors the one in finer levels is cut off above, and a sum with a
        constant whose levels start at zero is cut off below.
        """
        held = self.held(node.output[0])
        if held is None:
            return None, None
        if node.op_type == "Mul":
            others = [n for n in self.readers[node.input[0]] if n.input == node.input]
            ends = [ends[1] for n in others if (ends := self.held(n.output[0]))]
            return None, held[1] if held[1] < max(ends) else None
        starts = node.op_type == "Add" and bool(self.weights(node)) and held[0] == 0
        return 0.0 if starts else None, None

    def behind(self, name: str) -> str | None:
        """What the DequantizeLinear behind a tensor's quantizer makes, or None."""
        node = self.quantizer(name)
        while node is not None and node.op_type != DEQUANTIZE:
            readers = self.readers.get(node.output[0], ())
            node = next((r for r in readers if r.op_type == DEQUANTIZE), None) or next(
                iter(readers), None
            )
        return None if node is None else str(node.output[0])

    def path(self, name: str) -> list[Any]:
        """From a dequantized tensor back to its quantizer: nodes, the DequantizeLinear first.

        Empty where the tensor is not one that comes out of a quantizer.
        """
        node = self.makers.get(name)
        if node is None or node.op_type != DEQUANTIZE or self.is_constant(name):
            return []
        nodes = [node]
        while node.op_type != QUANTIZE:
            node = self.makers.get(node.input[0])
            if node is None:
                return []
            nodes.append(node)
        return nodes

    def is_quantized(self, node: Any) -> bool:
        """Whether an engine computes it in int8, or it reads what was rounded behind a float node.

        In int8 all that a node reads is dequantized, and what it makes is quantized again: the
        pattern that engines fuse. A product may leave in float, and may have its bias in float. A
        quantizer between two nodes in float goes with the one that reads, as no other could return.
        """
        return node.output[0] in self._quantized

    def _is_in_int8(self, node: Any) -> bool:
        read = [name for name in node.input if name and not self._is_setting(name)]
        held = [name for name in read if name not in node.input[2:] or not self.is_constant(name)]
        product = any(self.is_constant(name) for name in held)
        return (
            bool(held)
            and all(self._is_dequantized(name) for name in held)
            and (product or self.quantizer(node.output[0]) is not None)
        )

    def _reads_rounded_floats(self, node: Any) -> bool:
        """Whether something that it reads was rounded behind a node in float."""
        paths = [path for name in node.input if (path := self.path(name))]
        makers = [self.makers.get(path[-1].input[0]) for path in paths]
        return any(
            maker is not None and self.is_step(maker) and maker.output[0] not in self._quantized
            for maker in makers
        )

    def _is_dequantized(self, name: str) -> bool:
        return name in self.makers and self.makers[name].op_type == DEQUANTIZE

    def _is_setting(self, name: str) -> bool:
        """Whether it is a shape, axes or the like."""
        return name in self.constants and self.constants[name].data_type != TensorProto.FLOAT
