"""Editing a TFLite file: int8 operators return to float one by one, borders appear where needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from converters.formats.tflite_file import AlignedBuffer
from converters.graph import Floats

_Codes = schema.BuiltinOperator
_Types = schema.TensorType
_FLOAT32 = _Types.FLOAT32
_BIAS_TYPES = {_Types.INT32: np.int32, _Types.INT64: np.int64}
LEVELS: Mapping[int, type[np.integer[Any]]] = {
    _Types.INT8: np.int8,
    _Types.UINT8: np.uint8,
    _Types.INT16: np.int16,
}
"""The types of quantized tensors of activations."""


def code_of(model: Any, operator: Any) -> int:
    """The builtin operator; files from before 2020 have it in the one-byte field alone."""
    code = model.operatorCodes[operator.opcodeIndex]
    return max(int(code.builtinCode), int(code.deprecatedBuiltinCode))


def is_constant(model: Any, tensors: Sequence[Any], index: int, numeric: bool = False) -> bool:
    """Whether a tensor is a constant; `numeric` leaves out axes, shapes and the like."""
    if index < 0:
        return False
    tensor = tensors[index]
    data = model.buffers[tensor.buffer].data
    if data is None or not len(data):
        return False
    return not numeric or tensor.type == _FLOAT32 or scaled(tensor)


def dequantized(model: Any, tensor: Any) -> Floats:
    """The values of a constant, in float32."""
    data = np.asarray(model.buffers[tensor.buffer].data, np.uint8)
    if tensor.type == _FLOAT32:
        return data.view(np.float32).reshape(tensor.shape)
    levels = data.view({**LEVELS, **_BIAS_TYPES}[tensor.type]).reshape(tensor.shape)
    parameters = tensor.quantization
    along = [1] * levels.ndim
    if len(parameters.scale) > 1:
        along[parameters.quantizedDimension] = -1
    zero_points = np.asarray(parameters.zeroPoint, np.float64).reshape(along)
    scales = np.asarray(parameters.scale, np.float64).reshape(along)
    return ((levels - zero_points) * scales).astype(np.float32)


def scaled(tensor: Any) -> bool:
    """Whether a tensor's numbers are levels of a scale."""
    parameters = tensor.quantization
    return parameters is not None and parameters.scale is not None and len(parameters.scale) > 0


def ends_of_products(model: Any) -> dict[int, float]:
    """By an operator's id, the largest value of products that are meant to end there.

    Where a map is held in two pieces the same tensors are multiplied twice, and the finer product
    ends at its last level.
    """
    graph = model.subgraphs[0]
    products: dict[tuple[int, ...], list[Any]] = {}
    for operator in graph.operators:
        made = graph.tensors[operator.outputs[0]]
        if code_of(model, operator) == _Codes.MUL and made.type in LEVELS:
            products.setdefault(tuple(map(int, operator.inputs)), []).append(operator)
    ends: dict[int, float] = {}
    for operators in products.values():
        found = {id(op): _end(graph.tensors[op.outputs[0]]) for op in operators}
        coarsest = max(found.values())
        ends |= {operator: end for operator, end in found.items() if end < coarsest}
    return ends


def _end(tensor: Any) -> float:
    parameters = tensor.quantization
    last = np.iinfo(LEVELS[tensor.type]).max
    return float((last - parameters.zeroPoint[0]) * parameters.scale[0])


