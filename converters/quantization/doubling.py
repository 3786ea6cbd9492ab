"""Doubled convolutions: what lets the output of SiLU be equalized by channel.

SiLU is x * sigmoid(x), so its channels cannot be scaled before it. With a second copy of the
convolution whose channels are multiplied by gains k, (k * x) * sigmoid(x) = k * SiLU(x) has them
scaled: the next convolution's weights are divided by k, and quiet channels share the 8 bits of the
loud ones fairly. In float nothing changes. The copy costs its time, so a site has to earn it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

import numpy as np

from converters.graph import (
    Activation,
    Affine,
    Convolution,
    Floats,
    Graph,
    Multiply,
    Operator,
    Twin,
)


def candidates(graph: Graph) -> tuple[str, ...]:
    """The outputs of SiLU that a doubled convolution could equalize.

    Only convolutions may read them, and nothing else what they come from. A depthwise convolution
    is not worth doubling: it has no weights that would be shared, only time.
    """
    return tuple(operator.output for operator in graph.operators if _can_double(graph, operator))


def _can_double(graph: Graph, operator: Operator) -> bool:
    if not isinstance(operator, Activation) or operator.function != "silu":
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


def doubled(graph: Graph, chosen: Mapping[str, Floats]) -> Graph:
    """The graph with the convolutions behind these SiLU outputs doubled, by gains (channels,)."""
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in chosen:
            operators += _twins(graph, operator, chosen[operator.output])
        elif isinstance(operator, Convolution) and operator.inputs[0] in chosen:
            operators.append(operator.reading(chosen[operator.inputs[0]]))
        else:
            operators.append(operator)
    return graph.with_operators(operators)


def _twins(graph: Graph, silu: Operator, gain: Floats) -> Iterator[Operator]:
    (source,) = silu.inputs
    convolution = graph.producers[source]
    assert isinstance(convolution, Convolution)
    scaled = convolution.scaled(gain, np.zeros_like(gain))
    fields = {**vars(scaled), "name": f"{convolution.name}_twin", "output": f"{source}_twin"}
    yield Twin(**fields, gains=gain)
    yield Activation(f"{silu.name}_gate", (source,), f"{silu.output}_gate", "sigmoid")
    yield Multiply(silu.name, (f"{source}_twin", f"{silu.output}_gate"), silu.output)


def restored(graph: Graph, sites: Collection[str]) -> Graph:
    """The graph as it was before `doubled` at these outputs of SiLU."""
    operators: list[Operator] = []
    products = {site: graph.producers[site] for site in sites}
    twins = {site: graph.producers[product.inputs[0]] for site, product in products.items()}
    dropped = {name for product in products.values() for name in product.inputs}
    for operator in graph.operators:
        if operator.output in products:
            (source,) = graph.producers[operator.inputs[1]].inputs
            operators.append(Activation(operator.name, (source,), operator.output, "silu"))
        elif isinstance(operator, Convolution) and operator.inputs[0] in products:
            twin = twins[operator.inputs[0]]
            assert isinstance(twin, Twin)
            operators.append(operator.reading(np.float32(1) / twin.gains))
        elif operator.output not in dropped:
            operators.append(operator)
    return graph.with_operators(operators)


def merged(graph: Graph) -> Graph:
    """The same function without twins: k * SiLU(x), for engines that scale channels for nothing."""
    operators: list[Operator] = []
    twins = {op.output: op for op in graph.operators if isinstance(op, Twin)}
    products = [op for op in graph.operators if op.inputs[0] in twins]
    gates = {op.inputs[1]: graph.producers[op.inputs[1]] for op in products}
    for operator in graph.operators:
        if operator.inputs[0] in twins:
            gain = twins[operator.inputs[0]].gains
            (source,) = gates[operator.inputs[1]].inputs
            silu = f"{operator.output}/unscaled"
            scale = (f"{operator.name}_gain", (silu,), operator.output, gain, np.zeros_like(gain))
            operators += [Activation(operator.name, (source,), silu, "silu"), Affine(*scale)]
        elif operator.output not in twins and operator.output not in gates:
            operators.append(operator)
    return graph.with_operators(operators)
