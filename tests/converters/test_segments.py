"""What is alive, and segments: the graph cut wherever only one tensor is."""

from __future__ import annotations

from hypothesis import given, settings

from converters.graph import INPUT
from converters.passes import simplify
from converters.segments import alive, segments
from tests.converters.graphs import Chain, chains


@settings(max_examples=60)
@given(graph=chains().map(simplify))
def test_what_is_alive_is_all_that_the_rest_is_made_of(graph):
    for count, names in enumerate(alive(graph), start=1):
        left = graph.operators[count:]
        read = {name for operator in left for name in operator.inputs}
        assert len(names) == len(set(names))
        assert set(names) == read - {operator.output for operator in left}


@settings(max_examples=60)
@given(graph=chains().map(simplify))
def test_segments_cover_the_operators_and_hand_on_one_tensor(graph):
    found = segments(graph)
    assert tuple(op for segment in found for op in segment.operators) == graph.operators
    source = INPUT
    for segment in found:
        made = {op.output for op in segment.operators}
        assert segment.source == source
        assert {name for op in segment.operators for name in op.inputs} <= made | {source}
        later = [op for op in graph.operators if op not in segment.operators]
        assert all(made.isdisjoint(op.inputs) for op in later if segment.result not in op.inputs)
        source = segment.result
        assert source == segment.operators[-1].output


def test_every_tensor_that_is_alone_ends_a_segment():
    chain = Chain(8, 8).normalize().convolution(4)
    skip = chain.last
    graph = chain.activation("silu").convolution(4).plus(skip).convolution(3).head()
    assert [len(segment.operators) for segment in segments(graph)] == [1, 1, 3, 1, 1, 1, 1]
