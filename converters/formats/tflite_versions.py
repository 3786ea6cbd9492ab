"""The version that a TFLite operator needs for what it reads and makes.

From tensorflow/lite/tools/versioning/op_version.cc. An interpreter refuses a version that it does
not know, so each is the first that does what is asked.
"""

from __future__ import annotations

from ai_edge_litert import schema_py_generated as schema

_Codes = schema.BuiltinOperator
_Types = schema.TensorType
# By what the operator reads first: the version of most operators, and the others.
_BY_TYPE: dict[int, tuple[int, dict[int, int]]] = {
    _Types.FLOAT32: (1, {}),
    _Types.FLOAT16: (3, {}),
    _Types.UINT8: (1, {}),
    _Types.INT8: (
        2,
        {
            _Codes.CONV_2D: 3,
            _Codes.DEPTHWISE_CONV_2D: 3,
            _Codes.ELU: 1,
            _Codes.FULLY_CONNECTED: 4,
            _Codes.LEAKY_RELU: 1,
            _Codes.RESHAPE: 1,
        },
    ),
    _Types.INT16: (
        3,
        {
            _Codes.CONV_2D: 4,
            _Codes.DEPTHWISE_CONV_2D: 5,
            _Codes.FULLY_CONNECTED: 7,
            _Codes.LEAKY_RELU: 2,
            _Codes.MUL: 4,
            _Codes.RESHAPE: 1,
        },
    ),
}
# Those that read floats and have int8 weights: a convolution with a scale for each channel, and a
# dense layer that rounds what it reads about any zero point.
_HYBRID = {_Codes.CONV_2D: 5, _Codes.FULLY_CONNECTED: 9}
_DEQUANTIZE_BY_CHANNEL = 5
_QUANTIZE_TO_INT16 = 2


def version(code: int, inputs: list[int], output: int, by_channel: bool) -> int:
    """The version of an operator.

    Args:
        code: The builtin operator.
        inputs: The types of what it reads.
        output: The type of what it makes.
        by_channel: Whether its first input has a scale for each channel.
    """
    if code == _Codes.QUANTIZE and output == _Types.INT16:
        return _QUANTIZE_TO_INT16
    if code == _Codes.DEQUANTIZE and by_channel:
        return _DEQUANTIZE_BY_CHANNEL
    if code in _HYBRID and inputs[:2] == [_Types.FLOAT32, _Types.INT8]:
        return _HYBRID[code]
    most, others = _BY_TYPE[inputs[0]]
    return others.get(code, most)
