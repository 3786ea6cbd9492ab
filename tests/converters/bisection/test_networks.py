"""A file taken apart is still that file, and all of it returned to float is its reference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from converters.bisection.compare import forward, logits, own
from converters.graph import Linear
from converters.passes import simplify
from converters.quantization import lifting
from converters.quantization.piecewise import candidates, cut
from edgenet.measure.accuracy import sqnr_db
from tests.converters.bisection.conftest import FAMILIES, FORMATS, Frozen, opened
from tests.converters.graphs import ENGINES, Chain, recipe_of
from tests.networks import Textures


def nothing(done: int) -> None:
    """Nobody watches."""


def decibels(reference, found) -> float:
    ratio = sqnr_db(reference, found)
    return float("inf") if ratio is None else ratio


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("family", FAMILIES)
class TestEveryFormat:
    def test_untouched_it_answers_as_its_file_does(self, frozen, textures, family, format):
        network, _ = frozen[family].pair(format, "tflite")
        shipped = ENGINES[format](frozen[family].file(format, "int8"), textures, ("logits",))
        assert decibels(shipped["logits"], logits(network, textures)) > 60

    @pytest.mark.parametrize("reference", FORMATS)
    def test_all_in_float_it_answers_as_its_reference(
        self, frozen, textures, family, format, reference
    ):
        network, theirs = frozen[family].pair(format, reference)
        truth = logits(theirs, textures)
        assert decibels(truth, logits(network, textures)) < 40
        # OpenVINO's file has no row of mean pixels, so that ONNX's keeps the levels of its own.
        levels_left = (family, format, reference) == ("b", "onnx", "openvino")
        assert decibels(truth, logits(network, textures, network.quantized)) > (
            70 if levels_left else 80
        )

    def test_an_island_takes_noise_away(self, frozen, textures, family, format):
        network, theirs = frozen[family].pair(format, "tflite")
        truth = logits(theirs, textures)
        early = network.quantized[: 5 * len(network.quantized) // 6]
        whole, island = (decibels(truth, logits(network, textures, r)) for r in ((), early))
        assert whole + 1 < island < 80

    def test_each_step_alone_is_nearer_than_all_together(self, frozen, textures, family, format):
        network, theirs = frozen[family].pair(format, "tflite")
        alone, along = own(network, textures, nothing), forward(network, theirs, textures, nothing)
        assert set(alone) == set(network.quantized)
        last = network.answer
        assert alone[last] > along[last] + 1
        # What the first of them gets is what the reference gets.
        first = next(number for number in network.quantized if number in along)
        assert alone[first] == pytest.approx(along[first], abs=3)

    def test_steps_name_layers_and_know_their_cost(self, frozen, family, format):
        graph = frozen[family].graph
        network, theirs = frozen[family].pair(format, "tflite")
        macs = sum(op.macs(graph.shapes[op.output]) for op in graph.operators)
        assert sum(step.macs for step in network.steps) == macs
        names = {name for op in graph.operators for name in (op.name, op.output)}
        assert {s.layer for s in network.steps if s.macs} == {
            operator.name
            for operator in graph.operators
            if operator.macs(graph.shapes[operator.output])
        }
        compared = [s for s in network.steps if s.tensor in theirs.index]
        moved = [s for s in network.steps if s.kind.upper() in ("TRANSPOSE", "RESHAPE")]
        assert len(compared) > 0.9 * (len(network.steps) - len(moved))
        assert {s.layer for s in compared} <= names
        assert network.steps[network.answer].tensor == "logits"


@pytest.mark.parametrize("format", FORMATS)
def test_a_batch_that_is_not_full_is_filled_and_cut(frozen, textures, format, tmp_path):
    single = frozen["b"]
    height, width = single.graph.input_shape[1:3]
    batched = replace(
        single, graph=replace(single.graph, input_shape=(5, height, width, 3)), folder=tmp_path
    )
    network, _ = batched.pair(format, "tflite")
    ours, _ = single.pair(format, "tflite")
    assert decibels(logits(ours, textures), logits(network, textures)) > 40


@pytest.mark.parametrize("format", FORMATS)
def test_rewritten_weights_are_kept(frozen, textures, format):
    """Doubled weights are not the reference's: put in float, the file must stay what it is."""
    plain = frozen["b"]
    doubled = [
        op.scaled(np.full(op.bias.size, 2, np.float32), np.zeros(op.bias.size, np.float32))
        if op.name == "predictions"
        else op
        for op in plain.graph.operators
    ]
    other = replace(plain, graph=plain.graph.with_operators(doubled))
    theirs = opened("tflite", plain.file("tflite", "fp32"))
    network = opened(format, other.file(format, "int8"), theirs)
    truth = 2 * logits(theirs, textures)
    # What is left is the rounding of those weights.
    assert 30 < decibels(truth, logits(network, textures, network.quantized)) < 80


