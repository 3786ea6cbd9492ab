"""An ONNX graph in the making: nodes, constants, and the quantizers between them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from converters.scheme.parameters import Quantization

# Opset 17 and IR version 8 are what ONNX Runtime 1.13 (2022) reads.
OPSET, IR_VERSION = 17, 8
# The first with Gelu, ONNX 1.15 (2023), and the first that quantize to 16 bits, ONNX 1.16 (2024).
WITH_GELU = 20, 9
WITH_16_BITS = 21, 10


def channels_first(shape: Sequence[int]) -> list[int]:
    """The shape as ONNX holds it: maps are (batch, channels, height, width)."""
    return [shape[0], shape[3], shape[1], shape[2]] if len(shape) == 4 else list(shape)


class Nodes:
    """Nodes in order and the constants that they read; each node is named as what it makes."""

    def __init__(self) -> None:
        self.opset, self.ir_version = OPSET, IR_VERSION
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        # The tensors that went through levels under their own name.
        self.held: set[str] = set()

    def need(self, opset: int, ir_version: int) -> None:
        """Asks for versions no older than these."""
        self.opset, self.ir_version = max(self.opset, opset), max(self.ir_version, ir_version)

    def node(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Appends a node, named as what it makes; returns that name."""
        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def constant(self, name: str, values: Any) -> str:
        """Adds a constant once; returns its name."""
        self.constants.setdefault(
            name, numpy_helper.from_array(np.asarray(values, order="C"), name)
        )
        return name

    def dequantized(self, levels: str, name: str, quantization: Quantization) -> str:
        """Appends the reading of levels; returns the name of the values."""
        return self.node("DequantizeLinear", [levels, *self.parameters(name, quantization)], name)

    def parameters(self, name: str, quantization: Quantization) -> tuple[str, str]:
        """Adds the scale and the zero point of a tensor; returns their names."""
        return (
            self.constant(f"{name}/scale", np.float32(quantization.scale)),
            self.constant(f"{name}/zero_point", quantization.dtype(quantization.zero_point)),
        )

    def requantize(self, source: str, levels: str, result: str, quantization: Quantization) -> None:
        """Sends values through levels; `result` can be read as held."""
        parameters = self.parameters(result, quantization)
        self.node("QuantizeLinear", [source, *parameters], levels)
        self.node("DequantizeLinear", [levels, *parameters], result)
        self.held.add(result)

    def whole(
        self,
        name: str,
        inputs: Sequence[onnx.ValueInfoProto],
        outputs: Sequence[onnx.ValueInfoProto],
    ) -> onnx.ModelProto:
        """The model of all that was appended."""
        constants = list(self.constants.values())
        body = helper.make_graph(self.nodes, name, inputs, outputs, constants)
        opsets = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(body, opset_imports=opsets, producer_name="edgenet")
        model.ir_version = self.ir_version
        return model
