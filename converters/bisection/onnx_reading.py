"""Reading ONNX files: whoever quantized one, the rest of bisection sees one arrangement."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from converters.bisection.onnx_wiring import DEQUANTIZE, QUANTIZE, Wiring
from edgenet.errors import UsageError

# What moves values, or picks the largest, does the same to their levels.
_MOVING = ("Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze")

# What else ONNX Runtime's quantizers make: operators on levels, and what rounds as the file runs.
_ON_LEVELS = ("QLinear", "QGemm")
_AS_IT_RUNS = ("DynamicQuantize", "ConvInteger", "MatMulInteger")
_QDQ = "give the network's QDQ file: quantize_static makes it with quant_format=QuantFormat.QDQ"


def read(path: Path) -> Any:
    """The model of a file, float or QDQ: its weights as levels, activations moved as levels too.

    Raises:
        UsageError: It is no ONNX file, or quantized in another way.
    """
    try:
        model = onnx.load(path)
    except Exception as error:  # protobuf's DecodeError is not the same class in every release.
        raise UsageError(f"{path} is no ONNX file ({error})") from error
    _require_no_other_way(path, [node.op_type for node in model.graph.node])
    _round_constants(model.graph)
    _move_levels(model.graph)
    return model


def _require_no_other_way(path: Path, kinds: Sequence[str]) -> None:
    """Refuses files in which nothing stands between a QuantizeLinear and a DequantizeLinear."""
    found = next((kind for kind in kinds if kind.startswith(_AS_IT_RUNS)), None)
    if found is not None:
        raise UsageError(
            f"{path} is quantized dynamically, by {found}: scales are found as the file runs, and "
            f"bisect takes fixed ones; {_QDQ}"
        )
    found = next((kind for kind in kinds if kind.startswith(_ON_LEVELS)), None)
    if found is not None:
        raise UsageError(
            f"{path} is in ONNX Runtime's QOperator format, with {found}: bisect returns no such "
            f"operator to float; {_QDQ}"
        )


def _round_constants(graph: Any) -> None:
    """Puts levels in the place of each QuantizeLinear of a constant, as engines do.

    Training with fake quantizers and quantize_static with AddQDQPairToWeight keep weights in float.
    """
    wiring = Wiring(graph)
    nodes = []
    for node in graph.node:
        if _rounds_constant(wiring, node):
            levels = wiring.quantization(node).quantized(wiring.values(node.input[0]))
            graph.initializer.append(numpy_helper.from_array(levels, node.output[0]))
        else:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _rounds_constant(wiring: Wiring, node: Any) -> bool:
    """Whether it rounds one to whole levels, the scale of which is of all of it or of channels."""
    if node.op_type != QUANTIZE or not all(name in wiring.constants for name in node.input):
        return False
    held = wiring.quantization(node)
    return held.scale.ndim < 2 and np.issubdtype(held.zero_point.dtype, np.integer)


def _move_levels(graph: Any) -> None:
    """Puts each DequantizeLinear of activations behind what moves what it makes, as engines do.

    NNCF leaves it before: what reads such a tensor computes in int8 all the same. Where a quantizer
    follows there is one on both sides already.
    """
    wiring = Wiring(graph)
    dequantizers: dict[str, Any] = {}
    nodes = []
    for node in graph.node:
        nodes.append(node)
        if _has_one_scale(wiring, node):
            dequantizers[node.output[0]] = node
        elif node.op_type in _MOVING and node.input[0] in dequantizers:
            output = node.output[0]
            if wiring.quantizer(output) is None:
                dequantizers[output] = _turn_round(dequantizers[node.input[0]], node)
                nodes.append(dequantizers[output])
    del graph.node[:]
    graph.node.extend(nodes)


def _has_one_scale(wiring: Wiring, node: Any) -> bool:
    """Whether it dequantizes an activation, the channels of which another node may move."""
    return (
        node.op_type == DEQUANTIZE
        and not wiring.is_constant(node.output[0])
        and wiring.quantization(node).scale.size == 1
    )


def _turn_round(dequantizer: Any, moving: Any) -> Any:
    """Has a node move what a DequantizeLinear reads; the new one, which makes what it made."""
    added = deepcopy(dequantizer)
    output = moving.output[0]
    added.name = f"{output}/dequantized"
    added.input[0], added.output[0] = f"{output}/levels", output
    moving.input[0], moving.output[0] = dequantizer.input[0], f"{output}/levels"
    return added
