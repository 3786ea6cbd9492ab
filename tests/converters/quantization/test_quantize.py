"""One decision: rewrites, ranges and levels by name, each step of its own, the same every time."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from converters.formats import lower
from converters.graph import LOGITS, Graph, Linear
from converters.passes import simplify
from converters.quantization.quantize import (
    ROUNDINGS,
    STEPS,
    Method,
    Quantized,
    by_format,
    quantize,
    with_float,
)
from converters.quantization.rewrite import restored
from converters.quantization.search import measure
from converters.quantization.silu import scaled_sites
from converters.scheme.parameters import weight_scales
from converters.scheme.recipe import UNCALIBRATED, Recipe
from edgenet.errors import UsageError
from edgenet.measure.accuracy import sqnr_db
from tests.converters.graphs import Chain, answers, float_answers, pixels
from tests.converters.quantization.networks import (
    SIZE,
    batches,
    images_of,
    quantized,
    silu_network,
)

FORMATS = ["tflite", "onnx", "openvino"]
PLAIN = Method(rule="min-max", rounding="nearest", without=frozenset(STEPS))


@pytest.fixture(scope="module")
def graph():
    return silu_network(1)


@pytest.fixture(scope="module")
def made(graph):
    return quantized(graph)


def replayed(recipe: Recipe) -> Recipe:
    """As it comes out of a manifest."""
    return Recipe.from_json(json.loads(json.dumps(recipe.to_json())))


def test_by_default_everything_is_done(made):
    assert made.recipe.corrected
    assert made.recipe.rounding == "least-squares"
    assert set(made.recipe.rewrites) == {"streams", "silu"}
    assert made.images == 24


@pytest.mark.parametrize("step", STEPS)
def test_each_step_can_be_left_out(graph, step):
    found = quantized(graph, without=frozenset({step}))
    assert found.recipe.corrected == (step != "correction")
    assert step not in found.recipe.rewrites
    assert set(found.recipe.rewrites) == {"streams", "silu"} - {step}


def test_with_nothing_done_the_graph_is_as_it_was(graph):
    found = quantize(graph, images_of(batches(24)), PLAIN)
    assert found.recipe.rule == "min-max"
    for format in FORMATS:
        assert found.of(format).operators == graph.operators


def test_weights_are_on_the_levels_that_are_written(made):
    for format in FORMATS:
        for operator in made.of(format).operators:
            if isinstance(operator, Linear):
                assert operator.scales is not None
                shape = (-1, 1) if getattr(operator, "depthwise", False) else (-1,)
                levels = operator.weights / operator.scales.reshape(shape)
                assert np.abs(levels - np.rint(levels)).max() < 1e-3
                assert np.abs(levels).max() <= 127.001


def test_the_float_graph_keeps_its_answers(graph, made):
    images = pixels(4, SIZE, SIZE, seed=3)
    before, after = float_answers(graph, images), float_answers(made.graph, images)
    assert after[LOGITS] == pytest.approx(before[LOGITS], rel=1e-3, abs=1e-4)
    rounded = [
        op for op in made.graph.operators if isinstance(op, Linear) and op.scales is not None
    ]
    assert rounded == []


@pytest.mark.parametrize("format", FORMATS)
def test_ours_is_nearer_to_float_than_plain_in_every_format(graph, made, tmp_path, format):
    images = pixels(64, SIZE, SIZE, seed=1)
    expected = float_answers(graph, images)[LOGITS]

    def kept(one: Quantized, folder: str) -> float:
        (tmp_path / folder).mkdir()
        found = answers(one.of(format), format, "int8", one.recipe, images, tmp_path / folder)
        return sqnr_db(expected, found[LOGITS])

    plain = quantize(graph, images_of(batches(24)), PLAIN)
    assert kept(made, "ours") > kept(plain, "plain") + 3


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("format", FORMATS)
def test_every_rounding_answers_in_every_format(graph, tmp_path, rounding, format):
    found = quantized(graph, rounding=rounding)
    images = pixels(16, SIZE, SIZE, seed=1)
    expected = float_answers(graph, images)[LOGITS]
    got = answers(found.of(format), format, "int8", found.recipe, images, tmp_path)[LOGITS]
    assert sqnr_db(expected, got) > 25


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
@pytest.mark.parametrize("function", ["elu", "gelu", "gelu_tanh"])
def test_a_hidden_layer_of_any_function(tmp_path, function, precision):
    chain = Chain(SIZE, SIZE).normalize().convolution(8, (3, 3), (2, 2)).activation("silu")
    graph = simplify(chain.convolution(16).pool().dense(24).activation(function).dense(8).graph())
    found = quantize(graph, images_of(batches(24)), Method(), precision)
    images = pixels(16, SIZE, SIZE, seed=1)
    expected = float_answers(graph, images)[LOGITS]
    for format in FORMATS:
        (tmp_path / format).mkdir()
        lowered = found.of(format), format, precision, found.recipe, images, tmp_path / format
        got = answers(*lowered)[LOGITS]
        assert sqnr_db(expected, got) > (25 if precision == "int8" else 35)


@pytest.mark.parametrize("format", FORMATS)
def test_equal_inputs_and_a_replayed_recipe_give_equal_bytes(graph, made, tmp_path, format):
    def written(one: Quantized, name: str) -> list[bytes]:
        (tmp_path / name).mkdir()
        files = lower(one.of(format), format, "int8", one.recipe, tmp_path / name)
        return [file.read_bytes() for file in files]

    again = quantized(graph)
    assert again.recipe == made.recipe
    recipe = replayed(made.recipe)
    assert recipe == made.recipe
    first = written(made, "first")
    assert written(again, "again") == first
    assert written(quantized(graph, recipe=recipe), "replayed") == first


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_few_images_do(graph, tmp_path, count):
    found = quantized(graph, count)
    assert found.images == count
    assert np.isfinite(measure(found, "onnx"))
    images = pixels(4, SIZE, SIZE, seed=1)
    got = answers(found.of("onnx"), "onnx", "int8", found.recipe, images, tmp_path)[LOGITS]
    assert sqnr_db(float_answers(graph, images)[LOGITS], got) > 15


@pytest.mark.parametrize("count", [24, 100])
def test_the_fast_effort_tries_fewer_rewrites(graph, count):
    found = quantized(graph, count, effort="fast")
    assert found.images == count
    assert set(found.recipe.rewrites) <= {"streams", "silu", "piecewise"}


@pytest.mark.parametrize("precision", ["w8a16", "w8", "dynamic"])
def test_with_room_for_every_channel_nothing_is_rewritten(graph, precision):
    found = quantize(graph, images_of(batches(8)), Method(), precision)
    assert found.recipe.rewrites == {}
    assert not found.recipe.corrected
    assert found.recipe.activation_bits == {"w8a16": 16, "w8": 32, "dynamic": 8}[precision]
    again = Method(recipe=replayed(found.recipe))
    assert quantize(graph, images_of(batches(8)), again, precision).recipe == found.recipe


def test_a_batch_changes_shapes_alone(made):
    found = made.with_batch(3)
    for format in FORMATS:
        assert found.of(format).input_shape == (3, SIZE, SIZE, 3)
        assert found.of(format).operators == made.of(format).operators


def test_operators_in_float_have_their_own_weights_and_what_is_scaled_for_nothing_is_whole(made):
    graph = made.graph
    (site, *others) = made.recipe.rewrites["silu"]
    product = graph.producers[site]
    convolution, gate = (graph.producers[name] for name in product.inputs)
    unscaled = graph.producers[gate.inputs[0]]
    around = {product.name, convolution.name, gate.name, unscaled.name}
    around |= {reader.name for reader in graph.consumers[site]}
    found = with_float(made, around)
    assert found.recipe == replace(made.recipe, float_operators=around)
    assert set(scaled_sites(found.of("onnx"))) == set(others)
    assert unscaled.name not in {op.name for op in found.of("onnx").operators}
    plain, images = restored(graph, made.recipe.rewrites, around), pixels(4, SIZE, SIZE, seed=3)
    assert float_answers(plain, images)[LOGITS] == pytest.approx(
        float_answers(graph, images)[LOGITS], rel=1e-3, abs=1e-4
    )
    for operator in found.of("onnx").operators:
        if isinstance(operator, Linear):
            assert (operator.scales is None) == (operator.name in around)


def test_a_silu_that_int8_reads_stays_scaled(made):
    site = next(iter(made.recipe.rewrites["silu"]))
    found = with_float(made, {made.graph.producers[site].name})
    assert site in scaled_sites(found.of("onnx"))


def test_a_format_can_have_others_in_float(made):
    first, *_, last = (op.name for op in made.graph.operators if isinstance(op, Linear))
    found = with_float(with_float(made, {first}), {last}, ["openvino"])
    assert found.recipe.float_operators == {first}
    assert found.recipe.float_operators_in == {"openvino": {last}}
    for format in FORMATS:
        weighted = [op for op in found.of(format).operators if isinstance(op, Linear)]
        floats = {operator.name for operator in weighted if operator.scales is None}
        assert floats == ({last} if format == "openvino" else {first})
    whole = with_float(found, (), ["openvino"])
    assert whole.of("tflite") is found.of("tflite")
    again = with_float(whole, (), ["tflite", "onnx"])
    assert again.recipe == made.recipe


def test_each_format_can_be_as_another_network_has_it(made):
    first, *_, last = (op.name for op in made.graph.operators if isinstance(op, Linear))
    others = {"tflite": with_float(made, {first}), "openvino": with_float(made, {last})}
    found = by_format(made, others)
    assert found.recipe.of("tflite").float_operators == {first}
    assert found.recipe.of("onnx").float_operators == frozenset()
    assert found.recipe.of("openvino").float_operators == {last}
    for format in FORMATS:
        assert found.of(format) is others.get(format, made).of(format)
    assert by_format(made, dict.fromkeys(FORMATS, made)) is made


def test_formats_that_are_not_asked_for_are_not_lowered(graph):
    found = quantize(graph, images_of(batches(4)), Method(effort="fast"), formats=["onnx"])
    assert set(found.lowered) == {"onnx"}
    assert set(with_float(found, ()).lowered) == {"onnx"}


@pytest.mark.parametrize("format", FORMATS)
def test_a_mixed_recipe_replays(graph, made, tmp_path, format):
    names = {op.name for op in made.graph.operators[-4:]}
    mixed = with_float(made, names)
    again = quantize(
        graph, images_of(batches(24)), Method(recipe=replayed(mixed.recipe)), "int8-mixed"
    )
    images = pixels(8, SIZE, SIZE, seed=3)
    found = []
    for name, one in (("first", mixed), ("again", again)):
        (tmp_path / name).mkdir()
        found.append(
            answers(one.of(format), format, "int8-mixed", one.recipe, images, tmp_path / name)
        )
    assert np.array_equal(found[0][LOGITS], found[1][LOGITS])


@pytest.mark.parametrize(("effort", "images"), [("fast", 27), ("thorough", 128)])
def test_an_effort_takes_its_own_images_where_no_number_is_asked_for(effort, images):
    assert Method(effort=effort).images(None) == images
    assert Method(effort=effort).images(0) == 0


@pytest.mark.parametrize(
    ("method", "said"),
    [
        (Method(rule="magic"), "no range rule is called 'magic': take one of by-role, min-max"),
        (Method(rounding="up"), "no rounding is called 'up': take one of least-squares, nearest"),
        (Method(effort="none"), "no effort is called 'none': take one of fast, thorough"),
        (
            Method(without=frozenset({"streams", "sleep"})),
            "no step is called 'sleep': take one of outliers, streams, silu, lifting, splitting, "
            "piecewise, correction",
        ),
    ],
)
def test_an_unknown_name_is_told_the_known(graph, method, said):
    with pytest.raises(UsageError, match=said):
        quantize(graph, images_of(batches(1)), method)


def deeper() -> Graph:
    """`silu_network`'s first layers, under the same names, and another one."""
    chain = Chain(SIZE, SIZE).normalize().convolution(8, (3, 3), (2, 2)).activation("silu")
    return chain.convolution(6).convolution(4).head()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda recipe: recipe, "of another network"),
        (lambda recipe: replace(recipe, rewrites={}), "of another network"),
        (lambda recipe: replace(recipe, rewrites={}, ranges={"t1": (0, 1)}), "no range of"),
        (lambda recipe: replace(recipe, rounding="up"), "weights.rounding must be one of"),
        (lambda recipe: replace(recipe, activation_bits=16), "in 16 bits, which is not int8"),
        (lambda recipe: UNCALIBRATED["dynamic"], "without ranges, which is not int8"),
        (
            lambda recipe: replace(recipe, float_operators_in={"onxx": frozenset()}),
            "float_operators_in must be by tflite, onnx, openvino, not 'onxx'",
        ),
    ],
)
def test_a_recipe_of_another_network_or_precision_is_refused(made, change, said):
    method = Method(recipe=change(made.recipe))
    with pytest.raises(UsageError, match=said):
        quantize(deeper(), images_of(batches(2)), method)


def test_progress_is_told(graph):
    lines: list[str] = []
    quantize(graph, images_of(batches(24)), Method(), report=lines.append)
    assert lines == [
        "looking for rewrites that take noise away",
        "calibrating: 16 of 16",
        "rounding weights and correcting biases",
    ]


def test_rounded_weights_are_near_the_nearest_level(made):
    for before, after in zip(made.graph.operators, made.rounded.operators, strict=True):
        if isinstance(before, Linear):
            shape = (-1, 1) if getattr(before, "depthwise", False) else (-1,)
            step = weight_scales(before, paired=True).reshape(shape)
            assert np.max(np.abs(after.weights - before.weights) / step) < 10
