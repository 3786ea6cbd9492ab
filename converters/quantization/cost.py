"""What operators cost in time on a CPU, as far as choices need it; in products in float.

A vector instruction multiplies four times as many values in int8; around the products engines
differ. XNNPACK looks SiLU up in a table in int8 and takes two passes in float; ONNX Runtime takes
one pass in float and two slow ones in int8; OpenVINO makes it part of the convolution in both. The
numbers are fits to the profiles (`edgenet bench --profile`) of EfficientNet-B0's float, int8 and
mixed files by one core of an AMD EPYC with AVX-512 VNNI, where a product in float took 20 ps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from converters.graph import (
    Activation,
    Affine,
    Convolution,
    Graph,
    Lifted,
    Linear,
    Multiply,
    Operator,
    Unscaled,
    is_silu,
)

# Weights come from memory at every run: what a dense layer spends its time on.
_BYTE = 2.0


@dataclass(frozen=True)
class _Kernels:
    """What an engine takes in int8 or in float.

    `call` is for each operator, `product` and `depthwise` for each product of a convolution or a
    dense layer and of a depthwise convolution, `made` for each value that they make. The others are
    for each value: of SiLU, of another function, of a product of two maps, of one by channel, and
    of what remains.
    """

    call: float
    product: float
    depthwise: float
    made: float
    silu: float
    function: float
    multiply: float
    scale: float
    other: float
    weight_bytes: int

    def time(self, graph: Graph, operator: Operator) -> float:
        values = prod(graph.shapes[operator.output])
        if not isinstance(operator, Linear):
            value = self._value(operator)
            # What is for nothing is part of another operator.
            return self.call + value * values if value else 0.0
        depthwise = isinstance(operator, Convolution) and operator.depthwise
        product = self.depthwise if depthwise else self.product
        multiplied = product * operator.macs(graph.shapes[operator.output])
        read = _BYTE * self.weight_bytes * operator.weights.size
        return self.call + multiplied + self.made * values + read

    def _value(self, operator: Operator) -> float:
        if isinstance(operator, Activation):
            return self.silu if is_silu(operator) else self.function
        if isinstance(operator, Multiply):
            return self.multiply
        if isinstance(operator, Lifted):
            # It is made only where it is for nothing.
            return 0.0
        return self.scale if isinstance(operator, Affine | Unscaled) else self.other


_INT8: Mapping[str, _Kernels] = {
    "tflite": _Kernels(
        call=0,
        product=0.3,
        depthwise=2.8,
        made=5,
        silu=5,
        function=5,
        multiply=13,
        scale=14,
        other=7,
        weight_bytes=1,
    ),
    "onnx": _Kernels(
        call=250e3,
        product=0.3,
        depthwise=2.2,
        made=4,
        silu=27,
        function=14,
        multiply=13,
        scale=12,
        other=13,
        weight_bytes=1,
    ),
    "openvino": _Kernels(
        call=250e3,
        product=0.3,
        depthwise=2.3,
        made=7,
        silu=25,
        function=25,
        multiply=9,
        scale=0,
        other=10,
        weight_bytes=1,
    ),
}
_FLOAT: Mapping[str, _Kernels] = {
    "tflite": _Kernels(
        call=0,
        product=1,
        depthwise=3.4,
        made=1,
        silu=18,
        function=11,
        multiply=5,
        scale=5,
        other=8,
        weight_bytes=4,
    ),
    "onnx": _Kernels(
        call=200e3,
        product=1,
        depthwise=1.7,
        made=1,
        silu=16,
        function=8,
        multiply=17,
        scale=5,
        other=2,
        weight_bytes=4,
    ),
    "openvino": _Kernels(
        call=250e3,
        product=1,
        depthwise=1.5,
        made=1,
        silu=25,
        function=25,
        multiply=5,
        scale=0,
        other=1,
        weight_bytes=4,
    ),
}
# For each value that passes between int8 and float; ONNX Runtime moves it to another layout, too.
_BORDER = {"tflite": 4.0, "onnx": 25.0, "openvino": 8.0}


def in_int8(graph: Graph, operator: Operator, format: str) -> float:
    """The time of an operator in int8, in a format's engine."""
    return _INT8[format].time(graph, operator)


def in_float(graph: Graph, operator: Operator, format: str) -> float:
    """The time of an operator in float, in a format's engine."""
    return _FLOAT[format].time(graph, operator)


def at_border(values: int, format: str) -> float:
    """The time of so many values that pass between int8 and float, in a format's engine."""
    return _BORDER[format] * values


def of_all(graph: Graph, format: str) -> float:
    """The time of a graph in int8, in a format's engine."""
    return sum(in_int8(graph, operator, format) for operator in graph.operators)
