"""Rewrites are made where they take noise away, in one way a site, and nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.graph import Graph
from converters.passes import simplify
from converters.quantization import rewrite_search
from converters.quantization.calibrate import calibrate
from converters.quantization.lifting import unlifted
from converters.quantization.ranges import choose
from converters.quantization.rewrite import REWRITES, rewritten
from converters.quantization.rewrite_search import (
    _amplitude,
    _around,
    _Bench,
    _Candidate,
    _price,
    _worth_their_time,
    rewrite_where_worth,
)
from converters.quantization.simulate import Image, logits, noise, simulated
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import batches, loud_network, silu_network

# Of `silu_network`: one where every kind of rewrite is worth its time, and one where none is.
LOPSIDED, QUIET = 28, 2
PRICES = ("_AMPLITUDE_OF_TIME", "_AMPLITUDE_BESIDE_FLOAT")
FULL_PRICES = {name: getattr(rewrite_search, name) for name in PRICES}


def halves(count: int, **options: int) -> tuple[Sequence[Image], Sequence[Image]]:
    images = batches(count, **options)
    return images[::2], images[1::2]


def int8_noise(graph: Graph) -> float:
    """With ranges from some images, on others."""
    recipe = choose(graph, calibrate(graph, batches(16)).tensors)
    unseen = batches(16, seed=1)
    found = logits(simulated(graph, recipe.quantizations(graph)), unseen)
    return noise(found, logits(simulated(graph, {}), unseen))


def test_what_is_chosen_takes_noise_away():
    graph = silu_network(LOPSIDED)
    made = rewrite_where_worth(graph, *halves(16, seed=2), "by-role")
    assert set(made) == {"silu", "lifting", "piecewise"}
    assert int8_noise(unlifted(rewritten(graph, made))) < int8_noise(graph)


@pytest.mark.parametrize(
    ("name", "graph"),
    [
        ("silu", silu_network(LOPSIDED)),
        ("piecewise", loud_network()),
    ],
)
def test_only_what_is_named_is_tried(name, graph):
    made = rewrite_where_worth(graph, *halves(16, seed=2), "by-role", [name])
    assert set(made) == {name}


def test_what_is_scaled_is_not_lifted_too():
    made = rewrite_where_worth(silu_network(LOPSIDED), *halves(16, seed=2), "by-role")
    assert set(made["silu"]).isdisjoint(made["lifting"])


def test_where_channels_are_alike_nothing_is_worth_its_time():
    """Copies of one channel: there is no quiet one to lift."""
    chain = Chain(16, 16).normalize().convolution(8, (3, 3))
    convolution = chain.operators[-1]
    convolution.weights[:] = convolution.weights[..., :1]
    convolution.bias[:] = convolution.bias[:1]
    graph = simplify(chain.activation("silu").convolution(4).head())
    assert REWRITES["silu"].candidates(graph)
    assert rewrite_where_worth(graph, *halves(8), "by-role") == {}


def test_networks_without_a_place_are_left_alone():
    graph = simplify(Chain(8, 8).normalize().convolution(4, function="relu6").head())
    assert rewrite_where_worth(graph, *halves(4, size=8), "by-role") == {}


@pytest.fixture
def full_price(monkeypatch):
    for name, price in FULL_PRICES.items():
        monkeypatch.setattr(rewrite_search, name, price)


def test_what_is_quiet_is_not_worth_time(full_price):
    assert rewrite_where_worth(silu_network(QUIET), *halves(16), "by-role", ["silu"]) == {}


def candidate(removed: float, time: float) -> _Candidate:
    return _Candidate("silu", np.ones(1, np.float32), removed, 0.0, _price(time, limited=False))


def test_the_same_share_of_less_noise_is_worth_less_time(full_price):
    loud, quiet = candidate(0.01, 0.02), candidate(0.0001, 0.02)
    assert _worth_their_time({"site": [loud]}, 0.04) == {"site": loud}
    assert _worth_their_time({"site": [quiet]}, 0.0004) == {}


def test_beside_what_float_takes_a_rewrites_time_is_cheap(full_price):
    assert 0 < _price(0.1, limited=True) < _price(0.1, limited=False)
    bought = _Candidate("silu", np.ones(1, np.float32), 0.004, 0.0, _price(0.15, limited=True))
    assert _worth_their_time({"small": [bought]}, 0.0345) == {"small": bought}


def test_what_is_not_worth_its_time_alone_may_be_beside_another(full_price):
    large, small = candidate(0.03, 0.01), candidate(0.004, 0.15)
    assert _worth_their_time({"small": [small]}, 0.0345) == {}
    both = {"small": [small], "large": [large]}
    assert _worth_their_time(both, 0.0345) == {"small": small, "large": large}


@pytest.mark.parametrize("name", ["silu", "piecewise"])
def test_what_a_rewrite_leaves_alone_need_not_be_seen_again(name):
    graph = silu_network(LOPSIDED)
    bench = _Bench(*halves(8), "by-role", corrected=True)
    statistics = calibrate(graph, bench.seen).tensors
    rewrite = REWRITES[name]
    sites = rewrite.candidates(graph)
    after = rewrite.apply(graph, {site: rewrite.options[0](statistics[site]) for site in sites})
    every = bench.sensitivity(after, calibrate(after, bench.seen).tensors)
    for site in sites:
        around = _around(after, site, rewrite.held(after, site))
        found = bench.sensitivity(after, statistics, around)
        assert set(found.held) == around & set(every.held)
        assert found.noise(around) == pytest.approx(every.noise(around), rel=1e-3)


CANDIDATE = st.builds(candidate, st.floats(-0.002, 0.02), st.floats(0.001, 0.1))


@given(sites=st.lists(st.lists(CANDIDATE, min_size=1), max_size=5), noise=st.floats(0.001, 0.1))
def test_no_other_choice_at_any_site_would_cost_less(sites, noise):
    found = {str(place): candidates for place, candidates in enumerate(sites)}

    def cost(chosen: Mapping[str, _Candidate | None]) -> float:
        made = [one for one in chosen.values() if one is not None]
        left = noise - math.fsum(one.removed for one in made)
        return _amplitude(left) + sum(one.price for one in made)

    chosen = _worth_their_time(found, noise)
    for site, candidates in found.items():
        assert chosen.get(site) in [None, *candidates]
        for other in [None, *candidates]:
            assert cost(chosen) <= cost({**chosen, site: other}) + 1e-12
