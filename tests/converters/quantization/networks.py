"""A small network with all that is quantized in a way of its own, and images to do it by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import strategies as st

from converters.graph import Convolution, Graph, Linear
from converters.passes import simplify
from converters.quantization import piecewise, silu
from converters.quantization.images import Images
from converters.quantization.quantize import Method, Quantized, quantize
from converters.quantization.simulate import Image
from tests.converters.graphs import Chain, Floats, chains, pixels

SIZE = 16


def batches(count: int, seed: int = 0, size: int = SIZE) -> list[Image]:
    """So many images in light of any brightness and colour, batches of 1."""
    light = np.random.default_rng(seed).uniform(0.3, 1, (count, 1, 1, 1, 3))
    images = pixels(count, size, size, seed)[:, None]
    return list((images * light).astype(np.uint8))


def images_of(batches: Sequence[Image]) -> Images:
    """As `quantize` takes them."""
    return Images(lambda: iter(batches), len(batches))


def quantized(graph: Graph, count: int = 24, **method: object) -> Quantized:
    """int8 of a graph, calibrated on `count` smooth random images."""
    return quantize(graph, images_of(batches(count)), Method(**method))  # type: ignore[arg-type]


def silu_network(seed: int = 0) -> Graph:
    """SiLU, squeeze-and-excite, a residual sum; quiet channels weigh as much as the loud ones."""
    chain = Chain(SIZE, SIZE, seed).normalize().convolution(8, (3, 3), (2, 2)).activation("silu")
    skip = chain.convolution(6).last
    chain.convolution(12).activation("silu")
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").gate()
    chain.convolution(6).plus(skip).convolution(16).activation("silu")
    return lopsided(simplify(chain.head()), seed)


def network_of_roles() -> Graph:
    """SiLU behind both kinds of convolution, a gate, a residual sum, ReLU6 and a head."""
    chain = Chain(12, 12).normalize().convolution(4, (3, 3), (2, 2)).activation("silu")
    skip = chain.convolution(4).last
    chain.convolution(8).activation("silu").convolution(kernel=(3, 3), depthwise=True)
    chain.activation("silu").gate().convolution(4).plus(skip)
    chain.convolution(4, function="relu6")
    return simplify(chain.pool().dense(3).graph())


def loud_network() -> Graph:
    """A gated map of 16 channels, one of them 32 times as loud and read as much more quietly."""
    chain = Chain(SIZE, SIZE, seed=3).normalize().convolution(8, (3, 3), (2, 2)).activation("silu")
    chain.convolution(16).activation("silu").convolution(kernel=(3, 3), depthwise=True)
    graph = simplify(chain.activation("silu").gate().convolution(6).head())
    (site,) = piecewise.candidates(graph)
    source, loudness = _convolution_before(graph, site), np.ones(16, np.float32)
    loudness[0] = 32
    return graph.with_operators(
        [_rescaled(operator, source, site, loudness) for operator in graph.operators]
    )


def lopsided(graph: Graph, seed: int) -> Graph:
    """Channels behind SiLU 1 to 64 times as loud, and read with weights as much smaller."""
    random = np.random.default_rng(seed)
    for site in (*silu.candidates(graph), *piecewise.candidates(graph)):
        loudness = np.exp2(random.uniform(-6, 0, graph.shapes[site][-1])).astype(np.float32)
        source = _convolution_before(graph, site)
        graph = graph.with_operators(
            [_rescaled(operator, source, site, loudness) for operator in graph.operators]
        )
    return graph


def _convolution_before(graph: Graph, tensor: str) -> str:
    producer = graph.producers[tensor]
    while not isinstance(producer, Convolution):
        producer = graph.producers[producer.inputs[0]]
    return producer.name


def _rescaled(operator: object, source: str, site: str, loudness: Floats) -> object:
    if not isinstance(operator, Convolution):
        return operator
    if operator.name == source:
        return operator.scaled(loudness, np.zeros_like(loudness))
    if operator.inputs[0] == site:
        return replace(operator, weights=operator.weights / loudness[:, None])
    return operator


def deep_network(seed: int = 0) -> Graph:
    """Seven convolutions with SiLU, one behind the other: a tensor alone between any two."""
    chain = Chain(SIZE, SIZE, seed).normalize().convolution(8, (3, 3), (2, 2)).activation("silu")
    for channels in (16, 12, 16, 12, 16, 24):
        chain.convolution(channels, (3, 3)).activation("silu")
    return lopsided(simplify(chain.head()), seed)


NETWORKS = st.one_of(chains().map(simplify), st.integers(0, 99).map(silu_network))
"""Any chain of the family's operators, and `silu_network`s."""


def assert_same(expected: Graph, found: Graph, rel: float = 0.0) -> None:
    """The same operators on the same tensors, with weights and biases that near, or to the bit."""
    for one, two in zip(expected.operators, found.operators, strict=True):
        assert (type(one), one.name, one.inputs, one.output) == (
            *(type(two), two.name, two.inputs, two.output),
        )
        if isinstance(one, Linear) and isinstance(two, Linear):
            assert two.weights == pytest.approx(one.weights, rel=rel, abs=0)
            assert two.bias == pytest.approx(one.bias, rel=rel, abs=0.1 * rel)


def assert_some_are_undone(
    graph: Graph,
    gains: Mapping[str, Floats],
    apply: Callable[[Graph, Mapping[str, Floats]], Graph],
    restored: Callable[[Graph, Collection[str]], Graph],
    data: st.DataObject,
    rel: float = 0.0,
) -> None:
    """A rewrite at all sites, undone at any of them, is the rewrite at the others."""
    kept = data.draw(st.sets(st.sampled_from(sorted(gains)))) if gains else set[str]()
    found = restored(apply(graph, gains), set(gains) - kept)
    assert_same(apply(graph, {site: gains[site] for site in kept}), found, rel)
