"""ONNX Runtime's profiler (`SessionOptions.enable_profiling`)."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgenet.measure.profiling.operators import Operator, Profile, layer_of, owner, typical

_FATAL_ONLY = 4
_SUFFIX = "_kernel_time"
_BLOCKED = "_nchwc"
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_INTEGER = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize")
_MOVES = frozenset(
    {"Transpose", "ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear", "Cast"}
)

Event = dict[str, Any]


def profile(model: Path, threads: int, runs: int) -> Profile:
    """Profiles a file on the CPU provider."""
    rows: dict[str, list[Event]] = defaultdict(list)
    for event in _events(model, threads, runs, optimized=True):
        rows[event["args"]["node_index"]].append(event)
    macs = _macs(model, [events[0] for events in rows.values()])
    operators = tuple(_operator(events, macs.get(index, 0)) for index, events in rows.items())
    return Profile("ONNX Runtime enable_profiling", threads, runs, operators)


def _events(model: Path, threads: int, runs: int, optimized: bool) -> list[Event]:
    library = import_module("onnxruntime")
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    options.enable_profiling = True
    if not optimized:
        options.graph_optimization_level = library.GraphOptimizationLevel.ORT_DISABLE_ALL
        # A packed weight is missing from the shapes of the inputs.
        options.add_session_config_entry("session.disable_prepacking", "1")
    with TemporaryDirectory() as folder:
        options.profile_file_prefix = str(Path(folder) / "run")
        session = library.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        taken = session.get_inputs()[0]
        dtype = np.uint8 if taken.type == "tensor(uint8)" else np.float32
        images = {taken.name: np.full(taken.shape, 128, dtype)}
        for _ in range(runs + 1):
            session.run(None, images)
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    nodes = [event for event in events if event["cat"] == "Node"]
    # The first run is the warm-up.
    return nodes[len(nodes) // (runs + 1) :]


def _macs(model: Path, events: list[Event]) -> dict[str, int]:
    """Multiply-accumulates by node: the file as it is written shows the weights' shapes.

    Optimizing fuses what follows a product, but keeps the products and their order.
    """
    plain = [event for event in _events(model, 1, 1, optimized=False) if _is_product(event)]
    fused = [event for event in events if _is_product(event)]
    if len(plain) != len(fused):
        return {}
    return {
        node["args"]["node_index"]: _products(event)
        for node, event in zip(fused, plain, strict=True)
    }


def _is_product(event: Event) -> bool:
    return any(kind in event["args"]["op_name"] for kind in _PRODUCTS)


def _products(event: Event) -> int:
    """Weights times output positions: N×C×H×W of a convolution, N×C of a matrix product."""
    inputs, (output,) = event["args"]["input_type_shape"], event["args"]["output_type_shape"]
    (weights,) = inputs[1].values()
    (shape,) = output.values()
    return math.prod(weights) * shape[0] * math.prod(shape[2:])


def _operator(events: list[Event], macs: int) -> Operator:
    args = events[0]["args"]
    kind = args["op_name"]
    layer = layer_of(events[0]["name"].removesuffix(_SUFFIX)).removesuffix(_BLOCKED)
    return Operator(
        layer=owner(layer) if macs else layer,
        kernel=kind,
        ms=typical(event["dur"] for event in events) / 1e3,
        macs=macs,
        integer=kind.startswith(_INTEGER),
        moves=kind in _MOVES,
    )
