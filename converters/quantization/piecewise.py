"""Maps in two pieces, so that many small values and a few large ones have 256 levels each.

Behind squeeze-and-excite single values are large, in each image those of other channels, so that no
gain by channel helps. Such a map is cut at a threshold t, as piecewise linear quantization does it
(Fang et al. 2020, arXiv:2002.00104): min(x, t) is held in fine levels and max(x - t, 0) in coarse
ones, the convolution that reads it runs on both, and its results are added. In float nothing
changes. In int8 the fine piece is a product that saturates at t; what has to be paid for is a
second convolution, with the same weights.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace

import numpy as np

from converters.graph import Add, Capped, Convolution, Excess, Floats, Graph, Multiply, Operator


def candidates(graph: Graph) -> tuple[str, ...]:
    """The maps, gated by channel, that only convolutions without an activation read."""
    return tuple(
        operator.output
        for operator in graph.operators
        if isinstance(operator, Multiply)
        and not isinstance(operator, Capped)
        and graph.shapes[operator.inputs[1]][1:] == (1, 1, graph.shapes[operator.output][-1])
        and operator.output not in graph.outputs
        and all(_is_linear(reader) for reader in graph.consumers[operator.output])
    )


def _is_linear(operator: Operator) -> bool:
    return isinstance(operator, Convolution) and operator.function == "linear"


def cut(graph: Graph, chosen: Mapping[str, Floats]) -> Graph:
    """The graph with these gated maps in two pieces, by thresholds (1,) above zero."""
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in chosen:
            operators += _pieces(operator, float(chosen[operator.output][0]))
        elif isinstance(operator, Convolution) and operator.inputs[0] in chosen:
            operators += _summed(operator)
        else:
            operators.append(operator)
    return graph.with_operators(operators)


def _pieces(product: Operator, threshold: float) -> Iterator[Operator]:
    lower, upper = _names(product.output)
    yield product
    yield Capped(f"{product.name}/lower", product.inputs, lower, threshold)
    yield Excess(f"{product.name}/upper", (product.output,), upper, threshold)


def _summed(convolution: Convolution) -> Iterator[Operator]:
    (lower, upper), sums = _names(convolution.inputs[0]), _names(convolution.output)
    yield replace(convolution, inputs=(lower,), output=sums[0])
    yield replace(
        convolution,
        name=f"{convolution.name}/upper",
        inputs=(upper,),
        output=sums[1],
        bias=np.zeros_like(convolution.bias),
    )
    yield Add(f"{convolution.name}/total", sums, convolution.output)


def _names(tensor: str) -> tuple[str, str]:
    return f"{tensor}/lower", f"{tensor}/upper"


def held(graph: Graph, site: str) -> tuple[str, ...]:
    """The tensors that hold a map in pieces, and what is made of them before the sum."""
    pieces = _names(site)
    return (*pieces, *(reader.output for piece in pieces for reader in graph.consumers[piece]))


def within(graph: Graph, site: str) -> tuple[Operator, ...]:
    """What makes a map in pieces, and what reads it."""
    makers = [graph.producers[tensor] for tensor in (site, *held(graph, site))]
    lower, _ = _names(site)
    sums = [graph.consumers[reader.output][0] for reader in graph.consumers[lower]]
    return (*makers, *sums)


def restored(graph: Graph, sites: Collection[str]) -> Graph:
    """The graph as it was before `cut` at these maps."""
    inputs, outputs, dropped = dict[str, str](), dict[str, str](), set[str]()
    for site in sites:
        lower, upper = _names(site)
        inputs[lower] = site
        dropped |= {lower, upper}
        for reader in graph.consumers[lower]:
            (total,) = graph.consumers[reader.output]
            outputs[reader.output] = total.output
            dropped |= {total.output}
        dropped |= {reader.output for reader in graph.consumers[upper]}
    return graph.with_operators(
        [
            replace(
                operator,
                inputs=tuple(inputs.get(name, name) for name in operator.inputs),
                output=outputs.get(operator.output, operator.output),
            )
            for operator in graph.operators
            if operator.output not in dropped
        ]
    )
