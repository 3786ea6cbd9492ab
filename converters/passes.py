"""Rewrites of the frozen graph that leave its function alone and make it cheaper.

Each pass takes a graph and returns one; where two operators become one, the result keeps the name
of the operator with the weights and the output tensor of the last. A head of convolutions becomes
one of dense layers, whose logits leave int8 as floats.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from converters.graph import (
    Activation,
    Affine,
    Convolution,
    Dense,
    GlobalAverage,
    GlobalPool,
    Graph,
    Linear,
    Operator,
    Pad,
    Padding,
    Reshape,
)
from converters.joins import taken_apart

Pair = tuple[Operator, Operator]
Merge = Callable[[Operator, Operator], "Operator | Pair | None"]


def simplify(graph: Graph) -> Graph:
    """All passes, in the order in which each prepares the next.

    Raises:
        UnsupportedModelError: Vectors are joined that do not come apart again.
    """
    affines: list[Merge] = [merge_affines, fold_affine_into_producer, fold_affine_into_dense]
    others: list[Merge] = [fuse_activation, fold_padding]
    # BatchNorm behind a dense layer goes into it while that is one, not a sum.
    graph = taken_apart(_merged(graph, affines))
    graph = with_dense_head(_merged(graph, [*affines, *others]))
    return fold_input_scale(_merged(graph, [keep_pooled_dimensions, drop_reshape]))


def _merged(graph: Graph, merges: Sequence[Merge]) -> Graph:
    for merge in merges:
        graph = merge_pairs(graph, merge)
    return graph


def merge_pairs(graph: Graph, merge: Merge) -> Graph:
    """Offers each operator with its only consumer to `merge`.

    That returns what takes their place, their union or two others, or None.
    """
    operators = list(graph.operators)
    position = 0
    while position < len(operators):
        first = operators[position]
        readers = graph.consumers[first.output]
        merged = None
        if len(readers) == 1 and len(readers[0].inputs) == 1 and first.output not in graph.outputs:
            merged = merge(first, readers[0])
        if merged is None:
            position += 1
            continue
        place = operators.index(readers[0])
        operators[place : place + 1] = merged if isinstance(merged, tuple) else [merged]
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


def with_dense_head(graph: Graph) -> Graph:
    """Convolutions that make the answer are dense layers, whose answer int8 hands out in floats."""
    for merge in (average_first, flatten_first):
        for tensor in _answers(graph):
            graph = merge_pairs(graph, partial(_into, tensor, merge))
    return merge_pairs(graph, merge_two_classes)


def _answers(graph: Graph) -> list[str]:
    """The answer, and before it what becomes the answer by reshapes or as one of two classes."""
    tensors = [graph.outputs[0]]
    while _hands_on(operator := graph.producers.get(tensors[0])):
        assert operator is not None
        tensors.insert(0, operator.inputs[0])
    return tensors


def _hands_on(operator: Operator | None) -> bool:
    return isinstance(operator, Reshape) or _is_of_one_value(operator)


def _is_of_one_value(operator: Operator | None) -> bool:
    """Whether it makes two classes of what was one sigmoid's logit."""
    return isinstance(operator, Dense) and operator.weights.shape[0] == 1


def _into(
    tensor: str, merge: Callable[[Operator, Operator], Pair | None], first: Operator, last: Operator
) -> Pair | None:
    return merge(first, last) if last.output == tensor else None


def average_first(first: Operator, second: Operator) -> Pair | None:
    """The mean of what a 1x1 convolution makes is what it makes of the mean."""
    if not (isinstance(first, Convolution) and isinstance(second, GlobalAverage)):
        return None
    if first.function != "linear" or first.depthwise or not _covers(first, 1, 1):
        return None
    pooled = replace(second, inputs=first.inputs, output=f"{second.output}/mean")
    if second.keep:
        return pooled, replace(first, inputs=(pooled.output,), output=second.output)
    return pooled, _as_dense(first, pooled.output, second.output)


def flatten_first(first: Operator, second: Operator) -> Pair | None:
    """A convolution of the whole map at once is a dense layer."""
    if not (isinstance(first, Convolution) and isinstance(second, Reshape)):
        return None
    *kernel, _, channels = first.weights.shape
    if first.depthwise or second.target != (channels,) or not _covers(first, *kernel):
        return None
    flat = Reshape(
        second.name, first.inputs, f"{second.output}/vector", (first.weights.size // channels,)
    )
    return flat, _as_dense(first, flat.output, second.output)


def merge_two_classes(first: Operator, second: Operator) -> Operator | None:
    """A dense layer that makes one sigmoid's logit, and the one that makes two classes of it."""
    if not (isinstance(first, Dense) and isinstance(second, Dense) and _is_of_one_value(second)):
        return None
    if first.function != "linear":
        return None
    weights = first.weights @ second.weights
    bias = first.bias @ second.weights + second.bias
    merged = replace(first, weights=weights, bias=bias, function=second.function)
    return _joined(merged, first, second)


def _covers(convolution: Convolution, height: int, width: int) -> bool:
    """Whether the kernel is of that size, and moves by one pixel over a map without padding."""
    return (
        convolution.weights.shape[:2] == (height, width)
        and convolution.strides == (1, 1)
        and convolution.padding == Padding()
    )


def _as_dense(convolution: Convolution, source: str, output: str) -> Dense:
    """What a convolution makes of one window, whose values lie in a row."""
    weights = convolution.weights.reshape(-1, convolution.weights.shape[3])
    return Dense(
        convolution.name, (source,), output, weights, convolution.bias, convolution.function
    )


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
