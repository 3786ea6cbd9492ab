"""Each role on a network's own tensors."""

from __future__ import annotations

import numpy as np
import pytest

from converters.graph import PROBABILITIES, GlobalMaximum, Padding, is_silu
from converters.quantization import lifting, piecewise, silu
from converters.quantization.piecewise import cut
from converters.quantization.roles import Role, role_of
from converters.quantization.silu import scaled
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import network_of_roles, silu_network


def test_roles_in_a_network():
    graph = network_of_roles()
    found = [role_of(graph, operator.output) for operator in graph.operators]
    assert found == [
        Role.VECTOR,  # what is left of the normalization
        *(Role.BEFORE_SILU, Role.SILU),
        Role.LINEAR,
        *(Role.BEFORE_SILU, Role.SILU, Role.BEFORE_SILU_DEPTHWISE, Role.SILU),
        *(Role.VECTOR, Role.VECTOR, Role.VECTOR, Role.VECTOR, Role.GATE),
        *(Role.LINEAR, Role.LINEAR, Role.LINEAR),
        Role.RECTIFIED,
        *(Role.VECTOR, Role.VECTOR, Role.VECTOR),
    ]


def test_roles_of_a_scaled_silu():
    graph = silu_network()
    (site, *_) = silu.candidates(graph)
    graph = scaled(graph, {site: np.ones(graph.shapes[site][-1], np.float32)})
    before, sigmoid = graph.producers[site].inputs
    (source,) = graph.producers[sigmoid].inputs
    found = [role_of(graph, name) for name in (source, sigmoid, before, site)]
    assert found == [Role.BEFORE_SIGMOID, Role.GATE, Role.BEFORE_SCALED_SILU, Role.LINEAR]


def test_lifted_channels_are_a_map_like_any_other():
    graph = silu_network()
    (site,) = lifting.candidates(graph)
    graph = lifting.lifted(graph, {site: np.ones(graph.shapes[site][-1], np.float32)})
    found = [role_of(graph, name) for name in (site, *lifting.held(graph, site))]
    assert found == [Role.SILU, Role.LINEAR]


def test_roles_of_a_map_in_pieces():
    graph = silu_network()
    (site,) = piecewise.candidates(graph)
    (reader,) = graph.consumers[site]
    graph = cut(graph, {site: np.ones(1, np.float32)})
    pieces = (site, f"{site}/lower", f"{site}/upper")
    assert {role_of(graph, name) for name in pieces} == {Role.PIECE}
    sums = (f"{reader.output}/lower", f"{reader.output}/upper", reader.output)
    assert {role_of(graph, name) for name in sums} == {Role.LINEAR}


@pytest.mark.parametrize("step", ["gate", "pad", "leaky", "sum"])
def test_nor_what_comes_before_on_the_way_to_the_maxima(step):
    chain = Chain(8, 8).normalize().convolution(4, (3, 3)).activation("silu").convolution(4, (3, 3))
    skip = chain.last
    if step == "gate":
        chain.gate()
    elif step == "pad":
        chain.pad(Padding(1, 1, 1, 1))
    elif step == "leaky":
        chain.leaky_relu()
    else:
        chain.activation("tanh").plus(skip)
    graph = chain.head(pool=GlobalMaximum)
    assert role_of(graph, skip) is Role.VECTOR
    earlier, *_ = (op.output for op in graph.operators if is_silu(op))
    assert role_of(graph, earlier) is Role.SILU


def test_what_maxima_are_taken_of_is_not_clipped():
    chain = Chain(8, 8).normalize().convolution(4).activation("silu")
    chain.convolution(4).activation("silu")
    graph = chain.head(pool=GlobalMaximum)
    found = [role_of(graph, op.output) for op in graph.operators if op.output != PROBABILITIES]
    assert found == [
        Role.VECTOR,
        *(Role.BEFORE_SILU, Role.SILU),
        *(Role.VECTOR, Role.VECTOR),
        *(Role.VECTOR, Role.VECTOR),
    ]


def test_maxima_are_looked_for_in_networks_of_many_ways():
    """Each residual attention doubles the ways from the first map to the last."""
    chain = Chain(4, 4).normalize().convolution(2, (3, 3))
    first = chain.last
    for _ in range(40):
        source = chain.last
        chain.gate().plus(source)
    assert role_of(chain.head(), first) is Role.LINEAR
