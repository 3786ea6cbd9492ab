"""Lifted channels change no answer and no level of the weights, and OpenVINO alone takes them."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats import ARRANGEMENTS, lower
from converters.graph import LOGITS, Graph, Lifted, Linear
from converters.passes import simplify
from converters.quantization import rewrite, rewrite_search, silu
from converters.quantization.arrangement import arranged
from converters.quantization.lifting import candidates, lifted, restored, unlifted, within
from converters.quantization.quantize import Method, Quantized, quantize, with_float
from converters.scheme.recipe import Recipe
from edgenet.measure.accuracy import sqnr_db
from tests.converters.graphs import Chain, Floats, answers, float_answers, pixels, relative_error
from tests.converters.quantization.networks import (
    NETWORKS,
    SIZE,
    assert_same,
    assert_some_are_undone,
    batches,
    images_of,
    quantized,
)

CHANNELS = 32


def inverted_bottleneck() -> Graph:
    """Expanded, convolved depthwise and projected; every other channel is 32 times as quiet."""
    chain = Chain(SIZE, SIZE, 1).normalize().convolution(8, (3, 3), (2, 2), function="relu")
    chain.convolution(CHANNELS).activation("silu").convolution(kernel=(3, 3), depthwise=True)
    graph = simplify(chain.activation("silu").convolution(6).head())
    (site,) = candidates(graph)
    loudness = np.where(np.arange(CHANNELS) % 2, 1, 1 / 32).astype(np.float32)
    source = graph.producers[graph.producers[site].inputs[0]]
    (reader,) = graph.consumers[site]
    assert isinstance(source, Linear)
    assert isinstance(reader, Linear)
    changed = {
        source.name: source.scaled(loudness, np.zeros_like(loudness)),
        reader.name: reader.reading(loudness),
    }
    return graph.with_operators([changed.get(op.name, op) for op in graph.operators])


def powers_of_two(graph: Graph, seed: int) -> dict[str, Floats]:
    """A gain of 1 to 16 for each channel of every candidate."""
    random = np.random.default_rng(seed)
    return {
        site: np.exp2(random.integers(0, 5, graph.shapes[site][-1])).astype(np.float32)
        for site in candidates(graph)
    }


def worth_no_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on maps so large that no pass over them is worth its time."""
    monkeypatch.setattr(rewrite_search, "_added_time", lambda graph, site, name: math.inf)


