"""Where a graph can be cut in two: wherever only one tensor is alive."""

from __future__ import annotations

from dataclasses import dataclass

from converters.graph import INPUT, Graph, Operator


@dataclass(frozen=True, eq=False)
class Segment:
    """Operators in a row that read one tensor from before, `source`, and hand on one, `result`."""

    source: str
    operators: tuple[Operator, ...]
    result: str


def segments(graph: Graph) -> tuple[Segment, ...]:
    """The graph cut wherever only one tensor is alive."""
    last_read = {name: i for i, op in enumerate(graph.operators) for name in op.inputs}
    found: list[Segment] = []
    start, source = 0, INPUT
    alive = {INPUT}
    for position, operator in enumerate(graph.operators):
        alive = {n for n in (*alive, operator.output) if last_read.get(n, -1) > position}
        if alive <= {operator.output}:
            found.append(Segment(source, graph.operators[start : position + 1], operator.output))
            start, source = position + 1, operator.output
    return tuple(found)
