"""Rewrites of the frozen graph that leave its function alone and make it cheaper.

Each pass takes a graph and returns one; where two operators become one, the result keeps the name
of the operator with the weights and the output tensor of the last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from converters.graph import (
    Activation,
    Affine,
    Convolution,
    Dense,
    GlobalPool,
    Graph,
    Linear,
    Operator,
    Pad,
    Reshape,
)
from converters.joins import taken_apart

Merge = Callable[[Operator, Operator], "Operator | None"]


def simplify(graph: Graph) -> Graph:
    """All passes, in the order in which each prepares the next.

    Raises:
        UnsupportedModelError: Vectors are joined that do not come apart again.
    """
    # BatchNorm behind a dense layer goes into it while that is one, not a sum.
    affines = merge_affines, fold_affine_into_producer, fold_affine_into_dense
    others = fuse_activation, fold_padding, keep_pooled_dimensions, drop_reshape
    for merge in affines:
        graph = merge_pairs(graph, merge)
    graph = taken_apart(graph)
    for merge in (*affines, *others):
        graph = merge_pairs(graph, merge)
    return fold_input_scale(graph)


def merge_pairs(graph: Graph, merge: Merge) -> Graph:
    """Offers each operator with its only consumer to `merge`, which returns their union or None."""
    operators = list(graph.operators)
    position = 0
    while position < len(operators):
        first = operators[position]
        readers = graph.consumers[first.output]
        union = None
        if len(readers) == 1 and len(readers[0].inputs) == 1 and first.output not in graph.outputs:
            union = merge(first, readers[0])
        if union is None:
            position += 1
            continue
        operators[operators.index(readers[0])] = union
        del operators[position]
        graph = graph.with_operators(operators)
    return graph


def _joined(operator: Operator, first: Operator, last: Operator) -> Operator:
    return replace(operator, inputs=first.inputs, output=last.output)


def merge_affines(first: Operator, second: Operator) -> Operator | None:
    """Rescaling and Normalization in a row are one."""
    if not (isinstance(first, Affine) and isinstance(second, Affine)):
        return None
    scale = first.scale.astype(np.float64) * second.scale
    offset = first.offset.astype(np.float64) * second.scale + second.offset
    merged = replace(first, scale=scale.astype(np.float32), offset=offset.astype(np.float32))
    return _joined(merged, first, second)


def fold_affine_into_producer(first: Operator, second: Operator) -> Operator | None:
    """BatchNorm after a convolution or a dense layer goes into its weights."""
    if not (
        isinstance(first, Linear) and isinstance(second, Affine) and first.function == "linear"
    ):
        return None
    return _joined(first.scaled(second.scale, second.offset), first, second)


def fold_affine_into_dense(first: Operator, second: Operator) -> Operator | None:
    """BatchNorm before a dense layer goes into its weights."""
    if not (isinstance(first, Affine) and isinstance(second, Dense)):
        return None
    weights = second.weights * first.scale[:, None]
    bias = second.bias + first.offset @ second.weights
    return _joined(replace(second, weights=weights, bias=bias), first, second)


def fuse_activation(first: Operator, second: Operator) -> Operator | None:
    """ReLU and ReLU6 run inside the convolution before them."""
    if not (
        isinstance(first, Linear) and isinstance(second, Activation) and first.function == "linear"
    ):
        return None
    if second.function not in ("relu", "relu6"):
        return None
    return _joined(replace(first, function=second.function), first, second)


def fold_padding(first: Operator, second: Operator) -> Operator | None:
    """Explicit zeros become the convolution's own."""
    if not (isinstance(first, Pad) and isinstance(second, Convolution)):
        return None
    return _joined(replace(second, padding=first.padding + second.padding), first, second)


def keep_pooled_dimensions(first: Operator, second: Operator) -> Operator | None:
    """Squeeze-and-excite pools to a vector and makes it a 1x1 map again: it can stay one."""
    if not (isinstance(first, GlobalPool) and isinstance(second, Reshape)):
        return None
    if second.target[:2] != (1, 1) or len(second.target) != 3:
        return None
    return _joined(replace(first, keep=True), first, second)


def drop_reshape(first: Operator, second: Operator) -> Operator | None:
    """Flatten after a pooled 1x1 map: the vector can come out of the pooling."""
    if not (
        isinstance(first, GlobalPool) and isinstance(second, Reshape) and len(second.target) == 1
    ):
        return None
    return _joined(replace(first, keep=False), first, second)


def fold_input_scale(graph: Graph) -> Graph:
    """The normalization's scale goes into the stem; what is left is to subtract the mean pixel.

    scale * x + offset = scale * (x - mean), and the zeros that pad the one are the zeros that pad
    the other.
    """
    normalize = graph.operators[0]
    stems = graph.consumers[normalize.output]
    if not isinstance(normalize, Affine) or not np.all(normalize.scale):
        return graph
    if not all(isinstance(stem, Convolution) and not stem.depthwise for stem in stems):
        return graph
    mean = -normalize.offset.astype(np.float64) / normalize.scale
    folded: dict[Operator, Operator] = {
        normalize: replace(
            normalize, scale=np.ones_like(normalize.scale), offset=(-mean).astype(np.float32)
        )
    }
    for stem in stems:
        assert isinstance(stem, Convolution)
        folded[stem] = replace(stem, weights=stem.weights * normalize.scale[:, None])
    return graph.with_operators([folded.get(operator, operator) for operator in graph.operators])
