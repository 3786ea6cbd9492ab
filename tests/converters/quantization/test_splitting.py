"""Split channels change no answer; TFLite and ONNX hold each half in levels of its own."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats import ARRANGEMENTS, EVERY_TENSOR, LINEAR_INPUTS, lower
from converters.graph import LOGITS, Concatenate, Convolution, GlobalAverage, Graph, Picked
from converters.passes import simplify
from converters.quantization import lifting
from converters.quantization.arrangement import arranged, held_tensors, simulated_logits
from converters.quantization.quantize import Method, Quantized, quantize, with_float
from converters.quantization.rewrite import rewritten
from converters.quantization.splitting import (
    candidates,
    halved,
    halves,
    restored,
    split,
    split_sites,
    within,
)
from converters.scheme.recipe import Recipe
from edgenet.errors import UsageError
from edgenet.measure.accuracy import sqnr_db
from tests.converters.graphs import Chain, Floats, answers, float_answers, pixels, relative_error
from tests.converters.quantization.networks import (
    SIZE,
    assert_same,
    assert_some_are_undone,
    batches,
    images_of,
    lopsided,
    quantized,
)

CHANNELS = 48
FORMATS = ("tflite", "onnx")


def two_blocks(seed: int = 0, gated: bool = True) -> Graph:
    """Expanded, convolved depthwise, gated and projected, twice; channels of any loudness."""
    chain = Chain(SIZE, SIZE, seed).normalize().convolution(8, (3, 3), (2, 2), function="relu")
    for channels in (CHANNELS, 32):
        chain.convolution(channels).activation("silu").convolution(kernel=(3, 3), depthwise=True)
        chain.activation("silu")
        chain = chain.gate() if gated else chain
        chain.convolution(8)
    return lopsided(simplify(chain.head()), seed)


def any_halves(graph: Graph, seed: int) -> dict[str, Floats]:
    """For every candidate, of which half each channel is, by chance."""
    random = np.random.default_rng(seed)
    return {
        site: halves(random.random(graph.shapes[site][-1]).astype(np.float32))
        for site in candidates(graph)
    }


NETWORKS = st.builds(two_blocks, st.integers(0, 99), st.booleans())


@pytest.fixture(scope="module")
def made() -> Quantized:
    """Split at both sites, for all else is left out."""
    found = quantized(two_blocks(), without=frozenset({"silu", "lifting", "piecewise"}))
    assert len(found.recipe.rewrites["splitting"]) == 2
    return found


@settings(max_examples=20)
@given(graph=NETWORKS, seed=st.integers(0, 999))
def test_split_channels_answer_as_before_in_both_forms_and_go_without_a_trace(graph, seed):
    chosen = any_halves(graph, seed)
    other = split(graph, chosen)
    assert split_sites(other) == tuple(chosen) == candidates(graph)
    apart = halved(other)
    assert not any(isinstance(operator, Picked) for operator in apart.operators)
    images = pixels(3, *graph.input_shape[1:3])
    before = float_answers(graph, images)
    for form in (other, apart):
        after = float_answers(form, images)
        for name in graph.outputs:
            assert relative_error(before[name], after[name]) < 1e-4
    assert_same(graph, restored(other, chosen))


@settings(max_examples=20)
@given(graph=NETWORKS, seed=st.integers(0, 999), data=st.data())
def test_restored_leaves_the_others(graph, seed, data):
    assert_some_are_undone(graph, any_halves(graph, seed), split, restored, data)


@given(st.lists(st.floats(0, 100, width=32), min_size=32, max_size=96))
def test_the_loud_half_is_louder_and_a_multiple_of_what_kernels_take(peaks):
    values = np.array(peaks, np.float32)
    half = halves(values)
    loud, quiet = values[half == 1], values[half == 2]
    assert len(loud) + len(quiet) == len(values)
    assert loud.min() >= quiet.max()
    assert len(loud) % 16 == 0
    assert len(values) / 4 <= len(loud) <= len(values) / 2


def chain(reads: int = 8) -> Chain:
    return Chain(8, 8).normalize().convolution(reads, function="relu").convolution(32)


def test_only_what_one_depthwise_convolution_alone_reads_is_a_candidate():
    depthwise = chain().activation("silu")
    site = depthwise.last
    graph = depthwise.convolution(kernel=(3, 3), depthwise=True).convolution(4).head()
    assert candidates(graph) == (site,)
    gated = chain().activation("silu").gate().convolution(kernel=(3, 3), depthwise=True)
    assert candidates(simplify(gated.convolution(4).head())) == ()
    assert candidates(chain().activation("silu").convolution(4).head()) == ()
    of_few = chain(reads=4).activation("silu").convolution(kernel=(3, 3), depthwise=True)
    assert candidates(of_few.convolution(4).head()) == ()
    relu = chain().activation("relu").convolution(kernel=(3, 3), depthwise=True)
    assert candidates(relu.convolution(4).head()) == ()


def test_an_order_that_would_leave_the_block_is_not_taken():
    """As where what a file hands out is the mean of what is convolved."""
    graph = chain().activation("silu").convolution(kernel=(3, 3), depthwise=True).head()
    pooled = next(op.output for op in graph.operators if isinstance(op, GlobalAverage))
    assert candidates(graph)
    assert candidates(replace(graph, outputs=(*graph.outputs, pooled))) == ()
    summed = chain().activation("silu")
    site = summed.last
    summed.convolution(kernel=(3, 3), depthwise=True).plus(summed.last).convolution(4)
    assert site not in candidates(summed.head())


def test_each_half_has_levels_of_its_own_and_what_joins_them_one_scale(made):
    graph = made.of("tflite")
    levels = made.recipe.quantizations(graph)
    joins = [op for op in graph.operators if isinstance(op, Concatenate)]
    assert len(joins) == 2
    for join in joins:
        assert {levels[name] for name in join.inputs} == {levels[join.output]}
    for site in made.recipe.rewrites["splitting"]:
        loud, quiet = (levels[f"{site}/{half}"] for half in ("loud", "quiet"))
        assert quiet.scale < loud.scale
    assert {op.bias.size for op in graph.operators if isinstance(op, Convolution)} >= {16, 32}


def test_openvino_has_whole_maps_and_gains_beside(made):
    found = quantized(two_blocks(), without=frozenset({"silu", "piecewise"}))
    for one in (found, made):
        names = {operator.name for operator in one.of("openvino").operators}
        assert not any("/quiet" in name or "/joined" in name for name in names)
    site = candidates(two_blocks())[0]
    gains = {"lifting": {site: (2.0,) * CHANNELS}}
    both = rewritten(two_blocks(), {**made.recipe.rewrites, **gains})
    assert f"{site}/lifted" in arranged(both, LINEAR_INPUTS).shapes
    assert f"{site}/lifted" not in arranged(both, EVERY_TENSOR).shapes
    assert f"{site}/quiet" in arranged(both, EVERY_TENSOR).shapes
    assert lifting.candidates(two_blocks())


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_computes_what_is_simulated(made, tmp_path, format):
    images = pixels(16, SIZE, SIZE, seed=8)
    found = answers(made.of(format), format, "int8", made.recipe, images, tmp_path)[LOGITS]
    expected = simulated_logits(made.of(format), made.recipe, format, images[:, None])
    assert sqnr_db(expected, found) > 30


@pytest.mark.parametrize("format", FORMATS)
def test_less_noise_is_heard(made, tmp_path, format):
    images = pixels(64, SIZE, SIZE, seed=8)
    expected = float_answers(two_blocks(), images)[LOGITS]
    without = frozenset({"silu", "lifting", "piecewise", "splitting"})
    kept = [
        sqnr_db(expected, answers(q.of(format), format, "int8", q.recipe, images, tmp_path)[LOGITS])
        for q in (quantized(two_blocks(), without=without), made)
    ]
    assert kept[1] > kept[0] + 1


def test_what_float_computes_stays_whole(made):
    first, second = made.recipe.rewrites["splitting"]
    operators = within(made.graph, first)
    whole = with_float(made, {operator.name for operator in operators})
    part = with_float(made, {operators[0].name})
    for one in (whole, part):
        names = one.of("onnx").shapes
        assert f"{first}/quiet" not in names
        assert f"{second}/quiet" in names
    assert f"{first}/quiet" not in whole.of("onnx").producers


def test_what_returns_to_float_is_named_by_the_loud_half(made):
    """The search takes its names from what is lowered, and recipes from the whole network."""
    first, _ = made.recipe.rewrites["splitting"]
    known = {operator.name for operator in within(made.graph, first)}
    lowered = {operator.name for operator in made.of("tflite").operators}
    assert known <= lowered


def test_held_are_the_joined_and_not_their_parts(made):
    graph = arranged(made.graph, ARRANGEMENTS["tflite"])
    held = held_tensors(graph, made.recipe, ARRANGEMENTS["tflite"])
    for operator in graph.operators:
        if isinstance(operator, Concatenate):
            assert operator.output in held
            assert not set(operator.inputs) & set(held)


@pytest.mark.parametrize("value", [1.0, 2.0, 0.5])
def test_a_recipe_that_names_no_two_halves_is_refused(made, value):
    site, half = next(iter(made.recipe.rewrites["splitting"].items()))
    with pytest.raises(UsageError, match=f"rewrites.splitting.{site} must have a 1 for each"):
        rewritten(two_blocks(), {"splitting": {site: (value,) * len(half)}})


@pytest.mark.parametrize("format", FORMATS)
def test_a_recipe_with_split_channels_replays(made, tmp_path, format):
    recipe = Recipe.from_json(json.loads(json.dumps(made.recipe.to_json())))
    again = quantize(two_blocks(), images_of(batches(24)), Method(recipe=recipe))
    files = []
    for name, one in (("first", made), ("again", again)):
        (tmp_path / name).mkdir()
        files += lower(one.of(format), format, "int8", one.recipe, tmp_path / name)
    before, after = files
    assert before.read_bytes() == after.read_bytes()
