"""Equalization: rescaled channels change no float answer, ruin min-max int8, and not ours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from converters.freeze import freeze
from converters.graph import INPUT, LOGITS, Graph, Linear
from converters.passes import simplify
from converters.quantization.calibrate import channel_peaks
from converters.quantization.equalize import rescaled, stream_factors, streams
from converters.quantization.images import Images
from converters.quantization.quantize import STEPS, Method, Quantized, quantize
from converters.sources import load_source
from edgenet.bundle import InputSpec
from edgenet.images import ImageFolder
from edgenet.measure.accuracy import agreement, sqnr_db
from tests.converters.graphs import (
    Chain,
    answers,
    chains,
    float_answers,
    pixels,
    relative_error,
    run_onnx,
)
from tests.networks import Textures

FORMATS = ["tflite", "onnx", "openvino"]


def random_factors(graph: Graph, seed: int) -> dict[str, np.ndarray]:
    """2^-4…2^4 for each channel of each stream."""
    random = np.random.default_rng(seed)
    return {
        stream.name: (2 ** random.uniform(-4, 4, stream.channels)).astype(np.float32)
        for stream in streams(graph)
    }


def peaks_of(graph: Graph, images: np.ndarray) -> Mapping[str, np.ndarray]:
    """By tensor of every stream: (channels,)."""
    tensors = [tensor for stream in streams(graph) for tensor in stream.tensors]
    if not tensors:
        return {}
    return channel_peaks(graph, (image[None] for image in images), tensors)


def equalize_by(graph: Graph, images: np.ndarray) -> Graph:
    return rescaled(graph, stream_factors(graph, peaks_of(graph, images)))


def residual(function: str = "linear") -> Chain:
    """Two projections joined by a sum; the last tensor is the sum."""
    chain = Chain(8, 8).normalize().convolution(8, (3, 3)).activation("silu")
    chain.convolution(6, function=function)
    source = chain.last
    return chain.convolution(12).activation("silu").convolution(6).plus(source)


def test_a_stream_is_what_sums_join_and_linear_operators_make_and_read():
    graph = residual().convolution(5).activation("silu").head()
    (stream,) = streams(graph)
    assert stream.channels == 6
    assert stream.tensors == ("t3", "t6", "t7")
    assert stream.producers == ("t3", "t6")
    assert stream.readers == ("t4", "t8")


def test_relu_lets_factors_through_and_relu6_does_not():
    assert len(streams(residual("relu").convolution(5).activation("silu").head())) == 1
    assert streams(residual("relu6").convolution(5).activation("silu").head()) == ()
    apart = residual().activation("relu").convolution(5).activation("silu").head()
    assert streams(apart)[0].tensors == ("t3", "t6", "t7", "t8")


@pytest.mark.parametrize("function", ["silu", "tanh", "relu6", "sigmoid"])
def test_what_is_not_linear_ends_a_stream(function):
    assert streams(residual().activation(function).convolution(5).activation("silu").head()) == ()


def test_gates_are_no_streams():
    assert streams(residual().gate().convolution(5).activation("silu").head()) == ()


def test_a_sum_that_spreads_one_channel_over_all_is_no_stream():
    chain = Chain(8, 8).normalize().convolution(8, (3, 3)).activation("silu").convolution(6)
    source = chain.last
    graph = chain.convolution(1).plus(source).convolution(5).activation("silu").head()
    assert streams(graph) == ()
    assert equalize_by(graph, pixels(2, 8, 8)).operators == graph.operators


def test_input_and_outputs_are_no_streams():
    graph = residual().head()
    (stream,) = streams(graph)
    assert INPUT not in stream.tensors
    assert LOGITS not in stream.tensors
    features = next(operator.output for operator in graph.operators[-3:-2])
    assert streams(graph.renamed({}, (*graph.outputs, features))) == ()


def test_a_reshape_that_keeps_the_channels_is_of_the_stream():
    kept = residual().pool().reshape(1, 1, 6).convolution(5).activation("silu").head()
    assert "t9" in streams(kept)[0].tensors
    assert streams(residual().reshape(8 * 8 * 6).dense(5).graph()) == ()


@settings(max_examples=50)
@given(graph=chains().map(simplify), seed=st.integers(0, 999))
def test_rescaling_changes_no_answer(graph, seed):
    height, width = graph.input_shape[1:3]
    images = pixels(3, height, width, seed)
    other = rescaled(graph, random_factors(graph, seed))
    before, after = (float_answers(g, images)[LOGITS] for g in (graph, other))
    assert relative_error(before, after) < 1e-4


@settings(max_examples=30)
@given(graph=chains().map(simplify), seed=st.integers(0, 999))
def test_equalizing_changes_no_answer_and_undoes_a_rescaling(graph, seed):
    height, width = graph.input_shape[1:3]
    images = pixels(3, height, width, seed)
    # The scale of what is dead is of no matter where what reads it is, and stays.
    assume(all(peaks.all() for peaks in peaks_of(graph, images).values()))
    equal = equalize_by(graph, images)
    before, after = (float_answers(g, images)[LOGITS] for g in (graph, equal))
    assert relative_error(before, after) < 1e-4
    other = rescaled(graph, random_factors(graph, seed))
    assert_same(equal, equalize_by(other, images))


def test_streams_that_read_each_other_are_undone_too():
    chain = Chain(8, 8).normalize().convolution(8, (3, 3), function="relu")
    chain.convolution(kernel=(3, 3), depthwise=True, function="relu").convolution(6)
    graph = chain.pool().dense(9, "relu").dense(7, "relu").dense(4).graph()
    images = pixels(4, 8, 8)
    assert len(streams(graph)) == 5
    other = rescaled(graph, random_factors(graph, 1))
    assert_same(equalize_by(graph, images), equalize_by(other, images))


def assert_same(one: Graph, two: Graph) -> None:
    for a, b in zip(one.operators, two.operators, strict=True):
        if isinstance(a, Linear) and isinstance(b, Linear):
            for x, y in ((a.weights, b.weights), (a.bias, b.bias)):
                assert np.abs(x - y).max() <= 2e-4 * np.abs(x).max()


def test_channels_that_are_never_alive_or_never_read_do_no_harm():
    graph = residual("relu").convolution(5).activation("silu").head()
    operators = list(graph.operators)
    for index, operator in enumerate(operators):
        if operator.name == "t3":
            operator.bias[:2], operator.weights[..., :2] = -1e3, 0
        if operator.name == "t6":
            operator.bias[0], operator.weights[..., 0] = 0, 0
        if operator.name in ("t4", "t8"):
            operator.weights[:, :, 5:] = 0
        operators[index] = operator
    images = pixels(3, 8, 8)
    equal = equalize_by(graph, images)
    weights = [operator.weights for operator in equal.operators if isinstance(operator, Linear)]
    assert all(np.isfinite(w).all() and np.abs(w).max() < 1e9 for w in weights)
    before, after = (float_answers(g, images)[LOGITS] for g in (graph, equal))
    assert relative_error(before, after) < 1e-4


def ours(graph: Graph, images: np.ndarray) -> Quantized:
    return made(graph, images, Method(effort="fast"))


def plain(graph: Graph, images: np.ndarray) -> Quantized:
    return made(graph, images, Method("min-max", "nearest", without=frozenset(STEPS)))


def made(graph: Graph, images: np.ndarray, method: Method) -> Quantized:
    return quantize(graph, Images(lambda: (image[None] for image in images), len(images)), method)


@pytest.fixture(scope="module", params=["b", "lite"])
def stressed(request, tiny_models) -> tuple[Graph, dict[str, Quantized]]:
    """A tiny network, and int8 of it and of its like with rescaled channels."""
    import keras

    graph = freeze(keras.saving.load_model(tiny_models[request.param], compile=False))
    other = rescaled(graph, random_factors(graph, 2))
    images = Textures.make(16, seed=5).images
    return graph, {
        "ours": ours(graph, images),
        "plain": plain(graph, images),
        "rescaled, ours": ours(other, images),
        "rescaled, plain": plain(other, images),
    }


@pytest.mark.parametrize("format", FORMATS)
def test_rescaled_channels_ruin_min_max_and_not_ours(stressed, tmp_path, format):
    graph, files = stressed
    photos = Textures.make(50, seed=6).images
    expected = float_answers(graph, photos)[LOGITS]

    def quality(name: str) -> float:
        one = files[name]
        found = answers(one.of(format), format, "int8", one.recipe, photos, tmp_path)[LOGITS]
        return sqnr_db(expected, found) or np.inf

    assert abs(quality("rescaled, ours") - quality("ours")) < 1
    assert quality("rescaled, plain") < quality("plain") - 6


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["b0", "lite0"])
def test_rescaled_channels_cost_published_weights_less_than_a_point(shared, published, variant):
    spec = published.bundle(variant, "fp32").manifest.input
    weights = shared / "weights" / "efficientnetb0.weights.h5" if variant == "b0" else None
    graph = freeze(load_source(variant, weights=weights).model)
    other = rescaled(graph, random_factors(graph, 1))
    images = prepared(shared / "data" / "calib-1000", spec, 32)
    seen = prepared(shared / "data" / "val-1300", spec, 650)
    few = seen[::5]
    expected = float_answers(graph, seen)[LOGITS]

    def answered(one: Quantized, photos: np.ndarray) -> np.ndarray:
        from converters.formats.onnx import build

        model = build(one.of("onnx"), "int8", one.recipe).SerializeToString()
        return run_onnx(model, photos, (LOGITS,))[LOGITS]

    assert agreement(expected[::5], float_answers(other, few)[LOGITS]) == 1
    assert agreement(expected[::5], answered(plain(other, images), few)) < 0.5
    before, after = (answered(ours(one, images), seen) for one in (graph, other))
    assert agreement(expected, after) >= agreement(expected, before) - 0.01
    assert sqnr_db(expected, after) > sqnr_db(expected, before) - 1


def prepared(folder: Path, spec: InputSpec, count: int) -> np.ndarray:
    """So many photos of a folder."""
    batches = ImageFolder.open(folder).sample(count).batches(spec, 32)
    return np.concatenate([batch.images for batch in batches])
