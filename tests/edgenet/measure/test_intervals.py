"""Intervals hold what they promise, also where the calls of a turn have their trouble in common."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgenet.measure.comparison import compare
from edgenet.measure.intervals import intervals, median_interval
from edgenet.measure.latency import Samples, Warmup

WARMUP = Warmup(10, 1.0, steady=True)


def taken(
    rng: np.random.Generator,
    scale: float = 5.0,
    rounds: int = 20,
    calls: int = 30,
    disturbance: float = 0.05,
) -> Samples:
    """Times about `scale` ms; a turn's calls share a disturbance of 5 %."""
    shared = rng.normal(1, disturbance, (rounds, 1))
    times = scale * shared * rng.normal(1, 0.02, (rounds, calls)) * 1e6
    return Samples(tuple(tuple(int(t) for t in turn) for turn in times), WARMUP)


@pytest.mark.parametrize(("rounds", "least"), [(5, 95), (20, 91)])
def test_intervals_cover_the_truth_in_about_as_many_trials_as_they_say(rounds, least):
    rng = np.random.default_rng(1)
    found = [intervals(taken(rng, rounds=rounds, calls=10)) for _ in range(100)]
    # Intervals that took the calls for independent would hold the truth in about half the trials;
    # the plain percentile bootstrap holds it in 92 and 89 of 5 rounds, in 93 and 90 of 20.
    for name in ("p50_ms", "mean_ms"):
        bounds = [getattr(one, name) for one in found]
        assert sum(low <= 5.0 <= high for low, high in bounds) >= least


def test_turns_of_an_opening_are_drawn_together():
    turns = taken(np.random.default_rng(8)).turns
    whole = tuple(one + other for one, other in zip(turns[::2], turns[1::2], strict=True))
    opened_anew = Samples(turns, WARMUP, turns_an_opening=2)
    assert intervals(opened_anew) == intervals(Samples(whole, WARMUP))


def test_an_interval_needs_rounds_and_a_tail_needs_runs():
    rng = np.random.default_rng(2)
    assert intervals(taken(rng, rounds=4)).p50_ms is None
    few = intervals(taken(rng, rounds=20, calls=2))
    assert few.p90_ms is not None
    assert few.p95_ms is few.p99_ms is None
    assert intervals(taken(rng, rounds=20, calls=20)).p99_ms is not None
    assert median_interval(np.ones(5)) is None


@pytest.mark.parametrize(
    ("count", "left_out"), [(6, 0), (7, 0), (8, 0), (9, 1), (10, 1), (11, 1), (12, 2), (20, 5)]
)
def test_the_interval_of_a_median_is_that_of_the_sign_test(count, left_out):
    values = np.random.default_rng(5).permutation(count).astype(float)
    assert median_interval(values) == (left_out, count - 1 - left_out)


@pytest.mark.parametrize("count", [6, 7, 9, 10, 20])
def test_the_interval_of_a_median_misses_it_no_oftener_than_it_says(count):
    drawn = np.random.default_rng(6).exponential(size=(1000, count))
    found = [median_interval(values) for values in drawn]
    assert sum(low <= np.log(2) <= high for low, high in found) >= 940


def test_equal_calls_seldom_differ_and_unequal_ones_do():
    rng = np.random.default_rng(3)
    same = [compare(taken(rng), taken(rng)).differs for _ in range(60)]
    assert sum(same) <= 9
    found = compare(taken(rng), taken(rng, scale=4.0))
    assert found.differs is True
    assert found.interval[0] < 0.8 < found.interval[1]


def opened(rng: np.random.Generator, openings: int) -> Samples:
    """20 turns of a call that is by chance some 2 % faster or slower in each of its openings."""
    turns = taken(rng, disturbance=0.005).turns
    together = len(turns) // openings
    placed = np.repeat(rng.normal(1, 0.02, openings), together)
    times = (
        tuple(int(t * factor) for t in turn) for turn, factor in zip(turns, placed, strict=True)
    )
    return Samples(tuple(times), WARMUP, together if openings > 1 else None)


@pytest.mark.parametrize(("openings", "least", "most"), [(10, 0, 12), (1, 100, 200)])
def test_what_an_opening_is_worth_is_no_difference(openings, least, most):
    """One opening cannot tell it from one."""
    rng = np.random.default_rng(7)
    found = [compare(opened(rng, openings), opened(rng, openings)) for _ in range(200)]
    assert least <= sum(one.differs for one in found) <= most


def test_each_opening_counts_once():
    """In three of ten openings one is slower: the interval leaves out one opening at each end."""
    base = Samples(((1_000_000,),) * 20, WARMUP, turns_an_opening=2)
    slow = Samples(((1_000_000,),) * 14 + ((2_000_000,),) * 6, WARMUP, turns_an_opening=2)
    found = compare(base, slow)
    assert (found.ratio, found.interval) == (1.0, (1.0, 2.0))
    # Of one opening, the mean of all its rounds.
    assert compare(replace(base, turns_an_opening=20), slow).ratio == pytest.approx(2**0.3)


def test_a_disturbance_that_both_share_cancels():
    turns = [[int(1e6 * factor)] * 5 for factor in (1, 3, 2, 5, 4, 1)]
    base = Samples(tuple(map(tuple, turns)), WARMUP)
    other = Samples(tuple(tuple(2 * t for t in turn) for turn in turns), WARMUP)
    found = compare(base, other)
    assert (found.ratio, found.interval, found.differs) == (2.0, (2.0, 2.0), True)


def test_one_round_that_is_disturbed_on_one_side_changes_no_ratio():
    base = Samples(((1_000_000,),) * 7, WARMUP)
    other = Samples(((9_000_000,), *((1_000_000,),) * 6), WARMUP)
    found = compare(base, other)
    assert (found.ratio, found.differs) == (1.0, False)


def test_too_few_rounds_give_no_verdict():
    rng = np.random.default_rng(4)
    found = compare(taken(rng, rounds=3), taken(rng, rounds=3))
    assert found.interval is found.differs is None
