"""A recipe is plain JSON, and says for a graph how each tensor is held."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters.graph import INPUT, LOGITS, PROBABILITIES, Affine, Padding
from converters.passes import simplify
from converters.quantization.parameters import PIXELS, SIGMOID, Quantization
from converters.quantization.recipe import Recipe, exact_shift
from tests.converters.graphs import Chain, pixels, recipe_of


def affine(scale, offset) -> Affine:
    return Affine("a", (INPUT,), "a", np.float32(scale), np.float32(offset))


@pytest.mark.parametrize(
    ("scale", "offset", "shift"),
    [
        ([1, 1, 1], [-127, -127, -127], 127),
        ([1, 1, 1], [0, 0, 0], 0),
        ([1, 1, 1], [-255, -255, -255], 255),
        ([1, 1, 1], [-256, -256, -256], None),
        ([1, 1, 1], [1, 1, 1], None),
        ([1, 1, 1], [-127.5, -127.5, -127.5], None),
        ([1, 1, 1], [-127, -127, -126], None),
        ([1, 1, 2], [-127, -127, -127], None),
    ],
)
def test_one_whole_mean_for_all_channels_is_a_zero_point(scale, offset, shift):
    assert exact_shift(affine(scale, offset)) == shift


def test_the_ranges_come_back_from_json_as_they_were():
    graph = simplify(Chain(8, 8).normalize().convolution(4).activation("silu").gate().head())
    recipe = recipe_of(graph, pixels(3, 8, 8))
    document = json.loads(json.dumps(recipe.to_json()))
    ranges = {name: (low, high) for name, (low, high) in document["ranges"].items()}
    again = Recipe(document["activations"]["rule"], ranges)
    assert again.ranges == recipe.ranges
    assert again.quantizations(graph) == recipe.quantizations(graph)
    assert again.to_json() == recipe.to_json()


def test_input_gates_shifts_and_moves_have_parameters_of_their_own():
    chain = Chain(8, 8).affine(1, -127).pad(Padding(1, 1, 1, 1))
    padded = chain.last
    graph = chain.convolution(4).activation("sigmoid").head()
    ranges = {op.output: (-1.0, 2.0) for op in graph.operators if op.output != PROBABILITIES}
    found = Recipe("by hand", ranges).quantizations(graph)
    assert found[INPUT] == PIXELS
    assert found[graph.operators[0].output] == Quantization(1.0, 127)
    gate = next(op.output for op in graph.operators if getattr(op, "function", "") == "sigmoid")
    assert found[gate] == SIGMOID
    assert found[LOGITS] == Quantization.covering(-1, 2)
    assert found[padded] == found[graph.operators[0].output]


def test_a_mean_is_no_finer_than_onnx_runtime_averages():
    graph = simplify(Chain(8, 8).normalize().convolution(4).head())
    source, pooled = graph.operators[1].output, graph.operators[2].output
    ranges = {op.output: (-1.0, 1.0) for op in graph.operators if op.output != PROBABILITIES}
    for low, high in ((0.0, 1e-9), (-1e-9, 1e-9), (0.0, 0.0)):
        found = Recipe("by hand", ranges | {pooled: (low, high)}).quantizations(graph)
        assert found[source].scale / found[pooled].scale < 256
        assert found[pooled].low <= low
        assert found[pooled].high >= high
    found = Recipe("by hand", ranges | {pooled: (-0.5, 0.5)}).quantizations(graph)
    assert found[pooled] == Quantization.covering(-0.5, 0.5)
