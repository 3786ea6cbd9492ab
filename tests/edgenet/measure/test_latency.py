"""Timing takes turns, runs as often as it was asked to, and sums up honestly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenet.measure import latency
from edgenet.measure.latency import Call, Samples, Warmup

TIMES = st.lists(st.integers(1, 10**10), min_size=1, max_size=200)


def samples(times) -> Samples:
    """All times in one turn."""
    return Samples((tuple(times),), Warmup(10, 1.0, steady=True))


@given(TIMES)
def test_percentiles_rise_within_the_range_seen(times):
    found = latency.summarize(samples(times))
    ladder = [found.min_ms, found.p50_ms, found.p90_ms, found.p95_ms]
    known = [value for value in ladder if value is not None]
    assert known == sorted(known)
    assert min(times) / 1e6 == known[0]
    assert known[-1] <= max(times) / 1e6 * (1 + 1e-12)
    assert found.runs == len(times)


@given(TIMES, st.integers(1, 64))
def test_throughput_is_items_over_mean_time(times, items):
    found = latency.summarize(samples(times), items)
    assert found.throughput_per_s == pytest.approx(items * len(times) / (sum(times) / 1e9))


def test_percentiles_of_one_to_a_hundred_ms():
    found = latency.summarize(samples([ms * 10**6 for ms in range(1, 101)]))
    assert (found.p50_ms, found.p90_ms) == pytest.approx((50.5, 90.1))
    assert found.mean_ms == pytest.approx(50.5)


@pytest.mark.parametrize(("percent", "runs"), [(90, 36), (95, 72), (99, 368)])
def test_a_percentile_needs_its_count(percent, runs):
    """With one run fewer, the slowest lies below the percentile in more than 1 of 40 trials."""
    assert latency.runs_for(percent) == runs
    assert 1 - (percent / 100) ** runs >= 0.975 > 1 - (percent / 100) ** (runs - 1)
    times = np.arange(runs, dtype=np.float64)
    assert latency.percentile(times, percent) is not None
    assert latency.percentile(times[1:], percent) is None


@settings(max_examples=15)
@given(st.integers(1, 70))
def test_every_call_runs_at_least_as_often_as_asked(runs):
    first, second = latency.interleaved([lambda: None, lambda: None], runs=runs, min_time=0)
    assert runs <= first.runs < runs + latency.ROUNDS
    assert first.runs == second.runs


def test_calls_take_turns_in_alternating_order():
    seen: list[str] = []
    latency.sample([lambda: seen.append("a"), lambda: seen.append("b")], runs=4, min_time=0)
    # The warm-up comes before these; a turn is one call that is not timed and one that is.
    assert "".join(seen[-16:]) == "aabbbbaaaabbbbaa"


@pytest.mark.parametrize(("runs", "openings"), [(40, 10), (20, 10), (19, 19), (7, 7), (1, 1)])
def test_calls_are_made_anew_between_rounds(runs, openings):
    made: list[int] = [0, 0]

    def call(which: int) -> Call:
        made[which] += 1
        own = made[which]
        return lambda: None if own == made[which] else pytest.fail("this one is closed")

    def renew() -> list[Call]:
        return [call(0), call(1)]

    found = latency.sample(renew(), runs=runs, min_time=0, renew=renew)
    assert made == [openings, openings]
    assert all(-(-len(one.turns) // one.turns_an_opening) == openings for one in found)


def test_what_was_made_anew_is_warm_before_it_is_timed():
    seen: list[str] = []

    def renew() -> list[Call]:
        seen.append("|")
        return [lambda: seen.append("a"), lambda: seen.append("b")]

    latency.sample(renew(), runs=2, min_time=0, renew=renew)
    assert "".join(seen).endswith("aabb|aaaaabbbbbbbaa")


def test_the_first_call_of_a_turn_is_not_timed():
    calls = []
    (found,) = latency.sample([lambda: calls.append(1)], runs=20, min_time=0)
    assert len(calls) == found.warmup.runs + len(found.milliseconds()) + latency.ROUNDS


def test_a_turn_begins_when_threads_of_another_call_rest(monkeypatch):
    seen: list[str] = []
    monkeypatch.setattr(latency, "rest", lambda: seen.append("."))
    latency.sample([lambda: seen.append("a"), lambda: seen.append("b")], runs=4, min_time=0)
    # The warm-up has ended with b.
    assert "".join(seen[-21:]) == ".aa.bbbb.aaaa.bbbb.aa"


@pytest.mark.parametrize(("spinning", "waits"), [(0, 1), (3, 4), (1000, latency._MOST_RESTS)])
def test_threads_rest_when_the_process_takes_no_more_time(monkeypatch, spinning, waits):
    """A processor's time goes by while they spin, and next to none after."""
    clock, slept = [0.0], list[float]()

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        clock[0] += seconds if len(slept) <= spinning else seconds / 100

    monkeypatch.setattr(latency, "process_time", lambda: clock[0])
    monkeypatch.setattr(latency, "sleep", sleep)
    latency.rest()
    assert len(slept) == waits


def test_a_minimum_time_buys_more_runs():
    found = latency.interleaved([lambda: None], runs=20, min_time=0.02)[0]
    assert found.runs > 20


def test_warm_up_goes_on_while_calls_get_faster():
    work = iter([2_000_000] * 5 + [200_000] * 5 + [1_000] * 10_000)
    found = latency.warm_up(lambda: sum(range(next(work))))
    assert found.runs >= 15
    assert found.steady


def test_a_warm_up_that_never_gets_steady_says_so(monkeypatch):
    monkeypatch.setattr(latency, "_WARMUP_SECONDS", 0.0)
    found = latency.warm_up(lambda: None)
    assert (found.runs, found.steady) == (5, False)


def test_progress_tells_each_round():
    told: list[int] = []
    latency.sample([lambda: None], runs=3, min_time=0, progress=told.append)
    assert told == [1, 2, 3]


def test_timed_hands_on_what_the_call_returns():
    nanoseconds, answer = latency.timed(lambda: np.arange(3).sum())
    assert nanoseconds > 0
    assert answer == 3
