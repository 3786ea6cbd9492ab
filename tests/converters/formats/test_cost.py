"""Costs rank choices: what an engine has to do more costs more, in each what it is slow at."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import pytest
from hypothesis import assume, given, settings

from converters.formats import LOWERINGS
from converters.formats.cost import (
    all_in_int8,
    at_border,
    in_float,
    in_int8,
    rounds_pixels,
)
from converters.graph import Graph, Linear, is_silu
from converters.passes import simplify
from converters.quantization.lifting import candidates as liftable
from converters.quantization.lifting import lifted
from converters.quantization.silu import candidates, merged, scaled
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import NETWORKS, silu_network
from tests.converters.quantization.test_silu import random_gains


@settings(max_examples=40)
@given(graph=NETWORKS)
def test_a_scaled_silu_is_for_nothing_only_where_gains_are_part_of_the_convolution(graph):
    assume(candidates(graph))
    rewritten = scaled(graph, random_gains(graph, 0))
    for format in ("tflite", "onnx"):
        times = [all_in_int8(one, format) for one in (graph, merged(rewritten), rewritten)]
        assert times[0] < times[1] < times[2]
    assert all_in_int8(merged(rewritten), "openvino") == all_in_int8(graph, "openvino")


@settings(max_examples=40)
@given(graph=NETWORKS)
def test_lifted_channels_are_for_nothing(graph):
    gains = {site: gain for site, gain in random_gains(graph, 0).items() if site in liftable(graph)}
    for format in LOWERINGS:
        assert all_in_int8(lifted(graph, gains), format) == all_in_int8(graph, format)


@pytest.mark.parametrize("format", LOWERINGS)
@given(graph=NETWORKS)
def test_more_values_take_more_time_in_int8_and_in_float(graph, format):
    larger = replace(graph, input_shape=(2, *graph.input_shape[1:]))
    for operator in graph.operators:
        for time in (in_int8, in_float):
            assert 0 <= time(graph, operator, format) <= time(larger, operator, format)
        values = prod(graph.shapes[operator.output])
        assert 0 < at_border(values, format) < at_border(2 * values, format)


@pytest.mark.parametrize("format", LOWERINGS)
def test_int8_multiplies_faster(format):
    graph = simplify(Chain(32, 32).normalize().convolution(64).convolution(64).head())
    last = [operator for operator in graph.operators if isinstance(operator, Linear)][1]
    assert 2 * in_int8(graph, last, format) < in_float(graph, last, format)


def test_silu_is_faster_in_int8_where_that_has_a_table_alone():
    graph = silu_network()
    for silu in filter(is_silu, graph.operators):
        assert in_int8(graph, silu, "tflite") < in_float(graph, silu, "tflite")
        assert in_int8(graph, silu, "onnx") > in_float(graph, silu, "onnx")
        assert in_int8(graph, silu, "openvino") == in_float(graph, silu, "openvino")


def test_large_maps_in_float_are_far_from_where_xnnpack_computes_silu():
    near, far = (
        simplify(Chain(size, size).normalize().convolution(64).activation("silu").head())
        for size in (64, 65)
    )

    def per_value(graph: Graph, format: str) -> float:
        (silu,) = filter(is_silu, graph.operators)
        return in_float(graph, silu, format) / prod(graph.shapes[silu.output])

    assert per_value(far, "tflite") > 2 * per_value(near, "tflite")
    for format in ("onnx", "openvino"):
        assert per_value(far, format) <= per_value(near, format)


def test_times_by_hand():
    """XNNPACK's: products, values that are made and bytes of weights; SiLU's values; a border's."""
    graph = simplify(Chain(8, 8).normalize().convolution(16, (3, 3)).activation("silu").head())
    convolution = next(operator for operator in graph.operators if isinstance(operator, Linear))
    silu = next(filter(is_silu, graph.operators))
    values, weights = 8 * 8 * 16, 3 * 3 * 3 * 16
    products = 8 * 8 * weights
    assert in_int8(graph, convolution, "tflite") == 0.3 * products + 5 * values + 2 * weights
    assert in_float(graph, convolution, "tflite") == products + values + 8 * weights
    assert in_int8(graph, silu, "tflite") == 5 * values
    assert in_float(graph, silu, "tflite") == 18 * values
    assert at_border(values, "tflite") == 4 * values


@pytest.mark.parametrize("batch", [1, 8])
def test_a_batch_takes_as_many_times_the_products_and_values(batch):
    chain = Chain(14, 14).normalize().convolution(672, function="relu").convolution(112)
    graph = replace(simplify(chain.head()), input_shape=(batch, 14, 14, 3))
    assert rounds_pixels(graph, graph.operators[2], "tflite")


def test_tflite_rounds_pixels_for_convolutions_of_floats_that_are_wide():
    """By hand: products in int8, what is made, the weights' bytes; each pixel and its values."""
    chain = Chain(8, 8).normalize().convolution(32, (3, 3), function="relu")
    chain.convolution(32, function="relu").convolution(192, function="relu").pool().reshape(
        1, 1, 192
    )
    graph = simplify(chain.convolution(64, function="relu").reshape(64).dense(12).graph())
    linear = [operator for operator in graph.operators if isinstance(operator, Linear)]
    for format in LOWERINGS:
        found = [rounds_pixels(graph, operator, format) for operator in linear]
        assert found == [False, False, format == "tflite", False, False]
    wide = linear[2]
    values, pixels, weights = 8 * 8 * 192, 8 * 8, 32 * 192
    rounded = pixels * (1400 + 10 * 32)
    assert in_float(graph, wide, "tflite") == pytest.approx(
        0.3 * pixels * weights + values + 2 * weights + rounded
    )
    assert in_float(graph, wide, "onnx") > in_float(graph, wide, "tflite")
