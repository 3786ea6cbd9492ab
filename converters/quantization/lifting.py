"""Lifted channels: equalization of the input of depthwise convolutions, where it costs no time.

A depthwise convolution multiplies each channel by weights of its own, so its input can have a scale
for each channel: behind SiLU the map is multiplied by gains, (channels,), which are divided out of
the scales of the weights; their levels stay what they are. OpenVINO fuses that product into the
convolution before it. For engines that would need a pass over the map, the gains are left out: the
float network has both forms, and each arrangement lowers its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

import numpy as np

from converters.graph import Convolution, Floats, Graph, Lifted, Operator
from converters.quantization import silu


def candidates(graph: Graph) -> tuple[str, ...]:
    """The outputs of SiLU that depthwise convolutions alone read."""
    return tuple(
        site
        for site in silu.candidates(graph)
        if all(isinstance(op, Convolution) and op.depthwise for op in graph.consumers[site])
    )


def lifted(graph: Graph, chosen: Mapping[str, Floats]) -> Graph:
    """The graph with these outputs of SiLU multiplied by gains (channels,) for their readers."""
    moved = {site: (_name(site), gain) for site, gain in chosen.items()}
    operators: list[Operator] = []
    for operator in graph.operators:
        operators.append(_reading(operator, moved))
        if operator.output in moved:
            name, gain = moved[operator.output]
            operators.append(Lifted(name, (operator.output,), name, gain, np.zeros_like(gain)))
    return graph.with_operators(operators)


def _reading(operator: Operator, moved: Mapping[str, tuple[str, Floats]]) -> Operator:
    """A convolution with what it reads under another name and at a gain."""
    source = operator.inputs[0]
    if not isinstance(operator, Convolution) or source not in moved:
        return operator
    name, gain = moved[source]
    return replace(operator.reading(gain), inputs=(name,))


def _name(site: str) -> str:
    return f"{site}/lifted"


def held(graph: Graph, site: str) -> tuple[str, ...]:
    """What holds the lifted channels."""
    return (_name(site),)


def within(graph: Graph, site: str) -> tuple[Operator, ...]:
    """What reads the lifted channels."""
    return graph.consumers[_name(site)]


def restored(graph: Graph, sites: Collection[str]) -> Graph:
    """The graph as it was before `lifted` at these outputs of SiLU."""
    moved = {
        operator.output: (operator.inputs[0], (1 / operator.scale).astype(np.float32))
        for operator in graph.operators
        if isinstance(operator, Lifted) and operator.inputs[0] in sites
    }
    return graph.with_operators(
        [_reading(operator, moved) for operator in graph.operators if operator.output not in moved]
    )


def unlifted(graph: Graph) -> Graph:
    """The same function without gains, for engines that would take a pass for them."""
    sites = [operator.inputs[0] for operator in graph.operators if isinstance(operator, Lifted)]
    return restored(graph, sites)