@pytest.fixture(scope="module")
def made():
    """With lifted channels."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        worth_no_pass(monkeypatch)
        found = quantized(inverted_bottleneck())
    assert set(found.recipe.rewrites) - {"streams"} == {"lifting"}
    return found


@settings(max_examples=40)
@given(graph=NETWORKS, seed=st.integers(0, 999))
def test_lifted_channels_answer_as_before_and_go_without_a_trace(graph, seed):
    gains = powers_of_two(graph, seed)
    other = lifted(graph, gains)
    assert sum(isinstance(op, Lifted) for op in other.operators) == len(gains)
    images = pixels(3, *graph.input_shape[1:3])
    before, after = float_answers(graph, images), float_answers(other, images)
    for name in graph.outputs:
        assert relative_error(before[name], after[name]) < 1e-4
    assert_same(graph, unlifted(other))


@settings(max_examples=40)
@given(graph=NETWORKS, seed=st.integers(0, 999), data=st.data())
def test_restored_leaves_the_others(graph, seed, data):
    gains = powers_of_two(graph, seed)
    assert_some_are_undone(graph, gains, lifted, restored, data)


def test_only_what_depthwise_convolutions_alone_read_is_a_candidate():
    depthwise = Chain(8, 8).normalize().convolution(4).activation("silu")
    site = depthwise.last
    graph = depthwise.convolution(kernel=(3, 3), depthwise=True).head()
    assert candidates(graph) == (site,)
    assert candidates(silu.scaled(graph, powers_of_two(graph, 0))) == ()
    plain = Chain(8, 8).normalize().convolution(4).activation("silu").convolution(4).head()
    assert silu.candidates(plain)
    assert candidates(plain) == ()
    both = Chain(8, 8).normalize().convolution(4).activation("silu")
    site, other = both.last, both.convolution(4).last
    both.last = site
    read_by_both = both.convolution(kernel=(3, 3), depthwise=True).plus(other).head()
    assert silu.candidates(read_by_both) == (site,)
    assert candidates(read_by_both) == ()
    assert (
        candidates(simplify(Chain(8, 8).normalize().convolution(4, function="relu6").head())) == ()
    )


def test_quiet_channels_are_lifted_where_scaling_is_not_worth_its_time(made):
    (site,) = candidates(inverted_bottleneck())
    gains = np.array(made.recipe.rewrites["lifting"][site])
    assert gains[::2].min() > gains[1::2].max() >= 1


def test_where_scaling_is_worth_its_time_nothing_is_lifted():
    found = quantized(inverted_bottleneck(), without=frozenset({"splitting"}))
    assert set(found.recipe.rewrites) - {"streams"} == {"silu"}


@pytest.mark.parametrize("step", ["silu", "lifting"])
def test_channels_are_not_lifted_without(step, monkeypatch):
    worth_no_pass(monkeypatch)
    found = quantized(inverted_bottleneck(), without=frozenset({step}))
    assert set(found.recipe.rewrites) <= {"streams"}


def test_each_arrangement_takes_its_own(made):
    for format, takes in (("tflite", False), ("onnx", False), ("openvino", True)):
        for graph in (made.of(format), arranged(made.graph, ARRANGEMENTS[format])):
            assert any(isinstance(op, Lifted) for op in graph.operators) == takes


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_the_files_of_other_formats_are_as_without(made, tmp_path, format):
    plain = quantized(inverted_bottleneck(), without=frozenset({"silu", "splitting"}))

    def written(one: Quantized, name: str) -> bytes:
        (tmp_path / name).mkdir()
        (file,) = lower(one.of(format), format, "int8", one.recipe, tmp_path / name)
        return file.read_bytes()

    assert written(made, "lifted") == written(plain, "plain")


def test_the_weights_keep_their_levels(made):
    (site,) = made.recipe.rewrites["lifting"]
    (plain,) = made.of("tflite").consumers[site]
    (reader,) = made.of("openvino").consumers[f"{site}/lifted"]
    levels = [op.weights / op.scales[:, None] for op in (plain, reader)]
    assert np.array_equal(*levels)
    assert not np.array_equal(plain.scales, reader.scales)


def test_openvino_hears_less_noise(made, tmp_path):
    images = pixels(64, SIZE, SIZE, seed=8)
    expected = float_answers(inverted_bottleneck(), images)[LOGITS]
    plain = quantized(inverted_bottleneck(), without=frozenset({"silu"}))
    kept = [
        sqnr_db(
            expected,
            answers(q.of("openvino"), "openvino", "int8", q.recipe, images, tmp_path)[LOGITS],
        )
        for q in (plain, made)
    ]
    assert kept[1] > kept[0] + 1


def test_what_float_reads_is_not_lifted(made):
    (site,) = made.recipe.rewrites["lifting"]
    (reader,) = within(made.graph, site)
    found = with_float(made, {reader.name})
    plain = rewrite.restored(made.graph, made.recipe.rewrites, {reader.name})
    assert_same(plain, unlifted(made.graph))
    assert not any(isinstance(op, Lifted) for op in found.of("openvino").operators)
    other = with_float(made, {made.graph.producers[site].name})
    assert any(isinstance(op, Lifted) for op in other.of("openvino").operators)


def test_a_recipe_with_lifted_channels_replays(made, tmp_path):
    recipe = Recipe.from_json(json.loads(json.dumps(made.recipe.to_json())))
    again = quantize(inverted_bottleneck(), images_of(batches(24)), Method(recipe=recipe))
    files = []
    for name, one in (("first", made), ("again", again)):
        (tmp_path / name).mkdir()
        files.append(lower(one.of("openvino"), "openvino", "int8", one.recipe, tmp_path / name))
    for before, after in zip(*files, strict=True):
        assert before.read_bytes() == after.read_bytes()
