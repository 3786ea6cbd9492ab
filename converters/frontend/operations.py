"""Operations on tensors, as `x * 0.5` and `keras.ops.mean(x)`, as operators of the graph.

The constants of an operation are arguments of its node, not attributes.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from converters.frontend.layers import (
    activate,
    affine,
    elu,
    fold_pairs,
    hard_sigmoid,
    hard_silu,
    join,
    leaky_relu,
    reshape,
    softmax,
)
from converters.frontend.supported import SUPPORTED
from converters.frontend.trace import Handler, Trace
from converters.graph import (
    Add,
    Doubles,
    Function,
    GlobalAverage,
    GlobalMaximum,
    GlobalPool,
    Multiply,
)
from edgenet.errors import UnsupportedModelError

_PIXELS = (1, 2)


def _unsupported(name: str, what: str) -> UnsupportedModelError:
    return UnsupportedModelError(f"operation {name!r} {what}; {SUPPORTED}")


def _combined(
    kind: type[Add] | type[Multiply], trace: Trace, node: Any, inputs: list[str], name: str
) -> str:
    """A sum or product: of tensors of one rank, or of one with a constant."""
    if len(inputs) == 1:
        constant = _constant(node)
        scale, offset = (1.0, constant) if kind is Add else (constant, 0.0)
        return _prepared(trace, inputs, name, scale, offset)
    if len({len(trace.shapes[tensor]) for tensor in inputs}) > 1:
        raise _unsupported(name, "takes a map and a vector: reshape the vector to (1, 1, channels)")
    return fold_pairs(trace, kind, inputs, name)


def _difference(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    if len(inputs) != 1:
        raise _unsupported(name, "subtracts tensors")
    constant = _constant(node)
    if _is_tensor(node.arguments.args[0]):
        return _prepared(trace, inputs, name, 1.0, -constant)
    return _prepared(trace, inputs, name, -1.0, constant)


def _quotient(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    if len(inputs) != 1 or not _is_tensor(node.arguments.args[0]):
        raise _unsupported(name, "divides by a tensor")
    return _prepared(trace, inputs, name, 1 / _constant(node), 0.0)


def _prepared(trace: Trace, inputs: list[str], name: str, scale: Any, offset: Any) -> str:
    """Where it comes first, it is how the model prepares its pixels."""
    trace.preparing.add(name)
    return affine(trace, inputs, name, scale, offset)


def _is_tensor(argument: Any) -> bool:
    return hasattr(argument, "_keras_history")


def _constant(node: Any) -> Doubles:
    """The argument that is no tensor."""
    (found,) = (argument for argument in node.arguments.args[:2] if not _is_tensor(argument))
    return np.asarray(found, np.float64)


def _activation(function: Function, trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return activate(trace, inputs[0], name, function)


def _softmax(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return softmax(trace, inputs[0], name, node.operation.axis)


def _leaky_relu(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return leaky_relu(trace, inputs[0], name, node.operation.negative_slope)


def _elu(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return elu(trace, inputs[0], name, node.operation.alpha)


def _gelu(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return activate(trace, inputs[0], name, "gelu_tanh" if node.operation.approximate else "gelu")


def _hard_sigmoid(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return hard_sigmoid(trace, inputs[0], name)


def _hard_silu(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    return hard_silu(trace, inputs[0], name)


def _pooled(kind: type[GlobalPool], trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    axes = node.operation.axis
    rank = len(trace.shapes[inputs[0]])
    given = () if axes is None else tuple(axis % rank for axis in np.atleast_1d(axes))
    if rank != 4 or tuple(sorted(given)) != _PIXELS:
        raise _unsupported(name, "does not go over height and width")
    return trace.emit(kind(name, tuple(inputs), name, bool(node.operation.keepdims)))


def _reshape(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    batch, *target = node.operation.newshape
    if batch != -1 or not target:
        raise _unsupported(name, "reshapes the batch: begin the new shape with -1")
    return reshape(trace, inputs[0], name, tuple(target))


def _expanded(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    _, *sizes = trace.shapes[inputs[0]]
    axes = np.atleast_1d(node.operation.axis)
    places = sorted(int(axis) % (len(sizes) + 1 + len(axes)) for axis in axes)
    if 0 in places:
        raise _unsupported(name, "adds an axis ahead of the batch")
    for place in places:
        sizes.insert(place - 1, 1)
    return reshape(trace, inputs[0], name, tuple(sizes))


def _squeezed(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    shape = trace.shapes[inputs[0]]
    axes = node.operation.axis
    if axes is None:
        places = [place for place, size in enumerate(shape) if place and size == 1]
    else:
        places = [int(axis) % len(shape) for axis in np.atleast_1d(axes)]
    if 0 in places:
        raise _unsupported(name, "takes the batch away")
    kept = [size for place, size in enumerate(shape) if place and place not in places]
    return reshape(trace, inputs[0], name, tuple(kept))


def _same(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    """What matters in training alone."""
    return inputs[0]


def _concatenate(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    if len(inputs) != len(node.arguments.args[0]):
        raise _unsupported(name, "joins a constant")
    return join(trace, inputs, name, node.operation.axis)


def _cast(trace: Trace, node: Any, inputs: list[str], name: str) -> str:
    """Every tensor but the pixels is in floats already, and what reads those takes them as such."""
    if "float" not in str(node.operation.dtype):
        raise _unsupported(name, f"casts to {node.operation.dtype}")
    return inputs[0]


MOVING_OPERATIONS: dict[str, Handler] = {
    "Reshape": _reshape,
    "ExpandDims": _expanded,
    "Squeeze": _squeezed,
    "StopGradient": _same,
    "Cast": _cast,
}
"""Operations that leave values as they are."""
OPERATIONS: dict[str, Handler] = {
    "Add": partial(_combined, Add),
    "Multiply": partial(_combined, Multiply),
    "Subtract": _difference,
    "Divide": _quotient,
    "TrueDivide": _quotient,
    "Relu": partial(_activation, "relu"),
    "Relu6": partial(_activation, "relu6"),
    "LeakyRelu": _leaky_relu,
    "Elu": _elu,
    "Gelu": _gelu,
    "Silu": partial(_activation, "silu"),
    "Sigmoid": partial(_activation, "sigmoid"),
    "HardSigmoid": _hard_sigmoid,
    "HardSilu": _hard_silu,
    "Tanh": partial(_activation, "tanh"),
    "Softmax": _softmax,
    "Mean": partial(_pooled, GlobalAverage),
    "Max": partial(_pooled, GlobalMaximum),
    "Concatenate": _concatenate,
    **MOVING_OPERATIONS,
}
