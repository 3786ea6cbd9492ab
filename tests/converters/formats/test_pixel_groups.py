"""Groups of pixels give the same answers, to the last bit in int8, and are left alone elsewhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from converters.formats import onnx, tflite
from converters.formats.pixel_groups import grouped, spread_like, with_pixel_groups
from converters.graph import Convolution, Graph, Padding, Reshape
from converters.passes import simplify
from tests.converters.graphs import (
    Chain,
    answers,
    float_answers,
    pixels,
    recipe_of,
    relative_error,
    run_onnx,
    run_tflite,
)


def network(width: int, **convolution) -> Graph:
    chain = Chain(9, width).normalize().convolution(**{"out": 16, "kernel": (3, 3)} | convolution)
    return simplify(chain.activation("silu").convolution(8).head())


def first_convolution(graph: Graph) -> Convolution:
    return next(o for o in graph.operators if isinstance(o, Convolution))


def kinds(graph: Graph) -> list[str]:
    return [type(operator).__name__ for operator in graph.operators]


@given(
    width=st.integers(1, 4).map(lambda groups: 4 * groups),
    kernel=st.integers(1, 7),
    stride=st.sampled_from([1, 2, 4]),
    left=st.integers(0, 6),
)
def test_the_float_function_is_the_same(width, kernel, stride, left):
    # As many results as whole strides.
    right = kernel - stride - left
    assume(left < kernel and right >= 0)
    graph = network(
        width, kernel=(3, kernel), strides=(2, stride), padding=Padding(1, 1, left, right)
    )
    recipe = recipe_of(graph, pixels(1, 9, width))
    by_groups = with_pixel_groups(graph, recipe)
    assert kinds(by_groups).count("Reshape") == kinds(graph).count("Reshape") + 2
    images = pixels(2, 9, width)
    expected, found = (float_answers(g, images)["logits"] for g in (graph, by_groups))
    assert relative_error(expected, found) < 1e-5


@pytest.mark.parametrize("format", ["onnx", "tflite"])
def test_the_levels_are_the_same(format, tmp_path, monkeypatch):
    graph = network(16, strides=(2, 2))
    recipe = recipe_of(graph, pixels(4, 9, 16))

    def found(name: str):
        path = tmp_path / name
        if format == "tflite":
            path.write_bytes(tflite.build(graph, "int8", recipe))
            return run_tflite(path, images, graph.outputs)
        path.write_bytes(onnx.build(graph, "int8", recipe).SerializeToString())
        return run_onnx(path, images, graph.outputs)

    images = pixels(4, 9, 16)
    by_groups = found("groups")
    for lowering in (onnx, tflite):
        monkeypatch.setattr(lowering, "with_pixel_groups", lambda graph, recipe: graph)
    one_by_one = found("pixels")
    assert (tmp_path / "groups").read_bytes() != (tmp_path / "pixels").read_bytes()
    for output, values in one_by_one.items():
        np.testing.assert_array_equal(by_groups[output], values)


def test_rounded_weights_keep_their_scales():
    graph = network(16)
    convolution = first_convolution(graph)
    scales = np.linspace(0.1, 0.2, 16, dtype=np.float32)
    by_groups = grouped(replace(convolution, scales=scales), graph.shapes[convolution.inputs[0]])
    np.testing.assert_array_equal(by_groups.scales, np.tile(scales, 4))


@given(kernel=st.integers(1, 7), stride=st.sampled_from([1, 2, 4]), data=st.data())
def test_weights_find_the_places_of_their_rounded_ones(kernel, stride, data):
    left = data.draw(st.integers(max(0, kernel - stride - 6), kernel - 1), "left")
    right = kernel - stride - left
    assume(right >= 0)
    graph = network(16, kernel=(3, kernel), strides=(1, stride), padding=Padding(1, 1, left, right))
    convolution = first_convolution(graph)
    spread = grouped(convolution, graph.shapes[convolution.inputs[0]]).weights
    rounded = np.round(spread / 0.01) * np.float32(0.01)
    np.testing.assert_array_equal(spread_like(convolution.weights, rounded), spread)


@pytest.mark.parametrize("shape", [(3, 3, 3, 16), (1, 1, 12, 64), (3, 2, 11, 60), (3, 2, 12, 61)])
def test_weights_of_another_convolution_have_no_places(shape):
    weights = first_convolution(network(16)).weights[..., :15]
    assert spread_like(weights, np.ones(shape, np.float32)) is None


@pytest.mark.parametrize(
    "graph",
    [
        pytest.param(network(15), id="a width of no whole groups"),
        pytest.param(network(16, strides=(2, 3)), id="a stride across groups"),
        pytest.param(network(16, padding=Padding()), id="fewer results than groups hold"),
        pytest.param(network(16, depthwise=True), id="channel by channel"),
    ],
)
def test_other_convolutions_are_left_alone(graph):
    convolution = first_convolution(graph)
    assert grouped(convolution, graph.shapes[convolution.inputs[0]]) is None


def test_convolutions_may_follow_each_other(tmp_path):
    graph = simplify(Chain(8, 8).normalize().convolution(3, (3, 3)).convolution(8).head())
    images = pixels(1, 8, 8)
    recipe = recipe_of(graph, images)
    assert kinds(with_pixel_groups(graph, recipe)).count("Reshape") == 4
    expected = float_answers(graph, images)["logits"]
    for format in ("onnx", "tflite"):
        found = answers(graph, format, "int8", recipe, images, tmp_path)["logits"]
        assert relative_error(expected, found) < 0.1


def test_only_what_computes_in_int8_is_grouped():
    graph = network(16)
    recipe = recipe_of(graph, pixels(1, 9, 16))
    name = first_convolution(graph).name
    for other in (
        None,
        replace(recipe, activation_bits=16),
        replace(recipe, float_operators=frozenset({name})),
    ):
        assert kinds(with_pixel_groups(graph, other)) == kinds(graph)


def test_what_takes_groups_apart_keeps_names():
    graph = network(16)
    by_groups = with_pixel_groups(graph, recipe_of(graph, pixels(1, 9, 16)))
    assert set(graph.shapes) <= set(by_groups.shapes)
    assert {n: by_groups.shapes[n] for n in graph.shapes} == dict(graph.shapes)
    first = next(o for o in by_groups.operators if isinstance(o, Reshape))
    assert first.inputs == (graph.operators[0].output,)
