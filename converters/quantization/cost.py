"""What operators cost in time on a CPU, as far as choices need it; in products in float.

A vector instruction multiplies four times as many values in int8; each sum then goes through two
quantizers' worth of steps, one for the scale and one for the level. A quantizer loads, divides,
adds, rounds, clamps and stores; SiLU is a sigmoid and a product, each with its own. Depthwise
convolutions and functions of single values are no faster in int8. Weights come from memory at every
run, in float four bytes each: what a dense layer spends its time on.
"""

from __future__ import annotations

from math import prod

from converters.graph import Convolution, Graph, Lifted, Linear, Operator, Unscaled, is_silu

_QUANTIZER = 6.0
# A value that passes between int8 and float is also moved, where the engine holds float maps in
# another layout: ONNX Runtime spent 50 on each of B0's, TFLite under 10.
BORDER = 30.0
_REQUANTIZED = 2 * _QUANTIZER
# A gain of SiLU divided out again costs a pass that multiplies by channel, and XNNPACK another: it
# has one table for SiLU, and none for a product with another sigmoid's. B0's took 12 a value in
# ONNX Runtime and 18 there.
_DIVIDED_OUT = 15.0
_INT8_PRODUCT = 0.25
# A byte of weights: B0's last layer took ONNX Runtime as long as 15 products a weight in float, and
# 4 in int8.
_BYTE = 4.0


def in_int8(graph: Graph, operator: Operator) -> float:
    """The time of an operator in int8."""
    values = prod(graph.shapes[operator.output])
    if isinstance(operator, Lifted):
        # It is made only where it is for nothing.
        return 0.0
    if isinstance(operator, Unscaled):
        return _DIVIDED_OUT * values
    if not isinstance(operator, Linear):
        return _QUANTIZER * values * (2 if is_silu(operator) else 1)
    product = 1.0 if _is_depthwise(operator) else _INT8_PRODUCT
    multiplied = product * operator.macs(graph.shapes[operator.output])
    return multiplied + _REQUANTIZED * values + _BYTE * operator.weights.size


def spared_by_int8(graph: Graph, operator: Operator) -> float:
    """How much more time it takes in float."""
    if not isinstance(operator, Linear) or _is_depthwise(operator):
        return 0.0
    output = graph.shapes[operator.output]
    multiplied = (1 - _INT8_PRODUCT) * operator.macs(output)
    read = (4 - 1) * _BYTE * operator.weights.size
    return max(multiplied + read - _REQUANTIZED * prod(output), 0.0)


def _is_depthwise(operator: Operator) -> bool:
    return isinstance(operator, Convolution) and operator.depthwise
