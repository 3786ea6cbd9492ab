"""OpenVINO's profiler (`PERF_COUNT` and `get_profiling_info`)."""

from __future__ import annotations

import math
from collections import defaultdict
from importlib import import_module
from pathlib import Path
from typing import Any

from edgenet.measure.profiling.operators import Operator, Profile, layer_of, owner, typical
from edgenet.runtime.openvino import cpu_properties

_PRODUCTS = frozenset({"Convolution", "GroupConvolution", "MatMul"})
_MOVES = frozenset({"Reorder", "Convert", "Transpose"})
# The plugin names an int8 product after the scale that it took in.
_MATRIX = "FullyConnected"
_RAN = "Status.EXECUTED"
_SCALED = "/DequantizationMultiply"


def profile(model: Path, threads: int, runs: int, precision: str) -> Profile:
    """Profiles a file on the CPU plugin, in bf16 where that is its precision."""
    core = import_module("openvino").Core()
    network = core.read_model(str(model))
    options = {
        **cpu_properties(precision, threads),
        "PERFORMANCE_HINT": "LATENCY",
        "PERF_COUNT": True,
    }
    request = core.compile_model(network, "CPU", options).create_infer_request()
    request.infer()
    times: dict[str, list[float]] = defaultdict(list)
    macs = _macs(network)
    ran: dict[str, Any] = {}
    for _ in range(runs):
        request.infer()
        for node in request.get_profiling_info():
            times[node.node_name].append(node.real_time.total_seconds() * 1e3)
            # A product that took less than a µs calls itself not run.
            if str(node.status) == _RAN or node.node_name in macs:
                ran[node.node_name] = node
    operators = tuple(_operator(node, typical(times[name]), macs) for name, node in ran.items())
    return Profile("OpenVINO PERF_COUNT", threads, runs, operators)


def _operator(node: Any, ms: float, macs: dict[str, int]) -> Operator:
    layer = layer_of(node.node_name)
    products = macs.get(node.node_name.removesuffix(_SCALED), 0)
    if node.node_type.startswith(_MATRIX) and not products:
        # Named after the bias that it took in.
        layer = owner(layer)
        products = macs.get(f"{layer}/product", 0)
    return Operator(
        layer=layer,
        kernel=f"{node.node_type} {node.exec_type}",
        ms=ms,
        macs=products,
        integer=node.exec_type.lower().endswith(("_i8", "_u8")),
        moves=node.node_type in _MOVES,
    )


def _macs(network: Any) -> dict[str, int]:
    """Multiply-accumulates by name, from the shapes of the file's own operators."""
    return {
        op.get_friendly_name(): _products(list(op.input(1).get_shape()), list(op.output(0).shape))
        for op in network.get_ordered_ops()
        if op.get_type_name() in _PRODUCTS
    }


def _products(weights: list[int], output: list[int]) -> int:
    """Weights times output positions: N×C×H×W of a convolution, N×C of a matrix product."""
    return math.prod(weights) * output[0] * math.prod(output[2:])
