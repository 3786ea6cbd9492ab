"""One decision: ranges for the activations, levels for the weights, both by name."""

from __future__ import annotations

import numpy as np
import pytest

from converters.graph import LOGITS, Linear
from converters.passes import simplify
from converters.quantization.calibrate import calibrate
from converters.quantization.quantize import ROUNDINGS, quantize
from edgenet.errors import UsageError
from edgenet.measure.accuracy import sqnr_db
from tests.converters.graphs import Chain, answers, float_answers, pixels


@pytest.fixture(scope="module")
def graph():
    chain = Chain(16, 16).normalize().convolution(16, (3, 3), (2, 2)).activation("silu")
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").gate().convolution(16)
    return simplify(chain.head())


@pytest.fixture(scope="module")
def observations(graph):
    return calibrate(graph, (image[None] for image in pixels(24, 16, 16)))


def test_the_graph_stays_but_for_its_weights(graph, observations):
    quantized = quantize(graph, observations)
    assert quantized.recipe.rounding == "least-squares"
    assert quantized.graph.shapes == graph.shapes
    for before, after in zip(graph.operators, quantized.graph.operators, strict=True):
        assert (before.name, before.output) == (after.name, after.output)
        if isinstance(before, Linear):
            step = np.abs(before.weights).max() / 127
            assert np.abs(after.weights - before.weights).max() < 10 * step
        else:
            assert before is after


def test_nearest_leaves_the_weights_to_the_lowering(graph, observations):
    assert quantize(graph, observations, rounding="nearest").graph.operators == graph.operators


@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_every_rounding_answers_in_every_format(graph, observations, tmp_path, rounding, format):
    quantized = quantize(graph, observations, rounding=rounding)
    images = pixels(16, 16, 16, seed=1)
    expected = float_answers(graph, images)[LOGITS]
    found = answers(quantized.graph, format, "int8", quantized.recipe, images, tmp_path)[LOGITS]
    assert sqnr_db(expected, found) > 25


def test_an_unknown_rounding_is_told_the_known(graph, observations):
    with pytest.raises(UsageError, match="'up': take one of least-squares, nearest"):
        quantize(graph, observations, rounding="up")
