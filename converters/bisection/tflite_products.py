"""Products of int8 weights with floats: XNNPACK and LiteRT round the floats while they run."""

from __future__ import annotations

from collections import Counter
from copy import copy
from math import prod
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.bisection.tflite_edit import LEVELS, code_of, dequantized, is_constant

_Codes = schema.BuiltinOperator
_WITH_BIAS = 3
_LINEAR = schema.ActivationFunctionType.NONE


def multiplies_floats(model: Any, operator: Any) -> bool:
    """Whether an operator with weights has them in levels and reads floats."""
    tensors = model.subgraphs[0].tensors
    source, weights = (int(index) for index in operator.inputs[:2])
    return (
        tensors[source].type == schema.TensorType.FLOAT32
        and tensors[weights].type in LEVELS
        and is_constant(model, tensors, weights)
    )


def merge_scales(model: Any) -> None:
    """Makes the scales that follow a dense layer's products in levels those of its weights.

    Old interpreters know one scale only, so files hold the others in a MUL; those that run here
    know both forms, and as one operator they can return to float.
    """
    graph = model.subgraphs[0]
    read = Counter(int(index) for operator in graph.operators for index in operator.inputs)
    read.update(map(int, graph.outputs))
    makers = {int(operator.outputs[0]): operator for operator in graph.operators}
    left = []
    for operator in graph.operators:
        dense = makers.get(int(operator.inputs[0]))
        if dense is not None and read[dense.outputs[0]] == 1 and _scales(model, dense, operator):
            _merge(model, dense, operator)
        else:
            left.append(operator)
    graph.operators = left


def _scales(model: Any, dense: Any, multiply: Any) -> bool:
    """Whether `multiply` scales the channels of a dense layer's products in levels."""
    tensors = model.subgraphs[0].tensors
    return (
        code_of(model, multiply) == _Codes.MUL
        and code_of(model, dense) == _Codes.FULLY_CONNECTED
        and multiplies_floats(model, dense)
        and dense.builtinOptions.fusedActivationFunction == _LINEAR
        and len(dense.inputs) == _WITH_BIAS
        and is_constant(model, tensors, dense.inputs[2], numeric=True)
        and is_constant(model, tensors, multiply.inputs[1], numeric=True)
        and prod(tensors[multiply.inputs[1]].shape) == tensors[dense.outputs[0]].shape[-1]
    )


def _merge(model: Any, dense: Any, multiply: Any) -> None:
    tensors = model.subgraphs[0].tensors
    _, weights, bias = map(int, dense.inputs)
    factors = dequantized(model, tensors[multiply.inputs[1]]).reshape(-1)
    own = tensors[weights].quantization
    own.scale = np.broadcast_to(own.scale, factors.shape) * factors
    own.zeroPoint, own.quantizedDimension = np.zeros(factors.size, np.int64), 0
    buffer = copy(model.buffers[tensors[bias].buffer])
    buffer.data = (dequantized(model, tensors[bias]) * factors).view(np.uint8)
    model.buffers.append(buffer)
    tensors[bias].buffer = len(model.buffers) - 1
    dense.outputs = multiply.outputs
    dense.builtinOptions.fusedActivationFunction = multiply.builtinOptions.fusedActivationFunction
