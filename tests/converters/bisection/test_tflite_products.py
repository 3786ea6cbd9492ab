"""The scales behind a dense layer's products become those of its weights, where nothing is lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from converters.bisection.tflite_edit import code_of, dequantized
from converters.bisection.tflite_products import merge_scales, multiplies_floats

_Codes = schema.BuiltinOperator


@pytest.fixture
def model(frozen) -> Any:
    file = frozen["b"].file("tflite", "int8").read_bytes()
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(file, 0))


def dense_and_scales(model: Any) -> tuple[Any, Any]:
    operators = model.subgraphs[0].operators
    (place,) = (n for n, op in enumerate(operators) if code_of(model, op) == _Codes.FULLY_CONNECTED)
    return operators[place], operators[place + 1]


def test_one_operator_is_left_with_a_scale_for_each_class(model):
    graph = model.subgraphs[0]
    dense, scales = dense_and_scales(model)
    assert multiplies_floats(model, dense)
    weights, factors = graph.tensors[dense.inputs[1]], graph.tensors[scales.inputs[1]]
    wanted = dequantized(model, weights) * dequantized(model, factors)[:, None]
    answer, count = scales.outputs[0], len(graph.operators)
    merge_scales(model)
    assert len(graph.operators) == count - 1
    assert dense.outputs[0] == answer
    np.testing.assert_allclose(dequantized(model, weights), wanted, rtol=1e-6)


@pytest.mark.parametrize("reason", ["read elsewhere", "one factor", "a function first"])
def test_what_is_no_scale_of_weights_stays(model, reason):
    graph = model.subgraphs[0]
    dense, scales = dense_and_scales(model)
    if reason == "read elsewhere":
        graph.outputs = np.append(graph.outputs, dense.outputs[0])
    elif reason == "one factor":
        factor = graph.tensors[scales.inputs[1]]
        factor.shape = np.array([], np.int32)
        model.buffers[factor.buffer].data = np.float32([0.5]).view(np.uint8)
    else:
        dense.builtinOptions.fusedActivationFunction = schema.ActivationFunctionType.RELU
    count = len(graph.operators)
    merge_scales(model)
    assert len(graph.operators) == count
