"""Each arrangement lowers a graph of its own and rounds what its engines do."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converters.formats import ARRANGEMENTS, EVERY_TENSOR, LINEAR_INPUTS
from converters.graph import INPUT, LOGITS, PROBABILITIES, Linear
from converters.passes import simplify
from converters.quantization.arrangement import arranged, held_tensors
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import SIZE, quantized, silu_network


@pytest.fixture(scope="module")
def made():
    return quantized(silu_network())


def test_all_that_int8_makes_or_what_weights_read_is_held_but_never_logits(made):
    for arrangement in set(ARRANGEMENTS.values()):
        graph = arranged(made.graph, arrangement)
        wanted = {op.inputs[0] for op in graph.operators if isinstance(op, Linear)} - {INPUT}
        if arrangement == EVERY_TENSOR:
            wanted = set(graph.shapes) - {INPUT, LOGITS, PROBABILITIES}
        assert set(held_tensors(graph, made.recipe, arrangement)) == wanted


def test_the_terms_of_the_logits_are_not_held():
    chain = Chain(SIZE, SIZE).normalize().convolution(8, (3, 3), (2, 2))
    summed = quantized(simplify(chain.summed_head()))
    for arrangement in set(ARRANGEMENTS.values()):
        held = held_tensors(summed.graph, summed.recipe, arrangement)
        assert len(summed.graph.unrounded) == 3
        assert summed.graph.unrounded.isdisjoint(held)


def test_what_float_alone_reads_is_not_held(made):
    graph = arranged(made.graph, LINEAR_INPUTS)
    last = next(op for op in reversed(graph.operators) if isinstance(op, Linear))
    recipe = replace(made.recipe, float_operators=frozenset({last.name}))
    before = held_tensors(graph, made.recipe, LINEAR_INPUTS)
    assert set(before) - set(held_tensors(graph, recipe, LINEAR_INPUTS)) == {last.inputs[0]}
