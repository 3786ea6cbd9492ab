"""Timing takes turns, runs as often as it was asked to, and sums up honestly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.measure import latency

TIMES = st.lists(st.integers(1, 10**10), min_size=1, max_size=200)


@given(TIMES)
def test_percentiles_rise_within_the_range_seen(times):
    found = latency.summarize(times)
    ladder = [found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms]
    assert ladder == sorted(ladder)
    assert min(times) / 1e6 <= ladder[0]
    assert ladder[-1] <= max(times) / 1e6 * (1 + 1e-12)
    assert found.runs == len(times)


@given(TIMES, st.integers(1, 64))
def test_throughput_is_items_over_mean_time(times, items):
    found = latency.summarize(times, items)
    assert found.throughput_per_s == pytest.approx(items * len(times) / (sum(times) / 1e9))


def test_percentiles_of_one_to_a_hundred_ms():
    found = latency.summarize([ms * 10**6 for ms in range(1, 101)])
    assert (found.p50_ms, found.p90_ms) == pytest.approx((50.5, 90.1))
    assert found.mean_ms == pytest.approx(50.5)


@given(st.integers(1, 70))
def test_every_call_runs_at_least_as_often_as_asked(runs):
    first, second = latency.interleaved([lambda: None, lambda: None], runs=runs, min_time=0)
    assert runs <= first.runs < runs + latency.ROUNDS
    assert first.runs == second.runs


def test_calls_take_turns_in_alternating_order():
    seen: list[str] = []
    latency.interleaved([lambda: seen.append("a"), lambda: seen.append("b")], runs=4, min_time=0)
    # The warm-up comes before these; a turn is one call that is not timed and one that is.
    assert "".join(seen[-16:]) == "aabbbbaaaabbbbaa"


def test_the_first_call_of_a_turn_is_not_timed():
    calls = []
    found = latency.interleaved([lambda: calls.append(1)], runs=20, min_time=0)[0]
    assert len(calls) == found.warmup_runs + found.runs + latency.ROUNDS


def test_a_minimum_time_buys_more_runs():
    found = latency.interleaved([lambda: None], runs=20, min_time=0.02)[0]
    assert found.runs > 20


def test_warm_up_goes_on_while_calls_get_faster():
    work = iter([2_000_000] * 5 + [200_000] * 5 + [1_000] * 10_000)
    assert latency.warm_up(lambda: sum(range(next(work)))) >= 15


def test_progress_tells_each_round():
    told: list[int] = []
    latency.interleaved([lambda: None], runs=3, min_time=0, progress=told.append)
    assert told == [1, 2, 3]


def test_timed_hands_on_what_the_call_returns():
    nanoseconds, answer = latency.timed(lambda: np.arange(3).sum())
    assert nanoseconds > 0
    assert answer == 3
