"""Levels and values are those of ONNX Runtime, to the bit."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from onnx import TensorProto, helper

from converters.bisection.onnx_wiring import QuantizationParameters, Wiring

KINDS = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8, np.int16: TensorProto.INT16}
AXIS = 1


@cache
def engine(kind: type) -> Any:
    """Rounds what it gets, 3×4, along its second axis; hands out levels and what they stand for."""
    import onnxruntime

    def info(name: str, type: int, *shape: int) -> Any:
        return helper.make_tensor_value_info(name, type, shape)

    graph = helper.make_graph(
        [
            helper.make_node("QuantizeLinear", ["values", "scale", "zero"], ["levels"], axis=AXIS),
            helper.make_node("DequantizeLinear", ["levels", "scale", "zero"], ["back"], axis=AXIS),
        ],
        "rounding",
        [
            info("values", TensorProto.FLOAT, 3, 4),
            info("scale", TensorProto.FLOAT, 4),
            info("zero", KINDS[kind], 4),
        ],
        [info("levels", KINDS[kind], 3, 4), info("back", TensorProto.FLOAT, 3, 4)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_a_quantizer_gives_the_engines_levels_and_values(kind, data):
    values = data.draw(arrays(np.float32, (3, 4), elements=st.floats(-300, 300, width=32)))
    scale = data.draw(arrays(np.float32, 4, elements=st.floats(2**-10, 2, width=32)))
    ends = np.iinfo(kind)
    zero = data.draw(arrays(kind, 4, elements=st.integers(ends.min, ends.max)))
    levels, back = engine(kind).run(None, {"values": values, "scale": scale, "zero": zero})
    held = QuantizationParameters(scale, zero, AXIS)
    assert np.array_equal(held.quantized(values), levels)
    assert np.array_equal(held.dequantized(levels), back)


def test_a_zero_point_that_is_left_out_is_of_the_type_that_is_named():
    scale = helper.make_tensor("scale", TensorProto.FLOAT, (), [0.5])
    plain = helper.make_node("QuantizeLinear", ["values", "scale"], ["plain"])
    named = helper.make_node("QuantizeLinear", ["values", "scale"], ["named"])
    named.attribute.append(helper.make_attribute("output_dtype", int(TensorProto.INT8)))
    wiring = Wiring(helper.make_graph([plain, named], "rounding", [], [], [scale]))
    values = np.float32([-100, 1, 200])
    assert wiring.quantization(plain).quantized(values).tolist() == [0, 2, 255]
    assert wiring.quantization(named).quantized(values).tolist() == [-128, 2, 127]


def test_a_scale_that_is_handed_on_is_the_one_that_it_was():
    scale = helper.make_tensor("scale", TensorProto.FLOAT, (), [0.5])
    handing = helper.make_node("Identity", ["scale"], ["handed"])
    node = helper.make_node("QuantizeLinear", ["values", "handed"], ["levels"])
    wiring = Wiring(helper.make_graph([handing, node], "rounding", [], [], [scale]))
    assert wiring.quantization(node).quantized(np.float32([1])).tolist() == [2]
    assert not wiring.is_step(handing)
