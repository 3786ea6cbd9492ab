"""A scaled gate scales the map behind it by channel, and no answer changes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import Affine
from converters.quantization.gating import candidates, gated
from tests.converters.graphs import Chain, float_answers, pixels, relative_error
from tests.converters.quantization.networks import NETWORKS, silu_network


@settings(max_examples=40)
@given(graph=NETWORKS, seed=st.integers(0, 999))
def test_scaled_gates_answer_as_before(graph, seed):
    random = np.random.default_rng(seed)
    gains = {
        site: random.uniform(1, 4, graph.shapes[site][-1]).astype(np.float32)
        for site in candidates(graph)
    }
    images = pixels(3, *graph.input_shape[1:3])
    before, after = (float_answers(g, images) for g in (graph, gated(graph, gains)))
    for name in graph.outputs:
        assert relative_error(before[name], after[name]) < 1e-4


def test_the_map_is_scaled_by_channel_and_the_cost_is_a_product_of_vectors():
    graph = silu_network()
    (site,) = candidates(graph)
    gain = np.linspace(1, 4, graph.shapes[site][-1], dtype=np.float32)
    other = gated(graph, {site: gain})
    images = pixels(2, *graph.input_shape[1:3])
    before, after = (
        float_answers(g.renamed({}, (*g.outputs, site)), images)[site] for g in (graph, other)
    )
    assert after == pytest.approx(before * gain[:, None, None], rel=1e-4, abs=1e-5)
    (added,) = [op for op in other.operators if op.name not in {o.name for o in graph.operators}]
    assert isinstance(added, Affine)
    assert other.shapes[added.output] == (1, 1, 1, gain.size)


def test_without_a_site_nothing_changes():
    graph = silu_network()
    assert gated(graph, {}).operators == graph.operators


def test_a_gate_of_one_channel_has_no_gains():
    """It multiplies all channels alike."""
    chain = Chain(8, 8).normalize().convolution(4).activation("silu")
    source = chain.last
    chain.pool(keep=True).convolution(1).activation("sigmoid").times(source)
    assert candidates(chain.convolution(3, (3, 3)).head()) == ()


def test_maps_that_convolutions_alone_read_are_candidates():
    def gate() -> Chain:
        return Chain(8, 8).normalize().convolution(4).activation("silu").gate()

    chain = gate()
    assert candidates(chain.convolution(3).head()) == (chain.operators[-5].output,)
    assert candidates(gate().head()) == ()
    kept = gate()
    site = kept.last
    graph = kept.convolution(3).head()
    assert candidates(graph) == (site,)
    assert candidates(graph.renamed({}, (*graph.outputs, site))) == ()
