"""Rewrites are made where they take noise away, in one way a site, and nowhere else."""

from __future__ import annotations

import pytest

from converters.graph import Graph
from converters.passes import simplify
from converters.quantization.calibrate import calibrate
from converters.quantization.lifting import unlifted
from converters.quantization.ranges import choose
from converters.quantization.rewrite import REWRITES, rewritten
from converters.quantization.rewrite_search import rewrite_where_worth
from converters.quantization.simulate import logits, noise, simulated
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import batches, loud_network, silu_network

# Of `silu_network`: one where every kind of rewrite is worth its time.
LOPSIDED = 2


def int8_noise(graph: Graph) -> float:
    """With ranges from some images, on others."""
    recipe = choose(graph, calibrate(graph, batches(16)).tensors)
    unseen = batches(16, seed=1)
    found = logits(simulated(graph, recipe.quantizations(graph)), unseen)
    return noise(found, logits(simulated(graph, {}), unseen))


def test_what_is_chosen_takes_noise_away():
    graph = silu_network(LOPSIDED)
    made = rewrite_where_worth(graph, batches(16, seed=2), "by-role")
    assert set(made) == {"silu", "gating", "lifting"}
    assert int8_noise(unlifted(rewritten(graph, made))) < int8_noise(graph)


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("silu", silu_network(LOPSIDED)),
        ("gating", silu_network(LOPSIDED)),
        ("piecewise", loud_network()),
    ],
)
def test_only_what_is_named_is_tried(name, graph):
    made = rewrite_where_worth(graph, batches(16, seed=2), "by-role", [name])
    assert set(made) == {name}


def test_a_site_is_rewritten_in_one_way_alone():
    made = rewrite_where_worth(loud_network(), batches(16, seed=2), "by-role")
    (site,) = REWRITES["piecewise"].candidates(loud_network())
    assert [site in made.get(name, {}) for name in ("gating", "piecewise")].count(True) == 1


def test_where_channels_are_alike_nothing_is_worth_its_time():
    """Copies of one channel: there is no quiet one to lift."""
    chain = Chain(16, 16).normalize().convolution(8, (3, 3))
    convolution = chain.operators[-1]
    convolution.weights[:] = convolution.weights[..., :1]
    convolution.bias[:] = convolution.bias[:1]
    graph = simplify(chain.activation("silu").convolution(4).head())
    assert REWRITES["silu"].candidates(graph)
    assert rewrite_where_worth(graph, batches(8), "by-role") == {}


def test_networks_without_a_place_are_left_alone():
    graph = simplify(Chain(8, 8).normalize().convolution(4, function="relu6").head())
    assert rewrite_where_worth(graph, batches(4, size=8), "by-role") == {}