class Edit:
    """A copy of a file that grows operator by operator; the file itself stays as it is.

    Where something has returned to float, an int8 tensor and its float form may both exist.
    """

    def __init__(self, model: Any) -> None:
        self._source = model
        self._model = copy(model)
        graph = model.subgraphs[0]
        self._model.buffers = [AlignedBuffer(data=buffer.data) for buffer in model.buffers]
        self._model.operatorCodes = list(model.operatorCodes)
        self._model.signatureDefs = None
        # Names of runtime buffers, tied to the old layout; no engine needs them.
        self._model.metadata = None
        self._graph = copy(graph)
        self._graph.tensors, self._graph.operators = list(graph.tensors), []
        self._model.subgraphs = [self._graph]
        # By quantized tensor, the float one that it is rounded from, in an island or at a QUANTIZE.
        self._floats: dict[int, int] = {}
        # Those of them that are rounded already, for operators that stay in int8.
        self._rounded: set[int] = set()
        # By quantized tensor that int8 makes, its dequantized form for operators in float.
        self._wide: dict[int, int] = {}
        # By float tensor of the file that a DEQUANTIZE made, the one in the copy that replaces it.
        self._aliases: dict[int, int] = {}

    def kept(self, operator: Any, code: int) -> None:
        """Adds an operator as it is, but for QUANTIZE and DEQUANTIZE of what is in float anyway."""
        source, output = int(operator.inputs[0]), int(operator.outputs[0])
        if code == _Codes.DEQUANTIZE and source in self._floats:
            self._aliases[output] = self._floats[source]
            return
        if code == _Codes.QUANTIZE and self._graph.tensors[source].type == _FLOAT32:
            # Rounded only where an int8 operator asks for it.
            self._floats[output] = self._aliases.get(source, source)
            return
        self._append(operator, [self._as_held(index) for index in operator.inputs])

    def returned(
        self, operator: Any, constants: Sequence[Floats], end: float | None = None
    ) -> None:
        """Adds an int8 operator as a float one, its quantized constants replaced in order.

        What it makes ends at `end`, where that is given.
        """
        pending = iter(constants)
        inputs = []
        for index in map(int, operator.inputs):
            if is_constant(self._source, self._graph.tensors, index, numeric=True):
                inputs.append(self._constant(index, next(pending)))
            else:
                inputs.append(self._as_float(index))
        output = int(operator.outputs[0])
        if self._graph.tensors[output].type != _FLOAT32:
            self._floats[output] = self._tensor(output, _FLOAT32, "float")
        self._append(operator, inputs, self.value(output))
        if end is not None:
            self._floats[output] = self._ended(output, end)

    def shadow(self, operator: Any) -> int:
        """Adds an int8 operator a second time, on rounded float inputs; returns what it makes."""
        output = int(operator.outputs[0])
        second = self._tensor(output, self._graph.tensors[output].type, "alone")
        self._append(operator, [self._as_held(index) for index in operator.inputs], second)
        return second

    def value(self, index: int) -> int:
        """The tensor that holds what `index` held, in float where it has become float."""
        return self._floats.get(index, self._aliases.get(index, index))

    def finish(self, outputs: Sequence[int]) -> bytes:
        """The file that hands out these tensors."""
        self._graph.outputs = np.array(outputs, np.int32)
        size = sum(len(b.data) for b in self._model.buffers if b.data is not None)
        builder = flatbuffers.Builder(size + 2**18)
        builder.Finish(self._model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _as_held(self, index: int) -> int:
        """A tensor in the form that the file has it in, rounded first if it is float by now."""
        index = int(index)
        if index in self._floats and index not in self._rounded:
            self._rounded.add(index)
            self._border(_Codes.QUANTIZE, self._floats[index], index)
        return self._aliases.get(index, index)

    def _as_float(self, index: int) -> int:
        """A tensor in float, dequantized first if it is in int8."""
        if index in self._floats:
            return self._floats[index]
        index = self._aliases.get(index, index)
        if index < 0 or self._graph.tensors[index].type not in LEVELS:
            return index
        if index not in self._wide:
            self._wide[index] = self._tensor(index, _FLOAT32, "wide")
            self._border(_Codes.DEQUANTIZE, index, self._wide[index])
        return self._wide[index]

    def _tensor(self, like: int, kind: int, suffix: str) -> int:
        """A new tensor of another's shape, in a type of its own."""
        tensor = copy(self._graph.tensors[like])
        tensor.name = self._graph.tensors[like].name + f"/{suffix}".encode()
        tensor.type, tensor.buffer = kind, 0
        if kind == _FLOAT32:
            tensor.quantization = None
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def _constant(self, like: int, values: Floats) -> int:
        index = self._tensor(like, _FLOAT32, "float")
        data = np.ascontiguousarray(values, np.float32).reshape(-1).view(np.uint8)
        self._model.buffers.append(AlignedBuffer(data=data))
        self._graph.tensors[index].buffer = len(self._model.buffers) - 1
        return index

    def _ended(self, like: int, end: float) -> int:
        """The smaller of what was made for a tensor in float and of its last level."""
        most = self._constant(like, np.array([end], np.float32))
        self._graph.tensors[most].shape = np.array([1], np.int32)
        ended = self._tensor(like, _FLOAT32, "ended")
        self._add(_Codes.MINIMUM, 1, [self._floats[like], most], ended)
        return ended

    def _append(self, operator: Any, inputs: Sequence[int], output: int | None = None) -> None:
        added = copy(operator)
        added.inputs = np.array(inputs, np.int32)
        if output is not None:
            added.outputs = np.array([output], np.int32)
        self._graph.operators.append(added)

    def _border(self, code: int, source: int, output: int) -> None:
        self._add(code, 2 if code == _Codes.DEQUANTIZE else 1, [source], output)

    def _add(self, code: int, version: int, inputs: Sequence[int], output: int) -> None:
        self._model.operatorCodes.append(
            schema.OperatorCodeT(deprecatedBuiltinCode=code, builtinCode=code, version=version)
        )
        self._graph.operators.append(
            schema.OperatorT(
                opcodeIndex=len(self._model.operatorCodes) - 1,
                inputs=np.array(inputs, np.int32),
                outputs=np.array([output], np.int32),
            )
        )
