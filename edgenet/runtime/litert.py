"""TFLite files on the GPU, by LiteRT's `CompiledModel` and its WebGPU accelerator."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from edgenet.images import Pixels
from edgenet.runtime import vulkan
from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.placement import PartialError, Placement, share
from edgenet.runtime.records import Loaded
from edgenet.runtime.session import Floats, Session
from edgenet.runtime.stdio import captured

_PARTIAL = "Some ops are not accelerated"
_SHARES = re.compile(r"(\d+) operations will run on the \w+, and the remaining (\d+)")
# "MEAN: Tensor type(INT16) is not supported. block1a_activation", a line for each that is refused.
_REFUSED = re.compile(r"^([A-Z][A-Z0-9_]+): (.+)$", re.MULTILINE)
_ADAPTER = re.compile(r"Selected adapter: (.+?), arch=.*adapterType=(.+)")


@dataclass(frozen=True)
class _Handle:
    model: Any
    signature: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    shapes: Mapping[str, tuple[int, ...]]


class CompiledSession(Session):
    """A compiled model with its buffers; it can serve one thread at a time.

    A device overrides `_options` and `_found`.
    """

    @abstractmethod
    def _options(self, library: Any, fallback: bool) -> Any:
        """The options that compile for the device alone, or with `fallback` the CPU beside it."""

    @abstractmethod
    def _found(self, log: str) -> tuple[str, str]:
        """The device's kind and name, from what LiteRT logged as it compiled for it."""

    def _load(self) -> Loaded:
        library = import_module("ai_edge_litert.compiled_model")
        # What it does not tell by a call it logs: the adapter, and the operators that it refuses.
        with captured() as log:
            try:
                model = self._compile(library, fallback=False)
                elsewhere = None
            except RuntimeError as error:
                model, elsewhere = self._fall_back(library, error, log())
            handle = self._handle_of(model)
        kind, name = self._found(log())
        return Loaded(
            handle,
            self._plan.delegate.name,
            share(_shares(log())) if elsewhere else 1.0,
            elsewhere=elsewhere or (),
            kind=kind,
            name=name,
        )

    def _compile(self, library: Any, fallback: bool) -> Any:
        model = library.CompiledModel.from_file(
            str(self._plan.model), options=self._options(library, fallback)
        )
        if not fallback and not model.is_fully_accelerated():
            raise RuntimeError(_PARTIAL)
        return model

    def _fall_back(
        self, library: Any, error: RuntimeError, log: str
    ) -> tuple[Any, tuple[Placement, ...]]:
        """What to do where the device alone did not take the model."""
        if _PARTIAL not in str(error):
            raise UnusableError(_reason(log) or str(error)) from error
        # The compiler of an NPU names no operator; that some are refused is known all the same.
        refused = _refused(log) or (Placement("(not named)", "cpu", None),)
        if not self._plan.allow_fallback:
            delegate = self._plan.delegate
            raise PartialError(delegate.device, delegate.name, refused, _shares(log)) from error
        return self._compile(library, fallback=True), refused

    def _handle_of(self, model: Any) -> _Handle:
        (key, signature), *_ = model.get_signature_list().items()
        taken = model.get_input_tensor_details(key)
        (name,) = signature["inputs"]
        self._require_input(taken[name]["shape"], taken[name]["dtype"])
        self._require_outputs(signature["outputs"])
        shapes = {
            output: tuple(details["shape"])
            for output, details in model.get_output_tensor_details(key).items()
        }
        buffer = model.create_input_buffer_by_name(key, name)
        # The first write sets the buffer up and logs it.
        buffer.write(np.zeros(self._plan.input.shape, self._plan.input.dtype))
        return _Handle(
            model,
            key,
            {name: buffer},
            {output: model.create_output_buffer_by_name(key, output) for output in shapes},
            shapes,
        )

    def _run(self, handle: _Handle, images: Pixels, output: str) -> Floats:
        for buffer in handle.inputs.values():
            buffer.write(images)
        handle.model.run_by_name(handle.signature, handle.inputs, handle.outputs)
        shape = handle.shapes[output]
        answer: Floats = handle.outputs[output].read(int(np.prod(shape)), np.float32)
        return answer.reshape(shape)

    def _close(self, handle: _Handle) -> None:
        # What goes at once may log that it does; the accelerator itself goes with the process.
        with captured():
            for buffer in (*handle.inputs.values(), *handle.outputs.values()):
                buffer.destroy()
            environment = handle.model.environment
            handle.model.close()
            environment.close()


class GpuSession(CompiledSession):
    """The GPU, in float32 where the file is fp32, else as the driver computes fastest.

    int8 files run there too: the accelerator rounds to the file's eight bits and computes in float.
    """

    def _load(self) -> Loaded:
        vulkan.adapter()
        return super()._load()

    def _options(self, library: Any, fallback: bool) -> Any:
        kinds = library.HardwareAccelerator
        return library.Options(
            hardware_accelerators=kinds.GPU | kinds.CPU if fallback else kinds.GPU,
            cpu_options=library.CpuOptions(num_threads=self._plan.threads),
            gpu_options=library.GpuOptions(enforce_f32=self._plan.precision == "fp32"),
        )

    def _found(self, log: str) -> tuple[str, str]:
        chosen = _ADAPTER.search(log)
        if chosen is None:
            found = vulkan.adapter()
            return found.kind, found.name
        return "software" if "Software" in chosen[2] else "hardware", chosen[1]


def _shares(log: str) -> tuple[int, int] | None:
    """How many operators go to the device and how many do not, where it tells."""
    found = _SHARES.search(log)
    return (int(found[1]), int(found[2])) if found else None


def _refused(log: str) -> tuple[Placement, ...]:
    """One placement for each type of operator and reason, without the tensors' names."""
    lines = [
        (match[1], match[2].rpartition(". ")[0] or match[2])
        for match in _REFUSED.finditer(log)
        if match[1] not in ("INFO", "WARNING", "ERROR")
    ]
    return tuple(
        Placement(operator, "cpu", None, reason) for operator, reason in dict.fromkeys(lines)
    )


def _reason(log: str) -> str:
    errors = [line for line in log.splitlines() if line.startswith("ERROR:")]
    return errors[0].partition("] ")[2] if errors else ""