@pytest.mark.parametrize("format", FORMATS)
def test_pieces_of_a_map_end_in_float_where_their_levels_did(frozen, textures, format, tmp_path):
    whole = frozen["b"]
    sites = candidates(whole.graph)
    graph = cut(whole.graph, dict.fromkeys(sites, np.float32([0.25])))
    recipe = recipe_of(graph, Textures.make(40, seed=3).images)
    assert max(recipe.ranges[site][1] for site in sites) > 0.5
    reference = opened("tflite", whole.file("tflite", "fp32"))
    network = opened(format, Frozen(graph, recipe, tmp_path).file(format, "int8"), reference)
    assert {s.layer for s in network.steps if s.macs} == {
        op.name for op in whole.graph.operators if op.macs(whole.graph.shapes[op.output])
    }
    truth = logits(reference, textures)
    assert decibels(truth, logits(network, textures)) < 40
    # The reference has no weights for pieces, so that those keep their rounding.
    assert 30 < decibels(truth, logits(network, textures, network.quantized)) < 80


def test_lifted_channels_belong_to_their_layer_and_return_with_it(frozen, textures, tmp_path):
    whole = frozen["b"]
    gains = {
        site: np.full(whole.graph.shapes[site][-1], 2, np.float32)
        for site in lifting.candidates(whole.graph)
    }
    graph = lifting.lifted(whole.graph, gains)
    recipe = recipe_of(graph, Textures.make(40, seed=3).images)
    reference = opened("tflite", whole.file("tflite", "fp32"))
    network = opened(
        "openvino", Frozen(graph, recipe, tmp_path).file("openvino", "int8"), reference
    )
    scaled = [step for step in network.steps if step.tensor.endswith("/lifted")]
    assert [step.layer for step in scaled] == [site.split("/")[0] for site in gains]
    truth = logits(reference, textures)
    assert decibels(truth, logits(network, textures)) < 40
    assert decibels(truth, logits(network, textures, network.quantized)) > 30


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_float_already_can_not_return(frozen, textures, format):
    mixed = frozen["b"]
    kept = frozenset({"block2a_dwconv", "block2a_activation", "block2a_project_conv"})
    recipe = replace(mixed.recipe, float_operators=kept)
    reference = opened("tflite", mixed.file("tflite", "fp32"))
    network = opened(format, mixed.file(format, "int8-mixed", recipe), reference)
    layers = {network.steps[number].layer for number in network.quantized}
    assert not layers & kept
    assert "block2b_dwconv" in layers
    truth = logits(reference, textures)
    assert decibels(truth, logits(network, textures)) < 40
    # The weights in float are stored in half.
    assert decibels(truth, logits(network, textures, network.quantized)) > 60


def test_products_of_levels_with_floats_return_too(textures, tmp_path):
    """XNNPACK rounds what they read; maps by channel have no such products and stay as they are."""
    chain = Chain(*textures.shape[1:3]).normalize().convolution(32, (3, 3), (2, 2), function="relu")
    chain.convolution(192, function="relu").convolution(kernel=(3, 3), depthwise=True)
    graph = simplify(chain.convolution(64, function="relu").head(12))
    frozen = Frozen(graph, recipe_of(graph, textures), tmp_path)
    reference = opened("tflite", frozen.file("tflite", "fp32"))
    linear = [op for op in graph.operators if isinstance(op, Linear)]
    stem, expand, _, project, dense = (op.name for op in linear)
    everything = replace(
        frozen.recipe, float_operators=frozenset(op.name for op in graph.operators)
    )
    for precision, rounded in (
        ("dynamic", {stem, expand, project, dense}),
        ("int8-mixed", {expand, project}),
    ):
        network = opened("tflite", frozen.file("tflite", precision, everything), reference)
        assert {network.steps[number].layer for number in network.quantized} == rounded
        truth = logits(reference, textures)
        before, after = (
            decibels(truth, logits(network, textures, r)) for r in ((), network.quantized)
        )
        assert before + 3 < after
