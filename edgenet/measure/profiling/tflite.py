"""The profile of a TFLite file: XNNPACK's own times, through LiteRT's C library."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from edgenet.errors import EdgenetError
from edgenet.measure.profiling.litert_api import VERSION
from edgenet.measure.profiling.operators import (
    Operator,
    Product,
    Profile,
    align,
    all_found,
    first_part,
    typical,
)
from edgenet.runtime.children import ChildError, run_python, told_json
from edgenet.runtime.engines import known

# 50 runs of B7 on one slow core take a minute or two; what takes longer hangs.
_TIMEOUT_S = 900.0
_PRODUCTS = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})
# XNNPACK's words and TFLite's for one kind of operator.
_KINDS = {
    "depthwise": ("DWConv", "DEPTHWISE_CONV_2D"),
    "product": ("Convolution", "Fully Connected", "CONV_2D", "FULLY_CONNECTED"),
    "add": ("Add", "ADD"),
    "multiply": ("Multiply", "MUL"),
    "mean": ("Mean", "Average Pooling", "MEAN", "AVERAGE_POOL_2D"),
    "maximum": ("Max Pooling", "MAX_POOL_2D"),
    "softmax": ("Softmax", "SOFTMAX"),
    # In int8 a sigmoid is a table, which XNNPACK has no name for.
    "unary": ("Convert", "Unary", "Sigmoid", "DEQUANTIZE", "QUANTIZE", "LOGISTIC"),
}
_MOVES = frozenset({"QUANTIZE", "DEQUANTIZE", "TRANSPOSE", "CAST"})
_INTEGER = ("QS8", "QU8", "QC8")


def profile(model: Path, threads: int, runs: int) -> Profile:
    """Profiles a file in LiteRT, in a process of its own.

    Raises:
        EdgenetError: This LiteRT is of another version, or refuses the file.
    """
    times: dict[int, list[float]] = defaultdict(list)
    kernels: dict[int, str] = {}
    for index, kernel, microseconds in _measured(model, threads, runs):
        times[index].append(microseconds / 1e3)
        kernels[index] = kernel
    ops = _file_operators(model)
    order = sorted(kernels)
    paired = align([_kind(kernels[index]) for index in order], [_kind(op["op_name"]) for op in ops])
    operators = tuple(
        _operator(kernels[index], typical(times[index]), ops[paired[at]] if at in paired else None)
        for at, index in enumerate(order)
    )
    complete = all_found(operators, filter(None, map(_product, ops)))
    return Profile("XNNPACK through LiteRtProfiler", threads, runs, operators, complete)


def _measured(model: Path, threads: int, runs: int) -> list[tuple[int, str, float]]:
    found = known("litert").version
    if found != VERSION:
        raise EdgenetError(
            f"LiteRT {found or 'of no known version'} is profiled through a C interface that is "
            f"known of {VERSION} alone: pip install ai-edge-litert=={VERSION}"
        )
    module = "edgenet.measure.profiling.litert_api"
    try:
        arguments = ["-m", module, str(model), str(threads), str(runs)]
        rows: list[tuple[int, str, float]] = told_json(run_python(arguments, _TIMEOUT_S))["events"]
    except ChildError as error:
        raise EdgenetError(f"LiteRT's profiler failed on {model}: {error}") from error
    return rows


def _file_operators(model: Path) -> list[Mapping[str, Any]]:
    """What a run computes, in order, each with the shapes of its weights and output.

    What reads constants alone is computed once, before: weights that are stored narrower.
    """
    library = import_module("ai_edge_litert.interpreter")
    interpreter = library.Interpreter(
        model_path=str(model),
        experimental_op_resolver_type=library.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    tensors = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}
    ops = interpreter._get_ops_details()
    varying = {tensor["index"] for tensor in interpreter.get_input_details()}
    for op in ops:
        if not varying.isdisjoint(op["inputs"]):
            varying.update(op["outputs"])
    return [
        {
            "op_name": op["op_name"],
            "inputs": [tensors[index] for index in op["inputs"] if index in tensors],
            "output": tensors[op["outputs"][0]],
        }
        for op in ops
        if not varying.isdisjoint(op["inputs"])
    ]


def _operator(kernel: str, ms: float, op: Mapping[str, Any] | None) -> Operator:
    product = None if op is None else _product(op)
    layer = kernel if op is None else first_part(op["output"]["name"])
    return Operator(
        layer=product.layer if product else layer,
        kernel=kernel,
        ms=ms,
        macs=product.macs if product else 0,
        # Elementwise kernels do not name their type; the tensors of the file do.
        integer=any(name in kernel for name in _INTEGER)
        or (op is not None and op["output"]["dtype"].__name__ in ("int8", "uint8")),
        moves="Convert" in kernel if op is None else op["op_name"] in _MOVES,
    )


def _product(op: Mapping[str, Any]) -> Product | None:
    """Weights times output positions: N×H×W×C of a convolution, N×C of a matrix product."""
    if op["op_name"] not in _PRODUCTS:
        return None
    weights, output = op["inputs"][1], op["output"]["shape"]
    macs = math.prod(int(n) for n in weights["shape"]) * math.prod(int(n) for n in output[:-1])
    return Product(first_part(weights["name"]), macs)


def _kind(name: str) -> str:
    for kind, words in _KINDS.items():
        if any(word in name for word in words):
            return kind
    return name
