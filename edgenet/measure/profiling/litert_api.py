"""LiteRT's profiler, which the C library of its wheel has and its Python classes leave out.

    python -m edgenet.measure.profiling.litert_api MODEL THREADS RUNS

prints `{"events": [[XNNPACK's index of the operator, its name, µs], ...]}`. It runs in a process of
its own: these calls are bound by hand, so a library of another version may end the process.

Source: litert/c/litert_{environment,model,options,opaque_options,compiled_model,profiler}.h of
    LiteRT 2.3.0 and tflite/profiling/profile_buffer.h (`ProfileEvent`).
"""

from __future__ import annotations

import ctypes
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

VERSION = "2.3.0"
"""The only version whose C interface is known to be the one that is bound here."""

_CPU = 1
_IN_DELEGATE = 8
_TYPE_BYTES = 512

_Pointer = ctypes.c_void_p


class _Event(ctypes.Structure):
    _fields_ = (
        ("tag", ctypes.c_char_p),
        ("type", ctypes.c_uint32),
        ("start", ctypes.c_uint64),
        ("elapsed_us", ctypes.c_uint64),
        ("memory", ctypes.c_int64 * 6),
        ("index", ctypes.c_int64),
        ("subgraph", ctypes.c_int64),
        ("source", ctypes.c_int),
    )


class _Library:
    """libLiteRt.so, every call checked for its status."""

    def __init__(self) -> None:
        spec = find_spec("ai_edge_litert")
        if spec is None or spec.origin is None:
            raise SystemExit("ai-edge-litert is not installed")
        self._library = ctypes.CDLL(str(Path(spec.origin).parent / "libLiteRt.so"))

    def call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, f"LiteRt{name}")(*arguments)
        if status:
            raise SystemExit(f"LiteRt{name} failed with status {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Calls what hands out a pointer through its last argument."""
        found = _Pointer()
        self.call(name, *arguments, ctypes.byref(found))
        return found


def main(argv: list[str]) -> int:
    """Profiles one file and prints its operators' times."""
    model, threads, runs = argv
    print(json.dumps({"events": _profile(_Library(), model, int(threads), int(runs))}))
    return 0


def _profile(library: _Library, path: str, threads: int, runs: int) -> list[list[Any]]:
    environment = library.made("CreateEnvironment", 0, None)
    model = library.made("CreateModelFromFile", environment, path.encode())
    options = _Options(library, threads)
    compiled = library.made("CreateCompiledModel", environment, model, options.handle)
    run = _runner(library, environment, model, compiled)
    run()
    profiler = library.made("CompiledModelGetProfiler", compiled)
    library.call("StartProfiler", profiler)
    for _ in range(runs):
        run()
    library.call("StopProfiler", profiler)
    return _events(library, profiler)


class _Options:
    """The compilation options; it must outlive the compiled model, for C reads its texts later."""

    def __init__(self, library: _Library, threads: int) -> None:
        self.handle = library.made("CreateOptions")
        library.call("SetOptionsHardwareAccelerators", self.handle, _CPU)
        self._texts: list[Any] = []
        self._keep = ctypes.CFUNCTYPE(None, _Pointer)(lambda _: None)
        self._add(library, b"runtime_options_string", "enable_profiling = true\n")
        self._add(library, b"xnnpack", f"num_threads = {threads}\n")

    def _add(self, library: _Library, name: bytes, text: str) -> None:
        buffer = ctypes.create_string_buffer(text.encode())
        self._texts.append(buffer)
        data = ctypes.cast(buffer, _Pointer)
        opaque = library.made("CreateOpaqueOptions", name, data, self._keep)
        library.call("AddOpaqueOptions", self.handle, opaque)


def _runner(library: _Library, environment: Any, model: Any, compiled: Any) -> Callable[[], None]:
    signature = library.made("GetModelSignature", model, ctypes.c_size_t(0))
    inputs = _buffers(library, environment, compiled, signature, "Input")
    outputs = _buffers(library, environment, compiled, signature, "Output")
    first = ctypes.c_size_t(0)

    def run() -> None:
        counts = ctypes.c_size_t(len(inputs)), ctypes.c_size_t(len(outputs))
        library.call("RunCompiledModel", compiled, first, counts[0], inputs, counts[1], outputs)

    return run


def _buffers(library: _Library, environment: Any, compiled: Any, signature: Any, side: str) -> Any:
    count = ctypes.c_size_t()
    library.call(f"GetNumSignature{side}s", signature, ctypes.byref(count))
    buffers = (_Pointer * count.value)()
    for number in range(count.value):
        index = ctypes.c_size_t(number)
        tensor = library.made(f"GetSignature{side}TensorByIndex", signature, index)
        kind = ctypes.create_string_buffer(_TYPE_BYTES)
        library.call("GetRankedTensorType", tensor, kind)
        needs = library.made(
            f"GetCompiledModel{side}BufferRequirements", compiled, ctypes.c_size_t(0), index
        )
        buffers[number] = library.made(
            "CreateManagedTensorBufferFromRequirements", environment, kind, needs
        ).value
    return buffers


def _events(library: _Library, profiler: Any) -> list[list[Any]]:
    count = ctypes.c_int()
    library.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
    events = (_Event * count.value)()
    library.call("GetProfilerEvents", profiler, count, events)
    return [
        [event.index, event.tag.decode(), event.elapsed_us]
        for event in events
        if event.type == _IN_DELEGATE
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
