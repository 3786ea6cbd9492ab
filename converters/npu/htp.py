"""ONNX for Qualcomm's Hexagon Tensor Processor (HTP): QDQ without a float in between.

The provider takes a node if all that it reads and makes goes through a quantizer, so the pixels are
levels from the start, the logits have 16 bits, and flattening has quantizers too. Softmax alone
computes in float (the HTP's is fp16): in levels its small values would tie. Where the normalization
is not exact in 8 bits, and in w8a16, pixels lose their mean in 16. Levels of 16 bits are unsigned,
with a zero point anywhere: ranges need not be symmetric, and the quantizer of a ReLU saturates.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from converters.formats import onnx as plain
from converters.formats.onnx_nodes import WITH_16_BITS
from converters.graph import (
    INPUT,
    Affine,
    Graph,
    Linear,
    Moving,
    Operator,
)
from converters.scheme.parameters import PIXELS, SMALLEST_SCALE, Quantization
from converters.scheme.recipe import Recipe

_LEVELS_16 = 2**16 - 1
# Where functions end, ranges do. Finer steps pay: the HTP errs by a step or two where other kernels
# round, and depthwise convolutions amplify that. On 24 photos B0 kept 26.8 dB of the float model
# so, and 19.9 with symmetric levels.
_BOUNDS = {
    "relu": (0.0, inf),
    "relu6": (0.0, 6.0),
    "sigmoid": (0.0, 1.0),
    # The minimum of x · sigmoid(x).
    "silu": (-0.2785, inf),
}
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
    least_row = inf
    # The bias of a dead channel at 2^30 comes out as the largest value there is.
    bias_limit = 2**26

    def __init__(self, graph: Graph, precision: str, recipe: Recipe) -> None:
        super().__init__(graph, precision, recipe)
        self.need(*WITH_16_BITS)
        read = {name for tensor in graph.unrounded for name in graph.producers[tensor].inputs}
        self.widened = {
            name: Quantization.covering(*recipe.ranges[name], 16) for name in read | graph.unrounded
        }
        self.quantizations |= {name: self.widened[name] for name in graph.unrounded}
        if self.wide:
            self.quantizations = {INPUT: PIXELS, **_wide_quantizations(graph, recipe)}
            self.widened = self.quantizations

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

    def pixel_offset(self, operator: Affine, values: Any) -> str:
        return self.weight(f"{operator.name}/offset", values)

    def emit(
        self, kind: str, inputs: Sequence[str], tensor: str, quantized: bool, **attributes: Any
    ) -> None:
        if tensor not in self.unrounded:
            super().emit(kind, inputs, tensor, quantized, **attributes)
            return
        source = self.node(kind, inputs, f"{tensor}/float", **attributes)
        self.requantize(source, f"{tensor}/levels", tensor, self.quantizations[tensor])

    def read(self, operator: Operator, which: int = 0) -> str:
        source, tensor = super().read(operator, which), operator.inputs[which]
        if operator.output not in self.unrounded or self.wide or tensor in self.unrounded:
            return source
        if f"{source}/wide" not in self.held:
            levels = f"{source}/levels16"
            self.requantize(source, levels, f"{source}/wide", self.widened[tensor])
        return f"{source}/wide"

    def quantized_constants(
        self, operator: Linear, source: Quantization, axes: tuple[int, ...]
    ) -> list[str]:
        if operator.output in self.unrounded:
            source = self.widened[operator.inputs[0]]
        return super().quantized_constants(operator, source, axes)

    def flatten(self, pooled: str, tensor: str) -> None:
        held = self.quantizations[tensor]
        self.requantize(pooled, f"{tensor}/levels", f"{tensor}/map", held)
        flat = self.node("Flatten", [f"{tensor}/map"], f"{tensor}/flat")
        self.requantize(flat, f"{tensor}/quantized", tensor, held)


def _wide_quantizations(graph: Graph, recipe: Recipe) -> dict[str, Quantization]:
    """uint16 that covers each range and no more."""
    chosen: dict[str, Quantization] = {}
    for operator in graph.operators:
        tensor, source = operator.output, operator.inputs[0]
        if isinstance(operator, Moving) and source in chosen:
            chosen[tensor] = chosen[source]
        elif tensor in recipe.ranges:
            chosen[tensor] = _unsigned(*_ends(operator, recipe))
    return chosen


def _ends(operator: Operator, recipe: Recipe) -> tuple[float, float]:
    """The range of what an operator makes, where its function ends too."""
    low, high = recipe.ranges[operator.output]
    function = getattr(operator, "function", "linear")
    least, most = _BOUNDS.get(function, (low, high))
    return max(low, least), most if function == "sigmoid" else min(high, most)


def _unsigned(low: float, high: float) -> Quantization:
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32(max((high - low) / _LEVELS_16, SMALLEST_SCALE)))
    return Quantization(scale, round(-low / scale), 16)
