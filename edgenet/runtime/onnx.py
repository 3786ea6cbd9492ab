"""ONNX files, in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from edgenet import protobuf
from edgenet.images import Pixels
from edgenet.runtime.records import Loaded
from edgenet.runtime.session import Floats, Session

# What goes wrong is raised, so nothing below FATAL needs printing too.
FATAL_ONLY = 4

_MODEL_GRAPH, _GRAPH_INPUT, _GRAPH_OUTPUT = 7, 11, 12
# type, tensor_type, shape
_VALUE_SHAPE = (2, 1, 2)


@dataclass(frozen=True)
class _Handle:
    run: Callable[..., list[Floats]]
    input: str
    outputs: dict[str, list[str]]


class OnnxSession(Session):
    """An inference session on the CPU provider alone; several threads may call it at once."""

    reentrant = True
    resizes = True

    def _load(self) -> Loaded:
        library = import_module(self._plan.engine.module)
        provider = self._plan.delegate.name
        session = library.InferenceSession(
            self._model(), self._options(library), providers=[provider]
        )
        # No other provider is registered: this one runs every operator, or the file does not open.
        return Loaded(self._handle_of(session), provider, 1.0)

    def _model(self) -> str | bytes:
        path = self._plan.model
        return with_batch(path.read_bytes(), self._shape[0]) if self._plan.resized else str(path)

    def _handle_of(self, session: Any) -> _Handle:
        taken = session.get_inputs()[0]
        self._require_input(taken.shape, _dtype(taken.type))
        self._require_outputs([output.name for output in session.get_outputs()])
        outputs = {output.name: [output.name] for output in self._plan.outputs}
        return _Handle(session.run, taken.name, outputs)

    def _run(self, handle: _Handle, images: Pixels, output: str) -> Floats:
        return handle.run(handle.outputs[output], {handle.input: images})[0]

    def _options(self, library: Any) -> Any:
        options = library.SessionOptions()
        options.intra_op_num_threads = self._plan.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = FATAL_ONLY
        return options


def with_batch(model: bytes, batch: int) -> bytes:
    """A model whose inputs and outputs say another batch; ONNX Runtime infers the shapes between.

    Source of the fields' numbers: onnx.proto of ONNX 1.18.
    """
    for values in (_GRAPH_INPUT, _GRAPH_OUTPUT):
        path = (_MODEL_GRAPH, values, *_VALUE_SHAPE)
        model = protobuf.edited(model, path, lambda shape: _with_first(shape, batch))
    return model


def _with_first(shape: bytes, size: int) -> bytes:
    _, *others = (whole for _, whole, _ in protobuf.fields(shape))
    return protobuf.message(1, protobuf.number(1, size)) + b"".join(others)


def _dtype(name: str) -> npt.DTypeLike:
    """From ONNX Runtime's "tensor(uint8)"; its "tensor(float)" is numpy's float32."""
    inner = name.removeprefix("tensor(").removesuffix(")")
    return np.float32 if inner == "float" else inner
