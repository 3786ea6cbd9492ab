"""A gated map in two pieces answers as the whole did, and its rounding costs less."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import LOGITS, Capped, Excess, Graph, Linear, Multiply
from converters.quantization.calibrate import calibrate
from converters.quantization.piecewise import candidates, cut, held, restored, within
from converters.quantization.quantize import with_float
from converters.quantization.ranges import choose
from converters.quantization.simulate import logits, noise, simulated
from converters.scheme.recipe import Recipe
from edgenet.measure.accuracy import sqnr_db
from tests.converters.graphs import (
    Chain,
    answers,
    float_answers,
    pixels,
    relative_error,
)
from tests.converters.quantization.networks import (
    NETWORKS,
    SIZE,
    batches,
    loud_network,
    quantized,
)

FORMATS = ["tflite", "onnx", "openvino"]
THRESHOLD = np.float32([1.5])


@pytest.fixture(scope="module")
def made():
    """With its one gated map in pieces."""
    without = frozenset({"streams", "silu"})
    found = quantized(loud_network(), without=without)
    assert set(found.recipe.rewrites) == {"piecewise"}
    return found


def parts_of(graph: Graph) -> list[tuple[object, ...]]:
    return [(type(op), op.name, op.inputs, op.output) for op in graph.operators]


@settings(max_examples=40)
@given(graph=NETWORKS, threshold=st.floats(0.0625, 100, width=32))
def test_pieces_answer_as_the_whole(graph, threshold):
    sites = candidates(graph)
    images = pixels(3, *graph.input_shape[1:3])
    other = cut(graph, dict.fromkeys(sites, np.float32([threshold])))
    before, after = (float_answers(g, images) for g in (graph, other))
    for name in graph.outputs:
        assert relative_error(before[name], after[name]) < 1e-4
    assert parts_of(restored(other, sites)) == parts_of(graph)


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_computes_the_pieces_in_float(tmp_path, format):
    graph = loud_network()
    (site,) = candidates(graph)
    other = cut(graph, {site: THRESHOLD})
    images = pixels(4, SIZE, SIZE)
    before = float_answers(graph, images)[LOGITS]
    after = answers(other, format, "fp32", None, images, tmp_path)[LOGITS]
    assert relative_error(before, after) < 1e-4


def test_one_piece_ends_where_the_other_starts():
    graph = loud_network()
    (site,) = candidates(graph)
    other = cut(graph, {site: THRESHOLD})
    lower, upper = f"{site}/lower", f"{site}/upper"
    tapped = other.renamed({}, (*other.outputs, site, lower, upper))
    found = float_answers(tapped, pixels(4, SIZE, SIZE))
    assert found[lower].max() == pytest.approx(THRESHOLD[0])
    assert found[upper].min() == 0 < found[upper].max()
    assert found[lower] + found[upper] == pytest.approx(found[site], abs=1e-4)
    assert set(held(other, site)) > {lower, upper}
    added = [op for op in other.operators if op.name not in {o.name for o in graph.operators}]
    assert {type(op) for op in added} > {Capped, Excess}
    assert {op.name for op in within(other, site)} > {op.name for op in added}


def test_pieces_are_held_with_less_noise():
    graph = loud_network()
    (site,) = candidates(graph)

    def lost(graph: Graph, *tensors: str) -> float:
        recipe = choose(graph, calibrate(graph, batches(16)).tensors)
        levels = recipe.quantizations(graph)
        unseen = batches(16, seed=1)
        found = logits(simulated(graph, {name: levels[name] for name in tensors}), unseen)
        return noise(found, logits(simulated(graph, {}), unseen))

    other = cut(graph, {site: THRESHOLD})
    assert lost(other, site, f"{site}/lower", f"{site}/upper") < 0.3 * lost(graph, site)


@pytest.mark.parametrize("format", FORMATS)
def test_int8_files_do_what_was_simulated(made, tmp_path, format):
    images = pixels(32, SIZE, SIZE, seed=8)
    expected = float_answers(made.graph, images)[LOGITS]
    got = answers(made.of(format), format, "int8", made.recipe, images, tmp_path)[LOGITS]
    assert sqnr_db(expected, got) > 35


def test_both_pieces_meet_the_same_weights_and_one_bias(made):
    (site,) = made.recipe.rewrites["piecewise"]
    first, second = (
        next(op for op in made.rounded.consumers[f"{site}/{piece}"] if isinstance(op, Linear))
        for piece in ("lower", "upper")
    )
    assert np.array_equal(first.weights, second.weights)
    assert np.array_equal(first.scales, second.scales)
    assert first.bias.any()
    assert not second.bias.any()


def test_what_is_in_float_is_whole(made):
    (site,) = made.recipe.rewrites["piecewise"]
    around = {op.name for op in within(made.graph, site)}
    found = with_float(made, around)
    assert parts_of(found.of("tflite")) == parts_of(loud_network())
    half = with_float(made, list(around)[:1])
    assert parts_of(half.of("tflite")) == parts_of(made.graph)


@pytest.mark.parametrize("format", FORMATS)
def test_a_piece_in_float_beside_one_in_int8_answers_too(made, tmp_path, format):
    (site,) = made.recipe.rewrites["piecewise"]
    images = pixels(8, SIZE, SIZE, seed=8)
    expected = float_answers(made.graph, images)[LOGITS]
    for number, name in enumerate(sorted(op.name for op in within(made.graph, site))):
        found = with_float(made, [name])
        (tmp_path / str(number)).mkdir()
        recipe = found.recipe
        got = answers(
            found.of(format), format, "int8-mixed", recipe, images, tmp_path / str(number)
        )
        assert sqnr_db(expected, got[LOGITS]) > 30


def test_levels_end_where_a_piece_does_whatever_the_recipe_says():
    graph = loud_network()
    (site,) = candidates(graph)
    other = cut(graph, {site: THRESHOLD})
    recipe = Recipe("by hand", dict.fromkeys(other.shapes, (-1.0, 40.0)))
    found = recipe.quantizations(other)
    assert found[f"{site}/lower"].high == pytest.approx(1.5, abs=0.01)
    assert found[site].high == pytest.approx(40, abs=0.2)


def test_gated_maps_that_convolutions_sum_up_are_candidates():
    def gate() -> Chain:
        return Chain(8, 8).normalize().convolution(4).activation("silu").gate()

    chain = gate()
    site = chain.last
    graph = chain.convolution(3).head()
    assert candidates(graph) == (site,)
    assert candidates(graph.renamed({}, (*graph.outputs, site))) == ()
    assert candidates(gate().convolution(3, function="relu").head()) == ()
    assert candidates(gate().head()) == ()


def test_a_gate_of_one_channel_is_no_gate_by_channel():
    chain = Chain(8, 8).normalize().convolution(4).activation("silu")
    source = chain.last
    chain.pool(keep=True).convolution(1).activation("sigmoid").times(source)
    assert candidates(chain.convolution(3, (3, 3)).head()) == ()


def test_a_piece_is_not_cut_again():
    graph = loud_network()
    sites = candidates(graph)
    other = cut(graph, dict.fromkeys(sites, THRESHOLD))
    assert any(isinstance(op, Multiply) for op in other.operators)
    assert candidates(other) == ()
