"""A small network with all that is quantized in a way of its own, and images to do it by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from converters.graph import Convolution, Graph
from converters.passes import simplify
from converters.quantization import gating, silu
from converters.quantization.quantize import Images, Method, Quantized, quantize
from converters.quantization.simulate import Image
from tests.converters.graphs import Chain, Floats, chains, pixels

SIZE = 16


def batches(count: int, seed: int = 0, size: int = SIZE) -> list[Image]:
    """So many images, batches of 1."""
    return [image[None] for image in pixels(count, size, size, seed)]


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
    (site,) = gating.candidates(graph)
    source, loudness = _convolution_before(graph, site), np.ones(16, np.float32)
    loudness[0] = 32
    return graph.with_operators(
        [_rescaled(operator, source, site, loudness) for operator in graph.operators]
    )


def lopsided(graph: Graph, seed: int) -> Graph:
    """Channels behind SiLU 1 to 64 times as loud, and read with weights as much smaller."""
    random = np.random.default_rng(seed)
    for site in (*silu.candidates(graph), *gating.candidates(graph)):
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
