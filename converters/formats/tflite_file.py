"""Writing a .tflite file: tensors, operators and buffers by the TFLite schema (version 3)."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.formats.tflite_versions import version
from converters.scheme.parameters import Quantization

SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
# The schema's force_align of a buffer's data: an interpreter reads constants in place.
_ALIGNMENT = 16
_TYPES = {
    np.dtype(np.float32): schema.TensorType.FLOAT32,
    np.dtype(np.float16): schema.TensorType.FLOAT16,
    np.dtype(np.int32): schema.TensorType.INT32,
    np.dtype(np.uint8): schema.TensorType.UINT8,
    np.dtype(np.int8): schema.TensorType.INT8,
    np.dtype(np.int16): schema.TensorType.INT16,
    np.dtype(np.int64): schema.TensorType.INT64,
}


class AlignedBuffer(schema.BufferT):  # type: ignore[misc]
    """A constant's bytes where the schema wants them: the generated code aligns to one."""

    def Pack(self, builder: Any) -> int:  # noqa: N802 (the generated class names it)
        """Writes it, as `BufferT.Pack` does, at a multiple of the schema's alignment."""
        if self.data is None:
            return int(super().Pack(builder))
        builder.StartVector(1, self.data.size, _ALIGNMENT)
        builder.head -= self.data.size
        builder.Bytes[builder.head : builder.head + self.data.size] = self.data.tobytes()
        data = builder.EndVector()
        schema.BufferStart(builder)
        schema.BufferAddData(builder, data)
        return int(schema.BufferEnd(builder))


class TFLiteFile:
    """One subgraph that grows tensor by tensor and operator by operator."""

    def __init__(self, name: str) -> None:
        self._model = schema.ModelT(version=SCHEMA_VERSION, description="edgenet", operatorCodes=[])
        self._model.buffers = [AlignedBuffer()]
        self._graph = schema.SubGraphT(name=name, tensors=[], operators=[], inputs=[], outputs=[])
        self._codes: dict[tuple[int, int], int] = {}
        self._buffers: dict[bytes, int] = {}

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: type[np.generic],
        quantization: Quantization | None = None,
    ) -> int:
        """Adds a tensor that an operator or the caller fills; returns its index."""
        parameters = None
        if quantization is not None:
            # The recipe's zero points are for unsigned levels; signed ones are the same shifted.
            signed = np.issubdtype(dtype, np.signedinteger)
            zero_point = quantization.zero_point - (2 ** (quantization.bits - 1) if signed else 0)
            parameters = _parameters(
                np.array([quantization.scale], np.float32), np.array([zero_point], np.int64), 0
            )
        return self._add(name, shape, _TYPES[np.dtype(dtype)], 0, parameters)

    def constant(
        self,
        name: str,
        values: NDArray[Any],
        scales: NDArray[np.float32] | None = None,
        axis: int = 0,
        zero_point: int = 0,
    ) -> int:
        """Adds a constant, where quantized with a scale for each slice along `axis`.

        Constants of the same bytes share them.
        """
        values = np.ascontiguousarray(values)
        data = values.reshape(-1).view(np.uint8)
        buffer = self._buffers.setdefault(sha256(data.tobytes()).digest(), len(self._model.buffers))
        if buffer == len(self._model.buffers):
            self._model.buffers.append(AlignedBuffer(data=data))
        parameters = None
        if scales is not None:
            parameters = _parameters(scales, np.full(scales.size, zero_point, np.int64), axis)
        return self._add(name, values.shape, _TYPES[values.dtype], buffer, parameters)

    def _add(
        self, name: str, shape: Sequence[int], kind: int, buffer: int, quantization: Any
    ) -> int:
        tensor = schema.TensorT(
            shape=np.array(shape, np.int32), type=kind, buffer=buffer, name=name
        )
        tensor.quantization = quantization
        tensor.hasRank = True
        self._graph.tensors.append(tensor)
        return len(self._graph.tensors) - 1

    def operator(
        self,
        code: int,
        inputs: Sequence[int],
        output: int,
        options: Any = None,
        options_type: int = schema.BuiltinOptions.NONE,
    ) -> int:
        """Appends a builtin operator, in the version that its tensors need; returns its output."""
        types = [self._graph.tensors[index].type for index in (*inputs, output)]
        scales = self._graph.tensors[inputs[0]].quantization
        by_channel = scales is not None and len(scales.scale) > 1
        self._graph.operators.append(
            schema.OperatorT(
                opcodeIndex=self._code(code, version(code, types[:-1], types[-1], by_channel)),
                inputs=np.array(inputs, np.int32),
                outputs=np.array([output], np.int32),
                builtinOptions=options,
                builtinOptionsType=options_type,
            )
        )
        return output

    def _code(self, code: int, version: int) -> int:
        if (code, version) not in self._codes:
            self._codes[code, version] = len(self._model.operatorCodes)
            # Old readers know the one-byte field only; it holds 127 for what lies beyond.
            self._model.operatorCodes.append(
                schema.OperatorCodeT(
                    deprecatedBuiltinCode=min(code, 127), builtinCode=code, version=version
                )
            )
        return self._codes[code, version]

    def describe(self, name: str, metadata: bytes) -> None:
        """Adds metadata, which readers find by its name."""
        data = np.frombuffer(metadata, np.uint8)
        self._model.metadata = [schema.MetadataT(name=name, buffer=len(self._model.buffers))]
        self._model.buffers.append(AlignedBuffer(data=data))

    def finish(self, inputs: dict[str, int], outputs: dict[str, int]) -> bytes:
        """The file, with these tensors by name as its one signature."""
        self._graph.inputs = np.array(list(inputs.values()), np.int32)
        self._graph.outputs = np.array(list(outputs.values()), np.int32)
        self._model.subgraphs = [self._graph]
        self._model.signatureDefs = [
            schema.SignatureDefT(
                inputs=[
                    schema.TensorMapT(name=name, tensorIndex=index)
                    for name, index in inputs.items()
                ],
                outputs=[
                    schema.TensorMapT(name=name, tensorIndex=index)
                    for name, index in outputs.items()
                ],
                signatureKey="serving_default",
                subgraphIndex=0,
            )
        ]
        builder = flatbuffers.Builder(
            sum(buffer.data.nbytes for buffer in self._model.buffers[1:]) + 2**16
        )
        builder.Finish(self._model.Pack(builder), _IDENTIFIER)
        return bytes(builder.Output())


def _parameters(scales: NDArray[np.float32], zero_points: NDArray[np.int64], axis: int) -> Any:
    return schema.QuantizationParametersT(
        scale=scales, zeroPoint=zero_points, quantizedDimension=axis
    )
