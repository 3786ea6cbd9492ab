"""Rounding to the grid: no output mean moves, and outputs err less than with the nearest level."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import Convolution, Dense, Linear, Padding
from converters.quantization import moments, rounding
from converters.quantization.moments import Moments, MomentSampler
from converters.quantization.rounding import round_weights
from converters.scheme.parameters import PIXELS, quantize_linear, weight_scales


def dense(taps: int, out: int, seed: int) -> Dense:
    random = np.random.default_rng(seed)
    weights = random.normal(0, 1, (taps, out)).astype(np.float32)
    return Dense("d", ("x",), "y", weights, random.normal(0, 1, out).astype(np.float32), "linear")


def inputs(taps: int, seed: int, count: int = 400) -> np.ndarray:
    """Correlated, and not about zero."""
    random = np.random.default_rng(seed)
    mixing = random.normal(0, 1, (3, taps))
    return random.normal(0, 1, (count, 3)) @ mixing + random.normal(0.5, 0.3, (count, taps))


def moments_of(values: np.ndarray) -> Moments:
    return Moments(values.mean(axis=0)[None], np.cov(values.T, bias=True)[None])


def nearest(operator: Linear) -> np.ndarray:
    scales = weight_scales(operator, paired=True)
    return np.rint(operator.weights / scales) * scales


@settings(max_examples=30)
@given(taps=st.integers(2, 24), out=st.integers(1, 6), seed=st.integers(0, 999))
def test_weights_are_on_the_grid_and_the_mean_output_stays(taps, out, seed):
    operator, values = dense(taps, out, seed), inputs(taps, seed)
    rounded = round_weights(operator, moments_of(values), paired=True)
    levels = rounded.weights / rounded.scales
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    assert np.abs(levels).max() <= 127.001
    before = values @ operator.weights + operator.bias
    after = values @ rounded.weights + rounded.bias
    assert np.abs(before.mean(axis=0) - after.mean(axis=0)).max() < 1e-4


@settings(max_examples=30)
@given(taps=st.integers(2, 24), seed=st.integers(0, 999))
def test_weights_that_are_only_stored_use_all_levels(taps, seed):
    operator, values = dense(taps, 3, seed), inputs(taps, seed)
    rounded = round_weights(operator, moments_of(values), paired=False)
    assert np.allclose(rounded.scales * 127, np.abs(operator.weights).max(axis=0), rtol=1e-6)
    assert np.all(rounded.scales <= weight_scales(operator, paired=True))


def test_outputs_err_less_than_with_the_nearest_level():
    better = 0
    for seed in range(20):
        operator, values = dense(24, 4, seed), inputs(24, seed)
        rounded = round_weights(operator, moments_of(values), paired=True)
        centred = values - values.mean(axis=0)
        ours = np.square(centred @ (rounded.weights - operator.weights)).mean()
        theirs = np.square(centred @ (nearest(operator) - operator.weights)).mean()
        better += ours < theirs
    assert better >= 19


def test_the_size_of_blocks_changes_nothing(monkeypatch):
    operator, seen = dense(23, 4, 0), moments_of(inputs(23, 0))
    whole = round_weights(operator, seen, paired=True)
    monkeypatch.setattr(rounding, "_BLOCK", 5)
    monkeypatch.setattr(rounding, "_TRIANGLE", 3)
    found = round_weights(operator, seen, paired=True)
    assert np.allclose(found.weights, whole.weights, atol=1e-6)


def test_uncorrelated_inputs_leave_nothing_to_make_up_for():
    operator = dense(8, 3, 0)
    rounded = round_weights(operator, Moments(np.zeros((1, 8)), np.eye(8)[None]), paired=True)
    assert np.allclose(rounded.weights, nearest(operator), atol=1e-6)
    assert np.array_equal(rounded.bias, operator.bias)


def test_the_levels_that_were_chosen_are_the_levels_that_are_written():
    operator, values = dense(24, 4, 3), inputs(24, 3)
    rounded = round_weights(operator, moments_of(values), paired=True)
    constants = quantize_linear(rounded, PIXELS)
    assert np.array_equal(constants.scales, rounded.scales)
    assert np.allclose(constants.weights * constants.scales, rounded.weights, atol=1e-7)


def test_each_channel_of_a_depthwise_convolution_on_its_own():
    random = np.random.default_rng(5)
    weights = random.normal(0, 1, (3, 3, 4, 1)).astype(np.float32)
    operator = Convolution(
        *("c", ("x",), "y", weights, np.zeros(4, np.float32), "linear"),
        *((1, 1), Padding(1, 1, 1, 1), True),
    )
    values = np.stack([inputs(9, seed) for seed in range(4)])
    moments = Moments(values.mean(axis=1), np.stack([np.cov(v.T, bias=True) for v in values]))
    rounded = round_weights(operator, moments, paired=True)
    assert rounded.weights.shape == weights.shape
    for channel in range(4):
        alone = Dense(
            "d", ("x",), "y", weights[..., channel, :].reshape(9, 1), np.zeros(1), "linear"
        )
        expected = round_weights(alone, moments_of(values[channel]), paired=False)
        assert np.allclose(rounded.weights[..., channel, 0].ravel(), expected.weights[:, 0])
        assert np.isclose(rounded.bias[channel], expected.bias[0], atol=1e-6)


def test_an_input_that_never_changes_does_no_harm():
    operator = dense(6, 3, 1)
    rounded = round_weights(operator, Moments(np.ones((1, 6)), np.zeros((1, 6, 6))), paired=True)
    assert np.isfinite(rounded.weights).all()
    total = operator.weights.sum(axis=0) + operator.bias
    assert np.allclose(rounded.weights.sum(axis=0) + rounded.bias, total, atol=1e-5)


@settings(max_examples=40)
@given(
    taps=st.integers(1, 40),
    level=st.sampled_from([0.0, 1e-6, 3.0, 1e4]),
    noise=st.sampled_from([0.0, 1e-12, 1e-5]),
    images=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_dead_and_constant_inputs_round_too(taps, level, noise, images, seed):
    operator, random = dense(taps, 3, seed), np.random.default_rng(seed)
    sampler = MomentSampler(operator)
    for _ in range(images):
        values = (level + noise * random.normal(size=(1, taps))).astype(np.float32)
        sampler.add(sampler.sample(values))
    rounded = round_weights(operator, sampler.moments(), paired=True)
    assert np.isfinite(rounded.weights).all()
    assert np.isfinite(rounded.bias).all()
    before, after = (level * op.weights.sum(axis=0) + op.bias for op in (operator, rounded))
    assert np.abs(before - after).max() <= 1e-5 * (1 + level) * taps


def test_a_dense_layer_on_a_whole_map_is_rounded_in_parts(monkeypatch):
    """Each part as a layer of its own would be; the moments of all together need not fit."""
    taps, part = 38, 8
    operator, values = dense(taps, 3, seed=1), inputs(taps, seed=1).astype(np.float32)
    monkeypatch.setattr(moments, "_WIDEST", 20)
    monkeypatch.setattr(moments, "_PART", part)
    sampler = MomentSampler(operator)
    for row in values:
        sampler.add(sampler.sample(row[None]))
    found = sampler.moments()
    assert found.covariance.shape == (5, part, part)
    rounded = round_weights(operator, found, paired=True)
    levels = rounded.weights / rounded.scales
    assert np.abs(levels - np.rint(levels)).max() < 1e-3
    before, after = (values.mean(axis=0) @ one.weights + one.bias for one in (operator, rounded))
    assert np.abs(before - after).max() < 1e-4
    centred = values - values.mean(axis=0)
    ours = np.square(centred @ (rounded.weights - operator.weights)).mean()
    assert ours < np.square(centred @ (nearest(operator) - operator.weights)).mean()
