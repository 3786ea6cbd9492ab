"""ONNX Runtime's profiler (`SessionOptions.enable_profiling`)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from edgenet import protobuf
from edgenet.measure.profiling.operators import (
    Operator,
    Product,
    Profile,
    all_found,
    first_part,
    products,
    typical,
)
from edgenet.runtime.onnx import FATAL_ONLY

# What ONNX Runtime adds to the name of a node that it made of the file's: "stem_bn_nchwc", and of a
# Gemm that took its activation in "fused hidden_relu".
_ADDED = re.compile(r"^fused |(_nchwc|_token_\d+)?_kernel_time$")
_PRODUCTS = ("Conv", "Gemm", "MatMul")
_INTEGER = ("QLinear", "QGemm", "MatMulInteger", "ConvInteger", "DynamicQuantize")
_MOVES = frozenset(
    {"Transpose", "ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear", "Cast"}
)
# Field numbers of onnx.proto: ModelProto.graph, GraphProto.node, NodeProto.input, output, name.
_GRAPH, _NODE = 7, 1
_INPUT, _OUTPUT, _NAME = 1, 2, 3

Event = dict[str, Any]


@dataclass(frozen=True)
class _Node:
    """A node of the file, with the names of the tensors that it reads and makes."""

    name: str
    inputs: Sequence[str]
    outputs: Sequence[str]


def profile(model: Path, threads: int, runs: int) -> Profile:
    """Profiles a file on the CPU provider."""
    rows: dict[str, list[Event]] = defaultdict(list)
    for event in _events(model, threads, runs, optimized=True):
        rows[event["args"]["node_index"]].append(event)
    nodes = {node.name: node for node in _nodes(model)}
    written = _written(model, nodes)
    paired = _paired([events[0] for events in rows.values()], written, _before(nodes))
    operators = tuple(_operator(events, paired.get(index)) for index, events in rows.items())
    complete = all_found(operators, written.values())
    return Profile("ONNX Runtime enable_profiling", threads, runs, operators, complete)


def _events(model: Path, threads: int, runs: int, optimized: bool) -> list[Event]:
    library = import_module("onnxruntime")
    options = library.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = FATAL_ONLY
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


def _nodes(model: Path) -> Iterator[_Node]:
    """What the file computes; a profile names no tensors, and the onnx package may be missing."""
    for graph in _held(model.read_bytes(), _GRAPH):
        for node in _held(graph, _NODE):
            texts: dict[int, list[str]] = defaultdict(list)
            for field, _, value in protobuf.fields(node):
                if field in (_INPUT, _OUTPUT, _NAME):
                    texts[field].append(value.decode())
            yield _Node("".join(texts[_NAME]), texts[_INPUT], texts[_OUTPUT])


def _held(message: bytes, wanted: int) -> Iterator[bytes]:
    return (value for field, _, value in protobuf.fields(message) if field == wanted)


def _before(nodes: Mapping[str, _Node]) -> dict[str, str]:
    """By node, the node whose result it reads first."""
    makers = {output: node.name for node in nodes.values() for output in node.outputs}
    return {
        node.name: makers[node.inputs[0]]
        for node in nodes.values()
        if node.inputs and node.inputs[0] in makers
    }


def _written(model: Path, nodes: Mapping[str, _Node]) -> dict[str, Product]:
    """The products by node, in order: the file as it is written shows the weights' shapes."""
    found = {}
    for event in _events(model, 1, 1, optimized=False):
        if _is_product(event):
            name = _name(event)
            found[name] = Product(first_part(nodes[name].inputs[1]), _products_of(event))
    return found


def _paired(
    events: Sequence[Event], written: Mapping[str, Product], before: Mapping[str, str]
) -> dict[str, Product]:
    """The products of the file that ran, by the index of the node that ran.

    A fused product has its own name or that of the activation that it took in. Not all that
    convolves is one: a multiplication by channel may run as a depthwise convolution.
    """
    named: dict[str, str] = {}
    for event in filter(_is_product, events):
        name = _name(event)
        own = name if name in written else before.get(name, "")
        if own in written and own not in named.values():
            named[event["args"]["node_index"]] = own
    return {index: written[name] for index, name in named.items()}


def _is_product(event: Event) -> bool:
    return any(kind in event["args"]["op_name"] for kind in _PRODUCTS)


def _products_of(event: Event) -> int:
    inputs, (output,) = event["args"]["input_type_shape"], event["args"]["output_type_shape"]
    (weights,) = inputs[1].values()
    (shape,) = output.values()
    return products(weights, shape)


def _operator(events: list[Event], product: Product | None) -> Operator:
    kind = events[0]["args"]["op_name"]
    return Operator(
        layer=product.layer if product else first_part(_name(events[0])),
        kernel=kind,
        ms=typical(event["dur"] for event in events) / 1e3,
        macs=product.macs if product else 0,
        integer=kind.startswith(_INTEGER),
        moves=kind in _MOVES,
    )


def _name(event: Event) -> str:
    """The name of the file's node that a node was made of."""
    return _ADDED.sub("", event["name"])
