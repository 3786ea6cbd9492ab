"""Rewrites keep the float answers, are made where they take noise away, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import Graph
from converters.passes import simplify
from converters.quantization.calibrate import calibrate
from converters.quantization.equalize import streams
from converters.quantization.ranges import choose
from converters.quantization.recipe import Rewrites
from converters.quantization.rewrite import (
    REWRITES,
    equalize_streams,
    gains,
    rewrite_where_worth,
    rewritten,
)
from converters.quantization.simulate import logits, noise, simulated
from edgenet.errors import UsageError
from tests.converters.graphs import Chain, chains, float_answers, pixels, relative_error
from tests.converters.quantization.networks import batches, silu_network

NETWORKS = st.one_of(chains().map(simplify), st.integers(0, 99).map(silu_network))
# Of `silu_network`: one where every kind of rewrite is worth its time.
LOPSIDED = 2


def everywhere(graph: Graph, seed: int) -> Rewrites:
    """Every rewrite at every place, by random factors."""
    random = np.random.default_rng(seed)

    def drawn(channels: int) -> tuple[float, ...]:
        return tuple(random.uniform(0.5, 8, channels).tolist())

    made = {
        name: {site: drawn(graph.shapes[site][-1]) for site in rewrite.candidates(graph)}
        for name, rewrite in REWRITES.items()
    }
    return made | {"streams": {stream.name: drawn(stream.channels) for stream in streams(graph)}}


@settings(max_examples=40)
@given(graph=NETWORKS, seed=st.integers(0, 999))
def test_all_rewrites_together_answer_as_before(graph, seed):
    images = pixels(3, *graph.input_shape[1:3])
    other = rewritten(graph, everywhere(graph, seed))
    before, after = (float_answers(g, images) for g in (graph, other))
    for name in graph.outputs:
        assert relative_error(before[name], after[name]) < 2e-4


@given(
    peaks=st.lists(st.floats(0, 1e6, width=32), min_size=1, max_size=8),
    exponent=st.sampled_from([0.5, 0.75, 1.0]),
    largest=st.sampled_from([2.0, 16.0]),
)
def test_gains_lift_the_quiet_and_leave_the_loudest(peaks, exponent, largest):
    peaks = np.float32(peaks)
    found = gains(peaks, exponent, largest)
    assert found[peaks.argmax()] == found.min() == 1
    assert found.max() <= largest
    order = np.argsort(peaks)
    assert np.all(np.diff(found[order]) <= 0)


def int8_noise(graph: Graph) -> float:
    """With ranges from some images, on others."""
    recipe = choose(graph, calibrate(graph, batches(16)).tensors)
    unseen = batches(16, seed=1)
    found = logits(simulated(graph, recipe.quantizations(graph)), unseen)
    return noise(found, logits(simulated(graph, {}), unseen))


def test_what_is_chosen_takes_noise_away():
    graph = silu_network(LOPSIDED)
    made = rewrite_where_worth(graph, batches(16, seed=2), "by-role")
    assert set(made) == {"silu", "gating"}
    assert int8_noise(rewritten(graph, made)) < int8_noise(graph)


@pytest.mark.parametrize("name", REWRITES)
def test_only_what_is_named_is_tried(name):
    made = rewrite_where_worth(silu_network(LOPSIDED), batches(16, seed=2), "by-role", [name])
    assert set(made) == {name}


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
    assert equalize_streams(graph, batches(4, size=8)) == {}


def test_every_stream_is_equalized_by_factors_that_a_recipe_keeps_as_they_are():
    graph = silu_network()
    made = equalize_streams(graph, batches(8))
    assert set(made["streams"]) == {stream.name for stream in streams(graph)}
    for factors in made["streams"].values():
        assert min(factors) > 0
        assert factors == tuple(float(f"{factor:.5g}") for factor in factors)
    assert rewritten(graph, made).shapes == graph.shapes


@pytest.mark.parametrize(
    ("rewrites", "said"),
    [
        ({"tripling": {}}, "no rewrite is called 'tripling': take one of streams, silu"),
        ({"silu": {"nowhere": (1.0,)}}, "no silu of 1 channels can be made at 'nowhere'"),
        ({"gating": {"t1": (1.0,) * 8}}, "no gating of 8 channels can be made at 't1'"),
        ({"streams": {"t3": (1.0,) * 5}}, "no streams of 5 channels can be made at 't3'"),
    ],
)
def test_a_rewrite_of_another_network_is_refused(rewrites, said):
    with pytest.raises(UsageError, match=said):
        rewritten(silu_network(), rewrites)
