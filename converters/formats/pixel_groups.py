"""A convolution of few channels as one over groups of neighbouring pixels, which have enough.

Kernels that read channels by fours have no way with the three of an RGB image: ONNX Runtime first
copies what lies under the kernel at each place into a matrix. But bytes that are held channels last
are a map of groups as well: four pixels of three channels are one of twelve. A kernel over groups,
zero where no pixel of its window lies, makes all results of a group at once, and the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from converters.graph import Convolution, Floats, Graph, Operator, Padding, Reshape, Shape
from converters.scheme.parameters import own_scales
from converters.scheme.recipe import Recipe

CHANNELS = 4
GROUPS = "/groups"
"""What the name of a tensor ends with that holds another one's values in groups."""


def with_pixel_groups(graph: Graph, recipe: Recipe | None) -> Graph:
    """The graph with its convolutions of few channels done so, where they compute in int8."""
    if recipe is None or not recipe.ranges or recipe.activation_bits != 8:
        return graph
    operators: list[Operator] = []
    for operator in graph.operators:
        by_groups = None
        if isinstance(operator, Convolution) and operator.name not in recipe.float_operators:
            by_groups = grouped(operator, graph.shapes[operator.inputs[0]])
        if by_groups is None:
            operators.append(operator)
        else:
            operators += _surrounded(by_groups, graph.shapes)
    return graph.with_operators(operators)


def _surrounded(by_groups: Convolution, shapes: Mapping[str, Shape]) -> list[Operator]:
    """The convolution between what makes groups of pixels and what takes them apart."""
    (source,), result, name = by_groups.inputs, by_groups.output, by_groups.name
    taken, made = f"{result}{GROUPS}/read", f"{result}{GROUPS}"
    _, height, width, channels = shapes[source]
    together = by_groups.weights.shape[2]
    groups = (height, width * channels // together, together)
    return [
        Reshape(f"{name}/group", (source,), taken, groups),
        replace(by_groups, inputs=(taken,), output=made),
        Reshape(f"{name}/ungroup", (made,), result, shapes[result][1:]),
    ]


def grouped(convolution: Convolution, source: Shape) -> Convolution | None:
    """The same convolution from (batch, height, width / n, n·in) pixels, n in a group.

    Its results are the same bytes as well, seen as (batch, height, width / n, n / stride · out).

    Args:
        convolution: Of a map held channels last.
        source: That map's shape.

    Returns:
        The one over the smallest groups with a multiple of `CHANNELS` channels; None where there
        are so many from the start, or where the width is not of whole groups.
    """
    _, _, width, channels = source
    stride, pad = convolution.strides[1], convolution.padding
    pixels = CHANNELS // int(np.gcd(CHANNELS, channels))
    results = pixels // stride
    whole = width % pixels == 0 and results * stride == pixels
    if convolution.depthwise or channels >= CHANNELS or not whole:
        return None
    if convolution.shape((source,))[2] * stride != width:
        return None
    before = -(-pad.left // pixels)
    starts = [before * pixels - pad.left + stride * result for result in range(results)]
    groups = max((starts[-1] + convolution.weights.shape[1] - 1) // pixels, before) + 1
    weights = _spread(convolution.weights, starts, groups, pixels)
    return replace(
        convolution,
        weights=weights,
        bias=np.tile(convolution.bias, results),
        scales=np.tile(own_scales(convolution, paired=True), results),
        strides=(convolution.strides[0], 1),
        padding=Padding(pad.top, pad.bottom, before, weights.shape[1] - 1 - before),
    )


def spread_like(weights: Floats, spread: Floats) -> Floats | None:
    """The weights, (height, width, in, out), at the places that rounded ones of theirs have.

    Args:
        weights: Of a convolution.
        spread: Those of one over groups of pixels, (height, groups, n·in, results·out).

    Returns:
        Weights of the shape of `spread`; None where it can not be of such a convolution.
    """
    height, width, channels, out = weights.shape
    groups, pixels, results = spread.shape[1], spread.shape[2] // channels, spread.shape[3] // out
    shape = (height, groups * pixels, channels, results, out)
    if spread.size != prod(shape) or groups * pixels < width or spread.shape[0] != height:
        return None
    windows = sliding_window_view(spread.reshape(shape), width, axis=1)
    likeness = np.einsum("hscrow,hwco->rs", windows, weights)
    return _spread(weights, likeness.argmax(axis=1).tolist(), groups, pixels)


def _spread(weights: Floats, starts: list[int], groups: int, pixels: int) -> Floats:
    """The weights, (height, groups, n·in, results·out), of windows that start at these pixels."""
    height, width, channels, out = weights.shape
    spread = np.zeros((height, groups * pixels, channels, len(starts), out), np.float32)
    for result, start in enumerate(starts):
        spread[:, start : start + width, :, result] = weights
    return spread.reshape(height, groups, pixels * channels, -1)
