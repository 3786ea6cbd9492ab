"""Rewrites keep the float answers, and are undone where nothing is left in int8."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import LOGITS, Graph
from converters.passes import simplify
from converters.quantization.equalize import streams
from converters.quantization.rewrite import (
    REWRITES,
    equalize_streams,
    gains,
    restored,
    rewritten,
)
from converters.scheme.document import Rewrites
from edgenet.errors import UsageError
from tests.converters.graphs import Chain, float_answers, pixels, relative_error
from tests.converters.quantization.networks import (
    NETWORKS,
    assert_same,
    batches,
    silu_network,
)


def everywhere(graph: Graph, seed: int) -> Rewrites:
    """Every rewrite at every place, by random factors."""
    random = np.random.default_rng(seed)

    def drawn(count: int) -> tuple[float, ...]:
        return tuple(random.uniform(0.5, 8, count).tolist())

    made = {
        name: {site: drawn(rewrite.count(graph, site)) for site in rewrite.candidates(graph)}
        for name, rewrite in REWRITES.items()
    }
    # Of the same places, each takes one of the two.
    for site in tuple(made["lifting"]):
        del made[str(random.choice(["silu", "lifting"]))][site]
    made["streams"] = {stream.name: drawn(stream.channels) for stream in streams(graph)}
    return {name: by_site for name, by_site in made.items() if by_site}


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


def test_what_is_in_float_is_rewritten_no_more():
    graph = silu_network()
    rewrites = everywhere(graph, 1)
    other = rewritten(graph, rewrites)
    names = {operator.name for operator in other.operators}
    found = restored(other, rewrites, names)
    assert [op.name for op in found.operators if op.name not in names] == []
    # What is left costs nothing: gains of streams.
    assert_same(rewritten(graph, {"streams": rewrites["streams"]}), found, 1e-6)
    images = pixels(3, *graph.input_shape[1:3])
    before, after = (float_answers(g, images) for g in (graph, found))
    assert relative_error(before[LOGITS], after[LOGITS]) < 2e-4
    (first, *others) = rewrites["silu"]
    within = {op.name for op in REWRITES["silu"].within(other, first)}
    left = {**rewrites, "silu": {site: rewrites["silu"][site] for site in others}}
    assert_same(rewritten(graph, left), restored(other, rewrites, within), 1e-6)
    assert_same(other, restored(other, rewrites, ()))


def test_networks_without_streams_are_left_alone():
    graph = simplify(Chain(8, 8).normalize().convolution(4, function="relu6").head())
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
        ({"silu": {"nowhere": (1.0,)}}, "no silu by 1 values can be made at 'nowhere'"),
        ({"piecewise": {"t15": (1.0,) * 2}}, "no piecewise by 2 values can be made at 't15'"),
        ({"streams": {"t3": (1.0,) * 5}}, "no streams by 5 values can be made at 't3'"),
    ],
)
def test_a_rewrite_of_another_network_is_refused(rewrites, said):
    with pytest.raises(UsageError, match=said) as caught:
        rewritten(silu_network(), rewrites)
    assert "take one of" in said or "convert without it to make a new one" in str(caught.value)
