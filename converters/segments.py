"""What is alive along a graph, and where it can be cut in two: where only one tensor is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from converters.graph import INPUT, Graph, Operator


@dataclass(frozen=True, eq=False)
class Segment:
    """Operators in a row that read one tensor from before, `source`, and hand on one, `result`."""

    source: str
    operators: tuple[Operator, ...]
    result: str


def alive(graph: Graph) -> Iterator[tuple[str, ...]]:
    """Behind each operator, in order, the tensors that are made and still to be read."""
    last_read = {name: i for i, op in enumerate(graph.operators) for name in op.inputs}
    names: tuple[str, ...] = (INPUT,)
    for position, operator in enumerate(graph.operators):
        behind = (*names, operator.output)
        names = tuple(name for name in behind if last_read.get(name, -1) > position)
        yield names


def segments(graph: Graph) -> tuple[Segment, ...]:
    """The graph cut wherever only one tensor is alive."""
    found: list[Segment] = []
    start, source = 0, INPUT
    for position, (operator, names) in enumerate(zip(graph.operators, alive(graph), strict=True)):
        if set(names) <= {operator.output}:
            found.append(Segment(source, graph.operators[start : position + 1], operator.output))
            start, source = position + 1, operator.output
    return tuple(found)
