"""The rules that weigh a sketch, on statistics of values made by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.quantization.calibrate import TAIL, TensorStatistics
from converters.quantization.ranges import RULES
from converters.quantization.roles import Role
from converters.quantization.sketches import entropy, least_squares
from converters.scheme.parameters import Quantization

SKETCHES = [least_squares, entropy]
IMAGES, SAMPLED = 32, 256
RANDOM = np.random.default_rng(0)
UNIFORM = RANDOM.uniform(-1, 1, (IMAGES, SAMPLED))


def statistics(sample, low=None, high=None) -> TensorStatistics:
    """Of tensors of which `sample` was taken, with these extremes or the sample's own."""
    sample = np.asarray(sample, np.float32)
    low = sample.min(axis=1) if low is None else np.full(len(sample), low, np.float32)
    high = sample.max(axis=1) if high is None else np.full(len(sample), high, np.float32)
    low_tail, high_tail = np.quantile(sample, [TAIL, 1 - TAIL], axis=1).astype(np.float32)
    peaks = np.maximum(high, -low).max(keepdims=True)
    return TensorStatistics(low, low_tail, high_tail, high, peaks, sample)


def with_outlier(sample, value) -> TensorStatistics:
    """One value of one image, which the sample missed, lies far out."""
    found = statistics(sample)
    found.high[0] = value
    return found


@pytest.mark.parametrize(("name", "rule"), [("least-squares", least_squares), ("entropy", entropy)])
def test_the_rules_have_names(name, rule):
    assert RULES[name] is rule


samples = st.tuples(
    st.integers(0, 2**32 - 1),
    st.sampled_from(["uniform", "normal", "laplace", "exponential", "constant"]),
    st.floats(-50, 50, width=32),
    st.floats(0.001953125, 128, width=32),
)


def drawn(seed, shape, shift, scale):
    random = np.random.default_rng(seed)
    draw = {
        "uniform": lambda: random.uniform(-1, 1, (4, 64)),
        "normal": lambda: random.normal(size=(4, 64)),
        "laplace": lambda: random.laplace(size=(4, 64)),
        "exponential": lambda: random.exponential(size=(4, 64)),
        "constant": lambda: np.zeros((4, 64)),
    }
    return draw[shape]() * scale + shift


@pytest.mark.parametrize("rule", SKETCHES)
@settings(max_examples=40, deadline=None)
@given(drawing=samples)
def test_the_range_lies_within_the_extremes_and_is_the_same_again(rule, drawing):
    found = statistics(drawn(*drawing))
    low, high = rule(Role.LINEAR, found)
    assert found.low.min() <= low <= high <= found.high.max()
    assert rule(Role.LINEAR, statistics(drawn(*drawing))) == (low, high)


@pytest.mark.parametrize("rule", SKETCHES)
def test_what_fills_its_range_is_kept_whole(rule):
    found = statistics(UNIFORM)
    assert rule(Role.LINEAR, found) == (found.low.min(), found.high.max())


@pytest.mark.parametrize("rule", SKETCHES)
def test_what_lies_on_one_side_is_kept_whole(rule):
    found = statistics(UNIFORM + 1.5)
    assert rule(Role.LINEAR, found) == (found.low.min(), found.high.max())
    below = statistics(UNIFORM - 1.5)
    assert rule(Role.LINEAR, below) == (below.low.min(), below.high.max())


@pytest.mark.parametrize("rule", SKETCHES)
@pytest.mark.parametrize("side", [-1, 1])
def test_what_lies_far_on_one_side_does_not_end_in_one_level(rule, side):
    """Clipped to its smallest value it loses no divergence, for nothing is left to diverge."""
    values = side * drawn(238922, "exponential", 26.375, 10.75)
    low, high = rule(Role.LINEAR, statistics(values))
    assert low <= np.median(values) <= high


@pytest.mark.parametrize("rule", SKETCHES)
def test_one_outlier_is_clipped_and_the_other_end_stays(rule):
    found = with_outlier(UNIFORM, 6.0)
    low, high = rule(Role.LINEAR, found)
    assert low == found.low.min()
    assert 0.99 < high < 4.0


@pytest.mark.parametrize("rule", SKETCHES)
def test_the_range_follows_the_scale_and_the_sign(rule):
    found = with_outlier(UNIFORM, 6.0)
    low, high = rule(Role.LINEAR, found)
    doubled = TensorStatistics(*(2 * values for values in vars(found).values()))
    assert rule(Role.LINEAR, doubled) == pytest.approx((2 * low, 2 * high))
    turned = statistics(-found.sample)
    turned.low[:] = -found.high
    assert rule(Role.LINEAR, turned) == pytest.approx((-high, -low), rel=0.3)


@pytest.mark.parametrize("rule", SKETCHES)
def test_a_tensor_that_is_always_zero(rule):
    assert rule(Role.LINEAR, statistics(np.zeros((2, 16)))) == (0.0, 0.0)


@pytest.mark.parametrize("rule", SKETCHES)
def test_an_extreme_that_the_sample_missed_still_counts(rule):
    """What every image has counts for more than what one has."""
    rare = with_outlier(UNIFORM, 6.0)
    common = statistics(UNIFORM, high=6.0)
    assert rule(Role.LINEAR, common)[1] >= rule(Role.LINEAR, rare)[1]


@pytest.mark.parametrize("shape", ["uniform", "normal", "laplace", "heavy"])
def test_no_other_range_of_the_grid_has_less_error_on_the_values(shape):
    sample = {
        "uniform": UNIFORM,
        "normal": RANDOM.normal(size=UNIFORM.shape),
        "laplace": RANDOM.laplace(size=UNIFORM.shape),
        "heavy": RANDOM.standard_t(3, UNIFORM.shape),
    }[shape].astype(np.float32)
    found = statistics(sample)

    def error(low, high):
        levels = Quantization.covering(low, high)
        return np.square(sample - levels.dequantize(levels.quantize(sample))).mean()

    least = error(*least_squares(Role.LINEAR, found))
    for low, high in product(2 ** -(np.arange(9) / 3), repeat=2):
        assert least < 1.02 * error(low * found.low.min(), high * found.high.max())


def test_zeros_say_nothing_of_a_range():
    """Half of what a ReLU makes is zero, which every range holds exactly."""
    values = np.abs(UNIFORM)
    halved = np.where(RANDOM.random(values.shape) < 0.5, 0.0, values)
    assert entropy(Role.LINEAR, statistics(halved)) == pytest.approx((0.0, 1.0), abs=0.01)
