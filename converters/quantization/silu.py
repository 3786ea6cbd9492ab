"""Scaled SiLU: what lets the output of SiLU be equalized by channel.

SiLU is x * sigmoid(x), so its channels cannot be scaled before it. Taken apart they can: the
convolution makes k * x, a channel's gain k is divided out again for the sigmoid alone, and
(k * x) * sigmoid(x) = k * SiLU(x). The next convolution's weights are divided by k, and quiet
channels share the 8 bits of the loud ones fairly. In float nothing changes. The division is one
more pass over the map, so a site has to earn it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from converters.graph import (
    Activation,
    Affine,
    Convolution,
    Floats,
    Graph,
    Linear,
    Multiply,
    Operator,
    Unscaled,
    is_silu,
)


def candidates(graph: Graph) -> tuple[str, ...]:
    """The outputs of SiLU that could be scaled.

    Only convolutions may read them, and nothing else what they come from. A depthwise convolution
    is left alone: what reads its SiLU is a gate and an average, not weights.
    """
    return tuple(operator.output for operator in graph.operators if _can_scale(graph, operator))


def _can_scale(graph: Graph, operator: Operator) -> bool:
    if not is_silu(operator):
        return False
    convolution = graph.producers[operator.inputs[0]]
    return (
        isinstance(convolution, Convolution)
        and not convolution.depthwise
        and graph.shapes[operator.output][1:3] != (1, 1)
        and len(graph.consumers[operator.inputs[0]]) == 1
        and operator.output not in graph.outputs
        and all(isinstance(reader, Convolution) for reader in graph.consumers[operator.output])
    )


def scaled(graph: Graph, chosen: Mapping[str, Floats]) -> Graph:
    """The graph with these outputs of SiLU multiplied by gains (channels,)."""
    made = {graph.producers[site].inputs[0]: gain for site, gain in chosen.items()}
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in chosen:
            operators += _taken_apart(operator, chosen[operator.output])
            continue
        if isinstance(operator, Convolution) and operator.inputs[0] in chosen:
            operator = operator.reading(chosen[operator.inputs[0]])
        if isinstance(operator, Convolution) and operator.output in made:
            operator = _making(operator, made[operator.output], _scaled_name(operator.output))
        operators.append(operator)
    return graph.with_operators(operators)


def _scaled_name(source: str) -> str:
    return f"{source}/scaled"


def _taken_apart(silu: Operator, gain: Floats) -> Iterator[Operator]:
    (source,), gate = silu.inputs, f"{silu.output}/sigmoid"
    product = _scaled_name(source)
    zeros = np.zeros_like(gain)
    undo = (1 / gain).astype(np.float32)
    yield Unscaled(f"{silu.name}/unscaled", (product,), source, undo, zeros)
    yield Activation(f"{silu.name}/sigmoid", (source,), gate, "sigmoid")
    yield Multiply(silu.name, (product, gate), silu.output)


def _making(operator: Linear, gain: Floats, output: str) -> Linear:
    return replace(operator.scaled(gain, np.zeros_like(gain)), output=output)


def within(graph: Graph, site: str) -> tuple[Operator, ...]:
    """What makes a scaled SiLU, and what reads it."""
    product = graph.producers[site]
    return (graph.producers[product.inputs[0]], product, *graph.consumers[site])


def restored(graph: Graph, sites: Collection[str]) -> Graph:
    """The graph as it was before `scaled` at these outputs of SiLU."""
    undone = {site: _unscaled(graph, site).scale for site in sites}
    operators = [
        operator.reading(undone[operator.inputs[0]])
        if isinstance(operator, Convolution) and operator.inputs[0] in undone
        else operator
        for operator in _put_together(graph, sites)
        # The gains of what reads it are undone as well.
        if operator.output not in undone
    ]
    names = {f"{site}/unscaled": site for site in sites}
    return graph.with_operators(operators).renamed(names, graph.outputs)


def merged(graph: Graph) -> Graph:
    """The same function as SiLU times gains, for engines that scale channels for nothing."""
    return graph.with_operators(_put_together(graph, scaled_sites(graph)))


def scaled_sites(graph: Graph) -> tuple[str, ...]:
    """The outputs of SiLU that are multiplied by gains."""
    return tuple(
        reader.output
        for operator in graph.operators
        if isinstance(operator, Unscaled)
        for reader in graph.consumers[operator.inputs[0]]
        if isinstance(reader, Multiply)
    )


def _put_together(graph: Graph, sites: Collection[str]) -> list[Operator]:
    """The operators with one SiLU and a product with its gains at each site."""
    unscaled = {site: _unscaled(graph, site) for site in sites}
    made = {operator.inputs[0]: operator for operator in unscaled.values()}
    dropped = {graph.producers[site].inputs[1] for site in sites}
    dropped |= {operator.output for operator in unscaled.values()}
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in unscaled:
            operators += _whole(operator, unscaled[operator.output])
        elif isinstance(operator, Convolution) and operator.output in made:
            undo = made[operator.output]
            operators.append(_making(operator, undo.scale, undo.output))
        elif operator.output not in dropped:
            operators.append(operator)
    return operators


def _unscaled(graph: Graph, site: str) -> Unscaled:
    (source,) = graph.producers[graph.producers[site].inputs[1]].inputs
    operator = graph.producers[source]
    assert isinstance(operator, Unscaled)
    return operator


def _whole(product: Operator, unscaled: Unscaled) -> Iterator[Operator]:
    silu, gain = f"{product.output}/unscaled", (1 / unscaled.scale).astype(np.float32)
    yield Activation(product.name, (unscaled.output,), silu, "silu")
    yield Affine(f"{product.name}/factor", (silu,), product.output, gain, np.zeros_like(gain))
