"""Joined vectors taken apart: what reads a join becomes one operator for each of its parts.

Heads join the mean and the maximum of a map, or pools of several maps. One scale would serve them
all in int8, and a maximum is many times a mean. What works channel by channel goes ahead of the
join, and a dense layer behind it is the sum of dense layers behind its parts: so each part keeps a
range of its own, and no format needs to join.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from converters.graph import (
    Activation,
    Add,
    Affine,
    Concatenate,
    Convolution,
    Graph,
    Linear,
    Operator,
    Reshape,
)
from edgenet.errors import UnsupportedModelError


@dataclass(frozen=True)
class _Join:
    """The tensors that lie side by side in another, their channels, and the layer that joined."""

    layer: str
    parts: tuple[str, ...]
    sizes: tuple[int, ...]

    def channels(self) -> Iterator[slice]:
        """Where each part lies."""
        for size, end in zip(self.sizes, accumulate(self.sizes), strict=True):
            yield slice(end - size, end)


def taken_apart(graph: Graph) -> Graph:
    """The graph without `Concatenate`; activations must be operators of their own still.

    Raises:
        UnsupportedModelError: A join is the model's answer, or is read by what does not come apart.
    """
    joins: dict[str, _Join] = {}
    operators: list[Operator] = []
    for operator in graph.operators:
        join = next((joins[name] for name in operator.inputs if name in joins), None)
        if isinstance(operator, Concatenate):
            joins[operator.output] = _joined(graph, operator, joins)
        elif join is None:
            operators.append(operator)
        elif not _comes_apart(graph, operator):
            raise UnsupportedModelError(
                f"layer {join.layer!r} joins vectors for {operator.name!r}: only dense layers, "
                "BatchNormalization and activations other than softmax may read what is joined"
            )
        elif isinstance(operator, Linear):
            operators += _summed(operator, join)
        else:
            parts = [*_parts(operator, join)]
            operators += parts
            joins[operator.output] = replace(join, parts=tuple(part.output for part in parts))
        if operator.output in graph.outputs and operator.output in joins:
            raise UnsupportedModelError(
                f"layer {joins[operator.output].layer!r} joins what the model answers: save a "
                "model of each part, or one that ends in a Dense layer behind the join"
            )
    return graph.with_operators(operators)


def _joined(graph: Graph, operator: Concatenate, joins: Mapping[str, _Join]) -> _Join:
    """What an operator joins; a join that it reads is joined anew."""
    parts, sizes = list[str](), list[int]()
    for name in operator.inputs:
        inner = joins.get(name, _Join("", (name,), (graph.shapes[name][-1],)))
        parts += inner.parts
        sizes += inner.sizes
    return _Join(operator.name, tuple(parts), tuple(sizes))


def _comes_apart(graph: Graph, operator: Operator) -> bool:
    if isinstance(operator, Activation):
        return operator.function != "softmax"
    if isinstance(operator, Reshape):
        return graph.is_vector(operator.output) and (
            operator.target[-1] == graph.shapes[operator.inputs[0]][-1]
        )
    if isinstance(operator, Convolution):
        return not operator.depthwise
    return isinstance(operator, Affine | Linear)


def _parts(operator: Operator, join: _Join) -> Iterator[Operator]:
    """The operator for each part; the first keeps its name."""
    for count, (part, channels) in enumerate(zip(join.parts, join.channels(), strict=True), 1):
        name = operator.name if count == 1 else f"{operator.name}/part{count}"
        output = f"{operator.output}/part{count}"
        yield replace(_cut(operator, channels), name=name, inputs=(part,), output=output)


def _cut(operator: Operator, channels: slice) -> Operator:
    """The operator for some of the channels that it reads; the bias is with the first."""
    if isinstance(operator, Affine):
        return replace(operator, scale=operator.scale[channels], offset=operator.offset[channels])
    if isinstance(operator, Reshape):
        return replace(operator, target=(*operator.target[:-1], channels.stop - channels.start))
    if isinstance(operator, Linear):
        bias = operator.bias if channels.start == 0 else np.zeros_like(operator.bias)
        return replace(operator, weights=operator.weights[..., channels, :], bias=bias)
    return operator


def _summed(operator: Linear, join: _Join) -> Iterator[Operator]:
    """The products of the parts, and their sum two by two."""
    products = [*_parts(operator, join)]
    yield from products
    total = products[0].output
    for count, product in enumerate(products[1:], 2):
        last = "" if count == len(products) else str(count)
        output = f"{operator.output}/total{last}" if last else operator.output
        yield Add(f"{operator.name}/total{last}", (total, product.output), output)
        total = output
