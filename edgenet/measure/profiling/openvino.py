"""OpenVINO's profiler (`PERF_COUNT` and `get_profiling_info`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edgenet.measure.profiling.operators import (
    Operator,
    Product,
    Profile,
    all_found,
    first_part,
    products,
    typical,
)
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
    written, biased = _written(network)
    ran: dict[str, Any] = {}
    for _ in range(runs):
        request.infer()
        for node in request.get_profiling_info():
            times[node.node_name].append(node.real_time.total_seconds() * 1e3)
            # A product that took less than a µs calls itself not run.
            if str(node.status) == _RAN or node.node_name in written:
                ran[node.node_name] = node
    operators = tuple(
        _operator(node, typical(times[name]), _product(node, written, biased))
        for name, node in ran.items()
    )
    complete = all_found(operators, written.values())
    return Profile("OpenVINO PERF_COUNT", threads, runs, operators, complete)


def _operator(node: Any, ms: float, product: Product | None) -> Operator:
    return Operator(
        layer=product.layer if product else first_part(node.node_name),
        kernel=f"{node.node_type} {node.exec_type}",
        ms=ms,
        macs=product.macs if product else 0,
        integer=node.exec_type.lower().endswith(("_i8", "_u8")),
        moves=node.node_type in _MOVES,
    )


def _product(
    node: Any, written: Mapping[str, Product], biased: Mapping[str, Product]
) -> Product | None:
    found = written.get(node.node_name.removesuffix(_SCALED))
    if found is None and node.node_type.startswith(_MATRIX):
        return biased.get(node.node_name)
    return found


def _written(network: Any) -> tuple[dict[str, Product], dict[str, Product]]:
    """The file's products by their own names, and by those of the biases that are added to them.

    A matrix product is named after the bias that it took in.
    """
    written, biased = {}, {}
    for op in network.get_ordered_ops():
        if op.get_type_name() not in _PRODUCTS:
            continue
        name = op.get_friendly_name()
        macs = products(list(op.input(1).get_shape()), list(op.output(0).shape))
        written[name] = Product(first_part(name), macs)
        for reader in op.output(0).get_target_inputs():
            biased[reader.get_node().get_friendly_name()] = written[name]
    return written, biased
