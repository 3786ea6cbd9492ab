"""ONNX for Qualcomm's Hexagon Tensor Processor (HTP): QDQ without a float in between.

The provider takes a node if all that it reads and makes goes through a quantizer, so the pixels are
levels from the start, the logits have 16 bits, and flattening has quantizers too. Softmax alone
computes in float (the HTP's is fp16): in levels its small values would tie. Where the normalization
is not exact in 8 bits, and in w8a16, pixels lose their mean in 16. uint16 zero points may be
anywhere, so the quantizer of a 16-bit ReLU saturates as that of an 8-bit one does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx

from converters.formats import onnx as plain
from converters.graph import INPUT, LOGITS, Affine, Graph, Linear, Operator
from converters.quantization.parameters import PIXELS, Quantization
from converters.quantization.recipe import Recipe

_SIX = 6.0
_LEVELS_16 = 2**16 - 1
_WIDE_PIXELS = Quantization(2.0**-8, 0, 16)


def lower(graph: Graph, precision: str, recipe: Recipe | None, folder: Path) -> tuple[Path, ...]:
    """Writes model.onnx; see `converters.formats.lower`."""
    path = folder / "model.onnx"
    path.write_bytes(build(graph, precision, recipe).SerializeToString(deterministic=True))
    return (path,)


def build(graph: Graph, precision: str, recipe: Recipe | None) -> onnx.ModelProto:
    """The model in memory; every operator is quantized."""
    assert recipe is not None
    builder = _Builder(graph, precision, recipe)
    for operator in graph.operators:
        builder.add(operator)
    return builder.model(graph.outputs)


class _Builder(plain.Builder):
    # Levels that no quantizer surrounds would stay on the CPU.
    least_row = math.inf

    def __init__(self, graph: Graph, precision: str, recipe: Recipe) -> None:
        super().__init__(graph, precision, recipe)
        self.opset, self.ir_version = plain.OPSET_16, plain.IR_VERSION_16
        self.quantizations[LOGITS] = Quantization.covering(*recipe.ranges[LOGITS], 16)
        head = graph.producers[LOGITS].inputs[0]
        self.before_logits = Quantization.covering(*recipe.ranges[head], 16)
        if self.wide:
            self.quantizations |= {
                operator.output: _rectified(operator, recipe)
                for operator in graph.operators
                if isinstance(operator, Linear) and operator.function in ("relu", "relu6")
            }
            self.before_logits = self.quantizations[head]

    def quantized(self, operator: Operator) -> bool:
        return operator.output in self.quantizations

    def take_pixels(self) -> None:
        """An operator takes them, with their zero."""
        self.held.add(INPUT)

    def _shifted_pixels(self, operator: Affine, quantization: Quantization) -> None:
        tensor = operator.output
        if self.wide:
            offset = self.weight(f"{operator.name}/offset", operator.offset.reshape(-1, 1, 1))
            self.emit("Add", [self._float_pixels(), offset], tensor, True)
            return
        self.requantize(self._moved(quantization), f"{tensor}/levels", tensor, quantization)

    def _float_pixels(self) -> str:
        self.requantize(self._moved(PIXELS), f"{INPUT}/levels", f"{INPUT}/narrow", PIXELS)
        self.requantize(f"{INPUT}/narrow", f"{INPUT}/levels16", f"{INPUT}/wide", _WIDE_PIXELS)
        return f"{INPUT}/wide"

    def _moved(self, quantization: Quantization) -> str:
        self.dequantized(INPUT, f"{INPUT}/values", quantization)
        return self.node("Transpose", [f"{INPUT}/values"], f"{INPUT}/moved", perm=[0, 3, 1, 2])

    def weight(self, name: str, values: Any) -> str:
        held = Quantization.covering(float(values.min()), float(values.max()), 16)
        levels = self.constant(f"{name}/quantized", held.quantize(values))
        return self.dequantized(levels, name, held)

    def emit(
        self, kind: str, inputs: Sequence[str], tensor: str, quantized: bool, **attributes: Any
    ) -> None:
        if tensor != LOGITS:
            super().emit(kind, inputs, tensor, quantized, **attributes)
            return
        source = self.node(kind, inputs, f"{tensor}/float", **attributes)
        self.requantize(source, f"{tensor}/levels", tensor, self.quantizations[tensor])

    def read(self, operator: Operator, which: int = 0) -> str:
        source = super().read(operator, which)
        if operator.output != LOGITS or self.wide:
            return source
        self.requantize(source, f"{source}/levels16", f"{source}/wide", self.before_logits)
        return f"{source}/wide"

    def _quantized_constants(
        self, operator: Linear, source: Quantization, axes: tuple[int, ...]
    ) -> list[str]:
        if operator.output == LOGITS:
            source = self.before_logits
        return super()._quantized_constants(operator, source, axes)

    def flatten(self, pooled: str, tensor: str) -> None:
        held = self.quantizations[tensor]
        self.requantize(pooled, f"{tensor}/levels", f"{tensor}/map", held)
        flat = self.node("Flatten", [f"{tensor}/map"], f"{tensor}/flat")
        self.requantize(flat, f"{tensor}/quantized", tensor, held)


def _rectified(operator: Linear, recipe: Recipe) -> Quantization:
    """From zero to where the values end: what is beyond on either side saturates."""
    high = recipe.ranges[operator.output][1]
    high = min(high, _SIX) if operator.function == "relu6" else high
    return Quantization(high / _LEVELS_16, 0, 16)
