"""A scaled SiLU has its channels multiplied by gains, and no answer changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import Activation, Affine, Graph, Unscaled
from converters.quantization.silu import candidates, merged, restored, scaled, scaled_sites
from tests.converters.graphs import Chain, Floats, float_answers, pixels, relative_error
from tests.converters.quantization.networks import (
    NETWORKS,
    assert_same,
    assert_some_are_undone,
    silu_network,
)


def random_gains(graph: Graph, seed: int) -> dict[str, Floats]:
    """1…16 for each channel of every candidate."""
    random = np.random.default_rng(seed)
    return {
        site: (2 ** random.uniform(0, 4, graph.shapes[site][-1])).astype(np.float32)
        for site in candidates(graph)
    }


def assert_same_answers(one: Graph, two: Graph) -> None:
    images = pixels(3, *one.input_shape[1:3])
    before, after = float_answers(one, images), float_answers(two, images)
    for name in one.outputs:
        assert relative_error(before[name], after[name]) < 1e-4


@settings(max_examples=40)
@given(graph=NETWORKS, seed=st.integers(0, 999))
def test_scaled_and_merged_answer_as_before(graph, seed):
    other = scaled(graph, random_gains(graph, seed))
    assert_same_answers(graph, other)
    assert_same_answers(graph, merged(other))


@settings(max_examples=40)
@given(graph=NETWORKS, seed=st.integers(0, 999), data=st.data())
def test_restored_is_the_graph_as_it_was(graph, seed, data):
    gains = random_gains(graph, seed)
    assert_some_are_undone(graph, gains, scaled, restored, data, rel=1e-6)


def test_the_output_of_silu_is_scaled_by_channel():
    graph = silu_network()
    site = candidates(graph)[0]
    gain = np.arange(1, graph.shapes[site][-1] + 1, dtype=np.float32)
    images = pixels(2, *graph.input_shape[1:3])
    tapped = [
        float_answers(g.renamed({}, (*g.outputs, site)), images)[site]
        for g in (graph, scaled(graph, {site: gain}))
    ]
    assert tapped[1] == pytest.approx(tapped[0] * gain[:, None, None], rel=1e-4, abs=1e-5)


def test_without_a_site_nothing_changes():
    graph = silu_network()
    for same in (scaled(graph, {}), restored(graph, ()), merged(graph)):
        kept = [(op.name, op.inputs, op.output) for op in same.operators]
        assert kept == [(op.name, op.inputs, op.output) for op in graph.operators]


def test_a_gain_is_divided_out_before_the_sigmoid_and_merged_behind_silu():
    graph = silu_network()
    gains = random_gains(graph, 0)
    other = scaled(graph, gains)
    assert sorted(scaled_sites(other)) == sorted(gains)
    found = merged(other)
    assert len(gains) > 1
    assert scaled_sites(found) == ()
    assert not any(isinstance(op, Unscaled) for op in found.operators)
    for site, gain in gains.items():
        scale = found.producers[site]
        assert isinstance(scale, Affine)
        assert scale.scale == pytest.approx(gain)
        assert not scale.offset.any()


def test_powers_of_two_leave_the_weights_as_they_were_to_the_bit():
    graph = silu_network()
    gains = {site: np.exp2(np.rint(np.log2(g))) for site, g in random_gains(graph, 1).items()}
    found = restored(scaled(graph, gains), tuple(gains))
    assert_same(graph, found)


def test_silu_between_convolutions_alone_is_a_candidate():
    chain = Chain(8, 8).normalize().convolution(4, (3, 3)).activation("silu")
    first = chain.last
    chain.convolution(6).activation("silu")
    assert candidates(chain.convolution(4).head()) == (first, "t4")


@pytest.mark.parametrize("function", ["relu", "sigmoid", "tanh"])
def test_other_functions_are_none(function):
    chain = Chain(8, 8).normalize().convolution(4).activation(function)
    assert candidates(chain.convolution(4).head()) == ()


def test_what_more_than_convolutions_read_is_none():
    pooled = Chain(8, 8).normalize().convolution(4).activation("silu")
    assert candidates(pooled.head()) == ()
    chain = Chain(8, 8).normalize().convolution(4).activation("silu")
    source = chain.last
    assert candidates(chain.convolution(4).plus(source).convolution(3).head()) == ()
    read_twice = Chain(8, 8).normalize().convolution(4)
    before = read_twice.last
    read_twice.activation("silu").convolution(4).plus(before)
    assert candidates(read_twice.head()) == ()


def test_depthwise_convolutions_vectors_and_outputs_are_none():
    depthwise = Chain(8, 8).normalize().convolution(kernel=(3, 3), depthwise=True)
    assert candidates(depthwise.activation("silu").convolution(4).head()) == ()
    gate = Chain(8, 8).normalize().convolution(4, function="relu").gate().convolution(3).head()
    assert any(isinstance(op, Activation) and op.function == "silu" for op in gate.operators)
    assert candidates(gate) == ()
    graph = Chain(8, 8).normalize().convolution(4).activation("silu").convolution(3).head()
    (site,) = candidates(graph)
    assert candidates(graph.renamed({}, (*graph.outputs, site))) == ()
