"""The fastest matrix product that this machine's engines reach, to compare a model's speed with.

One product of 512×1024 by 1024×4096 in float32, and one in 8-bit integers, in each engine that can
be given a graph without a file: OpenVINO and ONNX Runtime.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgenet.measure.latency import timed
from edgenet.protobuf import message, number
from edgenet.runtime.onnx import FATAL_ONLY

ROWS, DEPTH, COLUMNS = 512, 1024, 4096

_RUNS = 12
_SEED = 20
# onnx.proto: TensorProto.DataType.
_FLOAT, _UINT8, _INT8, _INT32 = 1, 2, 3, 6


@dataclass(frozen=True)
class Peak:
    """10^9 multiply-accumulates a second in one engine, the best of 12 runs."""

    engine: str
    threads: int
    fp32: float
    int8: float


def measure(threads: int) -> list[Peak]:
    """The peaks of the engines that work here, on so many threads; none, if neither does."""
    peaks = []
    for name, run in (("openvino", _openvino), ("onnxruntime", _onnxruntime)):
        # Absent or broken: nobody asked for this engine, and a peak is only there to compare with.
        with suppress(Exception):
            peaks.append(Peak(name, threads, run(threads, False), run(threads, True)))
    return peaks


def best(peaks: list[Peak]) -> dict[str, float] | None:
    """The highest of each precision over engines, or None where none was measured."""
    if not peaks:
        return None
    return {
        "fp32": max(peak.fp32 for peak in peaks),
        "int8": max(peak.int8 for peak in peaks),
    }


def _openvino(threads: int, integer: bool) -> float:
    library = import_module("openvino")
    options = {
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": "f32",
        "PERF_COUNT": True,
    }
    compiled = library.Core().compile_model(_openvino_model(library, integer), "CPU", options)
    request = compiled.create_infer_request()
    times = []
    for _ in range(_RUNS):
        request.infer()
        # The product alone: quantizing its input is not part of the peak.
        times.append(max(node.real_time.total_seconds() for node in request.get_profiling_info()))
    return _speed(min(times))


def _openvino_model(library: Any, integer: bool) -> Any:
    ops = import_module("openvino.opset13")
    floats = np.float32
    x = ops.parameter([ROWS, DEPTH], floats)
    weights = ops.constant(_weights(integer).T.copy())
    product_input = x
    if integer:
        step, top = floats(0.01), floats(2.55)
        product_input = ops.fake_quantize(x, floats(0), top, floats(0), top, 256)
        weights = ops.multiply(ops.convert(weights, floats), step)
    product = ops.matmul(product_input, weights, False, True)
    return library.Model([ops.reduce_max(product, np.array([0, 1]), False)], [x])


def _onnxruntime(threads: int, integer: bool) -> float:
    library = import_module("onnxruntime")
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = FATAL_ONLY
    session = library.InferenceSession(
        onnx_product(integer), options, providers=["CPUExecutionProvider"]
    )
    x = np.ones((ROWS, DEPTH), np.uint8 if integer else np.float32)
    run = partial(session.run, None, {"x": x})
    return _speed(min(timed(run)[0] for _ in range(_RUNS)) / 1e9)


def onnx_product(integer: bool) -> bytes:
    """An ONNX model of one product, written by hand: a device has no onnx package.

    Source: onnx.proto of ONNX 1.16 (field numbers of ModelProto, GraphProto, NodeProto,
        TensorProto, ValueInfoProto and TypeProto).
    """
    kinds = (_UINT8, _INT8, _INT32) if integer else (_FLOAT, _FLOAT, _FLOAT)
    name = b"MatMulInteger" if integer else b"MatMul"
    node = message(1, b"x") + message(1, b"w") + message(2, b"y") + message(4, name)
    weights = number(1, DEPTH) + number(1, COLUMNS) + number(2, kinds[1])
    weights += message(8, b"w") + message(9, _weights(integer).tobytes())
    graph = message(1, node) + message(2, b"product") + message(5, weights)
    graph += message(11, _value(b"x", kinds[0], ROWS, DEPTH))
    graph += message(12, _value(b"y", kinds[2], ROWS, COLUMNS))
    return number(1, 8) + message(7, graph) + message(8, number(2, 13))


def _value(name: bytes, kind: int, *shape: int) -> bytes:
    dimensions = b"".join(message(1, number(1, size)) for size in shape)
    return message(1, name) + message(2, message(1, number(1, kind) + message(2, dimensions)))


def _weights(integer: bool) -> NDArray[Any]:
    random = np.random.default_rng(_SEED)
    if integer:
        return random.integers(-127, 128, (DEPTH, COLUMNS), np.int8)
    return random.standard_normal((DEPTH, COLUMNS)).astype(np.float32)


def _speed(seconds: float) -> float:
    return ROWS * DEPTH * COLUMNS / seconds / 1e9
