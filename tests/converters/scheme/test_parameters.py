"""The laws of int8: zero is exact, ranges are covered, rounding errs by half a step at most."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from converters.graph import Convolution, Dense, Linear, Padding
from converters.scheme.pairs import largest_pairs
from converters.scheme.parameters import (
    LEVELS,
    PIXELS,
    SIGMOID,
    Quantization,
    quantize_linear,
    weight_scales,
)

BOUND = st.floats(-1e4, 1e4, width=32)
SOURCES = st.builds(Quantization.covering, BOUND, BOUND)
# Of scales held in float32, and of values divided by them in float32.
ROUNDING = 1e-4


@given(low=BOUND, high=BOUND)
def test_zero_is_held_exactly(low, high):
    q = Quantization.covering(low, high)
    assert 0 <= q.zero_point <= LEVELS
    zeros = q.quantize(np.zeros(3, np.float32))
    assert np.all(zeros == q.zero_point)
    assert np.all(q.dequantize(zeros) == 0)


@given(low=BOUND, high=BOUND)
def test_the_range_is_covered_to_half_a_step(low, high):
    low, high = min(low, high), max(low, high)
    q = Quantization.covering(low, high)
    assert q.low <= 0 <= q.high
    assert q.low - min(low, 0) <= (0.5 + ROUNDING) * q.scale
    assert max(high, 0) - q.high <= (0.5 + ROUNDING) * q.scale
    assert q.scale == pytest.approx((max(high, 0) - min(low, 0)) / LEVELS, rel=1e-6, abs=1e-6)


@given(low=BOUND, high=BOUND, shares=arrays.arrays(np.float64, 20, elements=st.floats(0, 1)))
def test_inside_the_range_the_error_is_half_a_step(low, high, shares):
    q = Quantization.covering(low, high)
    values = (q.low + shares * (q.high - q.low)).astype(np.float32)
    errors = np.abs(q.dequantize(q.quantize(values)) - values)
    assert errors.max() <= (0.5 + ROUNDING) * q.scale


@given(source=SOURCES, values=arrays.arrays(np.float32, 20, elements=BOUND))
def test_outside_it_saturates_and_order_is_kept(source, values):
    levels = source.quantize(np.sort(values)).astype(int)
    assert levels.min() >= 0
    assert levels.max() <= LEVELS
    assert np.all(np.diff(levels) >= 0)


@given(low=BOUND, high=BOUND, shares=arrays.arrays(np.float64, 20, elements=st.floats(0, 1)))
def test_in_16_bits_zero_is_the_middle_and_the_larger_side_is_covered(low, high, shares):
    low, high = min(low, high, 0), max(low, high, 0)
    q = Quantization.covering(low, high, bits=16)
    assert (q.bits, q.levels, q.zero_point) == (16, 2**16 - 1, 2**15)
    assert q.scale == pytest.approx(max(-low, high) / (2**15 - 1), rel=1e-6, abs=1e-6)
    values = (low + shares * (high - low)).astype(np.float32)
    levels = q.quantize(values)
    assert levels.dtype == np.uint16
    # Of 15 bits and a float32's rounding of what they are multiplied with.
    assert np.abs(q.dequantize(levels) - values).max() <= (0.5 + 2**-8) * q.scale


@given(source=SOURCES, levels=arrays.arrays(np.uint8, 20))
def test_levels_stand_for_themselves(source, levels):
    assert np.array_equal(source.quantize(source.dequantize(levels)), levels)


def test_a_tensor_that_is_always_zero_has_a_scale_still():
    """One that OpenVINO can divide a bias by; what is hardly ever zero has its own."""
    q = Quantization.covering(0.0, 0.0)
    assert 1e-7 < q.scale < 1e-5
    assert q.zero_point == 0
    assert Quantization.covering(0.0, 1e-8).scale == pytest.approx(1e-8 / LEVELS)


def test_halves_round_to_even_as_the_engines_do():
    q = Quantization(1.0, 0)
    assert list(q.quantize(np.float32([0.5, 1.5, 2.5, 3.49]))) == [0, 2, 2, 3]


def test_pixels_and_sigmoids_have_scales_of_their_own():
    assert np.array_equal(PIXELS.quantize(np.arange(256, dtype=np.float32)), np.arange(256))
    assert (SIGMOID.low, SIGMOID.high) == (0, 255 / 256)


@settings(max_examples=40)
@given(arrays.arrays(np.float32, 5, elements=st.floats(-(2.0**20), 2.0**20, width=32)))
def test_constants_are_held_at_least_as_well_as_by_the_range_that_covers_them(values):
    def error(held: Quantization) -> float:
        missed = held.dequantize(held.quantize(values)) - values
        return float(np.square(missed, dtype=np.float64).sum())

    covering = Quantization.covering(float(values.min()), float(values.max()))
    assert error(Quantization.of_constants(values)) <= error(covering) * (1 + 1e-9)


def test_powers_of_two_and_a_mean_pixel_are_held_nearly_exactly():
    powers = np.float32(2) ** np.arange(-3, 5)
    held = Quantization.of_constants(powers)
    assert np.array_equal(held.dequantize(held.quantize(powers)), powers)
    for sign in (-1, 1):
        mean = sign * np.float32([123.675, 116.28, 103.53])
        held = Quantization.of_constants(mean)
        assert np.abs(held.dequantize(held.quantize(mean)) - mean).max() < 0.02


def linear(weights: Any, bias: Any) -> Linear:
    weights = np.asarray(weights, np.float32)
    return Dense("d", ("x",), "y", weights, np.asarray(bias, np.float32), "linear")


@given(
    source=SOURCES,
    sizes=arrays.arrays(np.float32, 6, elements=st.floats(0, 10, width=32)),
    bias=arrays.arrays(np.float32, 6, elements=BOUND),
    seed=st.integers(0, 99),
)
def test_the_bias_fits_int32_even_where_a_channel_is_nearly_dead(source, sizes, bias, seed):
    random = np.random.default_rng(seed)
    weights = random.normal(0, 1, (8, 6)) * sizes * random.choice([1, 1e-9, 1e-30], 6)
    operator = linear(weights, bias)
    constants = quantize_linear(operator, source)
    own = weight_scales(operator, paired=True)
    assert np.all((constants.scales == own) | (np.abs(bias) > 0.99 * 2**30 * own * source.scale))
    assert np.abs(constants.bias.astype(np.int64)).max() <= 2**30 + 2**8
    step = constants.scales.astype(np.float64) * source.scale
    assert (
        np.abs(constants.bias * step - bias).max() <= 0.5 * step.max() + 1e-6 * np.abs(bias).max()
    )


@given(source=SOURCES, wide=st.booleans(), seed=st.integers(0, 99))
def test_weights_err_by_half_a_step_of_their_channel(source, wide, seed):
    weights = np.random.default_rng(seed).normal(0, 1, (8, 6)).astype(np.float32)
    source = Quantization.covering(source.low, source.high, bits=16) if wide else source
    constants = quantize_linear(linear(weights, np.zeros(6)), source)
    assert constants.weights.dtype == np.int8
    largest = np.abs(constants.weights).max(axis=0)
    # In 8 bits a pair may be what the scale covers, of levels that are rounded one by one.
    pairs = largest_pairs(linear(constants.weights, np.zeros(6)))
    assert np.all((largest == 127) | (not wide and pairs >= 126))
    error = np.abs(constants.weights * constants.scales - weights)
    assert np.all(error <= (0.5 + ROUNDING) * constants.scales)


@pytest.mark.parametrize(("depthwise", "channels"), [(True, 3), (False, 5)])
def test_a_scale_for_each_output_channel(depthwise, channels):
    shape = (3, 3, 3, 1) if depthwise else (3, 3, 3, 5)
    weights = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    bias = np.zeros(channels, np.float32)
    operator = Convolution("c", ("x",), "y", weights, bias, "linear", (1, 1), Padding(), depthwise)
    constants = quantize_linear(operator, PIXELS)
    assert (constants.weights.shape, constants.scales.shape) == (shape, (channels,))
    by_channel = constants.scales[:, None] if depthwise else constants.scales
    assert np.all(np.abs(constants.weights * by_channel - weights) <= 0.51 * by_channel)
