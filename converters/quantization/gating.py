"""Scaled gates: what lets a map be equalized by channel behind squeeze-and-excite.

The map is multiplied by a gate, one value a channel, so a second factor for each channel costs one
product of vectors: the next convolution's weights are divided by it, and in float nothing changes.
The scaled gates share 8 bits too, so it helps only where the map is lopsided, by little factors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from converters.graph import Affine, Capped, Convolution, Floats, Graph, Multiply, Operator


def candidates(graph: Graph) -> tuple[str, ...]:
    """The gated maps that only convolutions read."""
    return tuple(
        operator.output
        for operator in graph.operators
        if isinstance(operator, Multiply)
        and not isinstance(operator, Capped)
        and graph.shapes[operator.inputs[1]][1:] == (1, 1, graph.shapes[operator.output][-1])
        and operator.output not in graph.outputs
        and all(isinstance(reader, Convolution) for reader in graph.consumers[operator.output])
    )


def gated(graph: Graph, chosen: Mapping[str, Floats]) -> Graph:
    """The graph with the gates of these maps multiplied by gains (channels,)."""
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in chosen:
            feature_map, gate = operator.inputs
            gain = chosen[operator.output]
            scaled = f"{operator.output}/factor"
            operators.append(Affine(scaled, (gate,), scaled, gain, np.zeros_like(gain)))
            operators.append(replace(operator, inputs=(feature_map, scaled)))
        elif isinstance(operator, Convolution) and operator.inputs[0] in chosen:
            operators.append(operator.reading(chosen[operator.inputs[0]]))
        else:
            operators.append(operator)
    return graph.with_operators(operators)
