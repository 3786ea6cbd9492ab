"""What a tensor is to its network: range rules balance resolution against clipping by it."""

from __future__ import annotations

from enum import Enum

from converters.graph import (
    Activation,
    Affine,
    Capped,
    Concatenate,
    Convolution,
    Excess,
    GlobalMaximum,
    GlobalPool,
    Graph,
    Lifted,
    Linear,
    Operator,
    Picked,
    Unscaled,
    is_silu,
)


class Role(Enum):
    """What a tensor is to its network."""

    VECTOR = (
        "pixels, squeeze-and-excite vectors, pooled features, logits: few values, each of weight; "
        "and maps whose largest values become such features"
    )
    RECTIFIED = "the output of ReLU or ReLU6"
    GATE = "the output of a sigmoid"
    BEFORE_SILU = "what only SiLU reads, from a convolution or dense layer"
    BEFORE_SILU_DEPTHWISE = "what only SiLU reads, from a depthwise convolution"
    SILU = "the output of SiLU"
    BEFORE_SIGMOID = "what only the gate of a scaled SiLU reads"
    BEFORE_SCALED_SILU = "what a convolution makes for a scaled SiLU"
    PIECE = "a piece of a gated map that is cut at a threshold, and that map"
    LINEAR = "residual sums, projections, gated maps and lifted channels"


def role_of(graph: Graph, tensor: str) -> Role:
    """The role of a tensor, from its producer, its consumers and its shape."""
    producer = graph.producers[tensor]
    if isinstance(producer, Activation) and producer.function == "sigmoid":
        return Role.GATE
    if isinstance(producer, Unscaled):
        return Role.BEFORE_SIGMOID
    if isinstance(producer, Lifted | Picked | Concatenate):
        return _role_of_channels(graph, producer)
    if graph.is_vector(tensor) or isinstance(producer, Affine) or _gives_maxima(graph, tensor):
        return Role.VECTOR
    if _rectifies(producer):
        return Role.RECTIFIED
    if is_silu(producer):
        return Role.SILU
    readers = graph.consumers[tensor]
    if isinstance(producer, Capped | Excess) or any(isinstance(op, Excess) for op in readers):
        return Role.PIECE
    if any(isinstance(reader, Unscaled) for reader in readers):
        return Role.BEFORE_SCALED_SILU
    if readers and all(map(_computes_silu, readers)):
        depthwise = isinstance(producer, Convolution) and producer.depthwise
        return Role.BEFORE_SILU_DEPTHWISE if depthwise else Role.BEFORE_SILU
    return Role.LINEAR


def _role_of_channels(graph: Graph, producer: Operator) -> Role:
    """Of lifted channels, and of those around a split SiLU: before it, or made by it."""
    if isinstance(producer, Lifted):
        return Role.LINEAR
    return role_of(graph, producer.inputs[0])


def _computes_silu(reader: Operator) -> bool:
    """Whether it is SiLU, or picks channels for one."""
    return is_silu(reader) or isinstance(reader, Picked)


def _gives_maxima(graph: Graph, tensor: str) -> bool:
    """Whether the largest values of a map become features, with no weights or mean between."""
    seen, left = {tensor}, [tensor]
    while left:
        for reader in graph.consumers[left.pop()]:
            if isinstance(reader, GlobalMaximum):
                return True
            if not isinstance(reader, Linear | GlobalPool) and reader.output not in seen:
                seen.add(reader.output)
                left.append(reader.output)
    return False


def _rectifies(operator: Operator) -> bool:
    return isinstance(operator, Linear | Activation) and operator.function in ("relu", "relu6")
