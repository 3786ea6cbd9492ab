"""Each peer's file in its own engine, driven by the shortest loop a user could write by hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgenet
from benchmarks._peer_model import Affine, Floats
from edgenet.images import Pixels


@dataclass(frozen=True)
class Opened:
    """A file that is ready to run.

    `prepare` brings 1×H×W×3 uint8 pixels to its input, outside the clock; `run` answers with 1×
    classes logits in the host's memory. `input` says what it takes.
    """

    input: str
    prepare: Callable[[Pixels], NDArray[Any]]
    run: Callable[[NDArray[Any]], Floats]


def open_ours(stack: ExitStack, bundle: Path, format: str, threads: int) -> Opened:
    """Our file, through `Session.run` with all that it checks."""
    session = stack.enter_context(edgenet.load(bundle, format, threads=threads))
    return Opened("uint8 pixels", lambda pixels: pixels, session.run)


def open_peer(format: str, path: Path, affine: Affine, threads: int) -> Opened:
    """A peer's file, in the engine and with the options that our sessions use."""
    return _OPENERS[format](path, affine, threads)


def _open_tflite(path: Path, affine: Affine, threads: int) -> Opened:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=threads)
    interpreter.allocate_tensors()
    taken, given = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    # Scales are zero where a file takes or gives floats.
    scale, zero = taken["quantization"]
    step, middle = given["quantization"]

    def prepare(pixels: Pixels) -> NDArray[Any]:
        values = affine.normalize(pixels)
        if not scale:
            return values
        return np.clip(np.round(values / scale) + zero, -128, 127).astype(np.int8)

    def run(values: NDArray[Any]) -> Floats:
        interpreter.set_tensor(taken["index"], values)
        interpreter.invoke()
        logits: Floats = interpreter.get_tensor(given["index"])
        return np.multiply(logits - np.float32(middle), np.float32(step)) if step else logits

    return Opened("int8" if scale else "float32", prepare, run)


def _open_onnx(path: Path, affine: Affine, threads: int) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name, names = session.get_inputs()[0].name, [session.get_outputs()[0].name]
    return Opened("float32", affine.normalize, lambda values: session.run(names, {name: values})[0])


def _open_openvino(path: Path, affine: Affine, threads: int) -> Opened:
    import openvino

    properties = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    request = openvino.Core().compile_model(str(path), "CPU", properties).create_infer_request()
    pixels, logits = request.get_input_tensor(0).data, request.get_output_tensor(0).data

    def run(values: Floats) -> Floats:
        pixels[:] = values
        request.infer()
        return logits.copy()

    return Opened("float32", affine.normalize, run)


_OPENERS = {"tflite": _open_tflite, "onnx": _open_onnx, "openvino": _open_openvino}
