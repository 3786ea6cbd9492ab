"""What operators cost in time on a CPU, as exactly as choices need it.

The unit is one product in float. A vector instruction multiplies four times as many values in int8;
around the products engines differ. XNNPACK looks SiLU up in a table in int8 and takes two passes in
float; ONNX Runtime takes one pass in float and two slow ones in int8; OpenVINO makes it part of the
convolution in both. The floats that a 1×1 convolution reads XNNPACK can round, pixel by pixel, and
multiply in int8. The numbers are fits to the profiles (`edgenet bench --profile`) of
EfficientNet-B0's float, int8, mixed and dynamic files by one core of an AMD EPYC with AVX-512 VNNI,
where a product in float took 20 ps. What XNNPACK's float SiLU takes more on large maps is from a
Xeon with AMX, where B0's took .3 to .4 ns a value on maps below 1 MiB, and .6 to .95 on larger
ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import inf, prod

from converters.graph import (
    Activation,
    Affine,
    Convolution,
    Graph,
    Lifted,
    Linear,
    Multiply,
    Operator,
    is_silu,
)

# Of each byte of weights, which come from memory at every run: a dense layer spends its time on it.
_BYTE = 2.0
# A core's own cache holds both what is read of a map of this size and what is made of it.
_NEAR_BYTES = 2**20


@dataclass(frozen=True, kw_only=True)
class _Kernels:
    """The times of an engine's kernels, as multiples of that of one product in float.

    Attributes:
        call: Of each operator, whatever its size.
        product: Of each multiplication in a convolution or dense layer.
        depthwise: Of each multiplication in a depthwise convolution.
        made: Of each value that any of these makes.
        silu: Of each value of SiLU.
        function: Of each value of another activation.
        multiply: Of each value of a product of two maps.
        scale: Of each value of a product by channel.
        other: Of each value of any other operator.
        bytes: The size of a value, and of a weight.
        far: What each value of SiLU takes longer where the map exceeds a core's own cache.
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
    bytes: int
    far: float = 0

    def time(self, graph: Graph, operator: Operator) -> float:
        shape = graph.shapes[operator.output]
        values = prod(shape)
        if not isinstance(operator, Linear):
            value = self._value(operator, self.bytes * values)
            # An operator that costs nothing is computed within another one, without a call.
            return self.call + value * values if value else 0.0
        depthwise = isinstance(operator, Convolution) and operator.depthwise
        product = self.depthwise if depthwise else self.product
        multiplied = product * shape[0] * operator.macs(shape)
        read = _BYTE * self.bytes * operator.weights.size
        return self.call + multiplied + self.made * values + read

    def _value(self, operator: Operator, size: int) -> float:
        if is_silu(operator):
            return self.silu if size <= _NEAR_BYTES else self.silu + self.far
        if isinstance(operator, Activation):
            return self.function
        if isinstance(operator, Multiply):
            return self.multiply
        if isinstance(operator, Lifted):
            # Only formats for whose engine it costs nothing have it.
            return 0.0
        return self.scale if isinstance(operator, Affine) else self.other


@dataclass(frozen=True)
class _Engine:
    """An engine's kernels in int8 and in float, and the times of what passes between them.

    Attributes:
        int8: Its kernels in int8.
        fp32: Its kernels in float.
        border: Of each value that is quantized or dequantized.
        pixel: Of each pixel of floats that is rounded as it is read, to be multiplied in int8;
            infinite where no fast kernel does so.
        pixel_value: Of each value of such a pixel.
    """

    int8: _Kernels
    fp32: _Kernels
    border: float
    pixel: float = inf
    pixel_value: float = inf

    def float_time(self, graph: Graph, operator: Operator) -> float:
        return min(self.fp32.time(graph, operator), self.rounded_time(graph, operator))

    def rounded_time(self, graph: Graph, operator: Operator) -> float:
        if not reads_pixels(graph, operator):
            return inf
        *pixels, values = graph.shapes[operator.inputs[0]]
        rounding = prod(pixels) * (self.pixel + self.pixel_value * values)
        return rounding + replace(self.int8, made=self.fp32.made).time(graph, operator)


# At a border ONNX Runtime moves maps to another layout.
_ENGINES: Mapping[str, _Engine] = {
    "tflite": _Engine(
        int8=_Kernels(
            call=0,
            product=0.3,
            depthwise=2.8,
            made=5,
            silu=5,
            function=5,
            multiply=13,
            scale=14,
            other=7,
            bytes=1,
        ),
        fp32=_Kernels(
            call=0,
            product=1,
            depthwise=3.4,
            made=1,
            silu=18,
            function=11,
            multiply=5,
            scale=5,
            other=8,
            bytes=4,
            far=20,
        ),
        border=4,
        pixel=1400,
        pixel_value=10,
    ),
    "onnx": _Engine(
        int8=_Kernels(
            call=250e3,
            product=0.3,
            depthwise=2.2,
            made=4,
            silu=27,
            function=14,
            multiply=13,
            scale=12,
            other=13,
            bytes=1,
        ),
        fp32=_Kernels(
            call=200e3,
            product=1,
            depthwise=1.7,
            made=1,
            silu=16,
            function=8,
            multiply=17,
            scale=5,
            other=2,
            bytes=4,
        ),
        border=25,
    ),
    "openvino": _Engine(
        int8=_Kernels(
            call=250e3,
            product=0.3,
            depthwise=2.3,
            made=7,
            silu=25,
            function=25,
            multiply=9,
            scale=0,
            other=10,
            bytes=1,
        ),
        fp32=_Kernels(
            call=250e3,
            product=1,
            depthwise=1.5,
            made=1,
            silu=25,
            function=25,
            multiply=5,
            scale=0,
            other=1,
            bytes=4,
        ),
        border=8,
    ),
}


def in_int8(graph: Graph, operator: Operator, format: str) -> float:
    """The time of an operator in int8, in a format's engine."""
    return _ENGINES[format].int8.time(graph, operator)


def in_float(graph: Graph, operator: Operator, format: str) -> float:
    """The time of an operator that reads and makes floats, in a format's engine."""
    return _ENGINES[format].float_time(graph, operator)


def at_border(values: int, format: str) -> float:
    """The time of so many values that pass between int8 and float, in a format's engine."""
    return _ENGINES[format].border * values


def all_in_int8(graph: Graph, format: str) -> float:
    """The time of a graph in int8, in a format's engine."""
    return sum(in_int8(graph, operator, format) for operator in graph.operators)


def reads_pixels(graph: Graph, operator: Operator) -> bool:
    """Whether an operator is a 1×1 convolution of a map: each pixel is made of one other."""
    return (
        isinstance(operator, Convolution)
        and not operator.depthwise
        and operator.kernel == operator.strides == (1, 1)
        and not graph.is_vector(operator.output)
    )


def rounds_pixels(graph: Graph, operator: Operator, format: str) -> bool:
    """Whether a 1×1 convolution of floats is faster where an engine rounds them for it.

    Its products are in int8 then. Each pixel is rounded in the range of its own values, so that
    little is lost by it: with 8 bits for weights, .15 dB of 22.8 for block7a of EfficientNet-B0.
    """
    engine = _ENGINES[format]
    return engine.rounded_time(graph, operator) < engine.fp32.time(graph, operator)
