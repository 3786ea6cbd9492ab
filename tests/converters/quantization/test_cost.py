"""Costs rank choices: what is one pass more costs more, and what int8 multiplies no slower less."""

from __future__ import annotations

from hypothesis import assume, given, settings

from converters.graph import Convolution, Graph, Linear
from converters.quantization.cost import in_int8, spared_by_int8
from converters.quantization.lifting import candidates as liftable
from converters.quantization.lifting import lifted
from converters.quantization.silu import candidates, merged, scaled
from tests.converters.quantization.networks import NETWORKS
from tests.converters.quantization.test_silu import random_gains


def time(graph: Graph) -> float:
    return sum(in_int8(graph, operator) for operator in graph.operators)


@settings(max_examples=40)
@given(graph=NETWORKS)
def test_a_scaled_silu_costs_more_than_one_whose_gains_are_a_product(graph):
    assume(candidates(graph))
    rewritten = scaled(graph, random_gains(graph, 0))
    assert time(graph) < time(merged(rewritten)) < time(rewritten)


@settings(max_examples=40)
@given(graph=NETWORKS)
def test_lifted_channels_are_for_nothing(graph):
    gains = {site: gain for site, gain in random_gains(graph, 0).items() if site in liftable(graph)}
    assert time(lifted(graph, gains)) == time(graph)


@settings(max_examples=40)
@given(graph=NETWORKS)
def test_int8_spares_products_and_bytes_alone(graph):
    for operator in graph.operators:
        spared = spared_by_int8(graph, operator)
        products = operator.macs(graph.shapes[operator.output])
        bytes_spared = 12 * operator.weights.size if isinstance(operator, Linear) else 0
        assert 0 <= spared <= products + bytes_spared
        if isinstance(operator, Convolution) and operator.depthwise:
            assert spared == 0
