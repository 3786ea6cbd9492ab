"""Both ends of a network without floats: the same function, but for the edge of padded maps."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import LOGITS, PROBABILITIES, Affine, Graph, Padding
from converters.npu.pixels import centred, without_probabilities
from converters.scheme.recipe import exact_shift
from tests.converters.graphs import Chain, float_answers, pixels, relative_error

means = st.lists(st.floats(90, 160), min_size=3, max_size=3)


def network(mean: list[float], padding: Padding | None) -> Graph:
    chain = Chain(12, 12).affine([1, 1, 1], [-value for value in mean])
    return chain.convolution(4, (3, 3), (2, 2), padding, function="relu6").head()


def shift_of(graph: Graph) -> int | None:
    normalize = graph.operators[0]
    assert isinstance(normalize, Affine)
    return exact_shift(normalize)


@given(mean=means)
@settings(max_examples=20)
def test_without_padding_the_function_is_the_same(mean: list[float]) -> None:
    graph, images = network(mean, Padding()), pixels(4, 12, 12)
    found = centred(graph)
    assert shift_of(found) == round(sum(mean) / 3)
    wanted = float_answers(graph, images)
    for name, answer in float_answers(found, images).items():
        assert relative_error(wanted[name], answer) < 1e-4


def test_with_padding_only_its_edge_differs() -> None:
    mean = [123.675, 116.28, 103.53]
    images = pixels(4, 12, 12)
    maps = {}
    for name, graph in (("plain", network(mean, None)), ("centred", centred(network(mean, None)))):
        stem = graph.operators[1].output
        maps[name] = float_answers(
            Graph("stem", graph.input_shape, graph.operators[:2], (stem,)), images
        )[stem]
    inside = np.s_[:, :, :-1, :-1]  # Channels first; SAME with a stride of 2 pads right and below.
    assert relative_error(maps["plain"][inside], maps["centred"][inside]) < 1e-4
    assert np.any(maps["plain"] != maps["centred"])


def test_one_mean_for_all_channels_is_left_alone() -> None:
    graph = network([127, 127, 127], None)
    assert centred(graph) is graph


def test_probabilities_are_left_out_and_nothing_else() -> None:
    graph = network([1, 2, 3], None)
    found = without_probabilities(graph)
    assert found.outputs == (LOGITS,)
    assert [op.output for op in found.operators] == [
        op.output for op in graph.operators if op.output != PROBABILITIES
    ]
