"""Latency on a machine that is not quiet: warm up until steady, take turns, report percentiles.

Sessions are timed interleaved, in rounds: a change of the clock frequency or a neighbour's load
then hits all of them alike, and their ratio holds where single figures do not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Call = Callable[[], object]

ROUNDS = 20
"""Turns that each session gets."""

_WINDOW = 5
_STEADY = 0.97
_WARMUP_SECONDS = 5.0


@dataclass(frozen=True)
class Timing:
    """The times of one call, in milliseconds; `throughput_per_s` counts items, not calls."""

    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    throughput_per_s: float
    runs: int
    warmup_runs: int


def interleaved(
    calls: Sequence[Call],
    *,
    runs: int = 100,
    min_time: float = 1.0,
    items: int | Sequence[int] = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Timing]:
    """Times several calls in turns.

    Each is warmed up first. Then, in each of 20 rounds, each call has its turn of at least
    `min_time` / 20 seconds and `runs` / 20 calls; the order is reversed from round to round. The
    first call of a turn is not timed: it pays for the caches that the turn before it filled, and
    for worker threads of another engine that still spin.

    Args:
        calls: What to time; a call must not return before its output lies in host memory.
        runs: The fewest timed calls of each.
        min_time: The shortest time spent on each, in seconds.
        items: Items (images) that one call handles, for the throughput; one number for all or one a
            call.
        progress: Told the number of rounds done after each of min(20, `runs`).

    Returns:
        One `Timing` a call, in order.
    """
    warmups = [warm_up(call) for call in calls]
    samples: list[list[int]] = [[] for _ in calls]
    rounds = max(1, min(ROUNDS, runs))
    for done in range(rounds):
        order = range(len(calls)) if done % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            samples[index] += _turn(calls[index], math.ceil(runs / rounds), min_time / rounds)
        if progress:
            progress(done + 1)
    counts = [items] * len(calls) if isinstance(items, int) else items
    return [summarize(*each) for each in zip(samples, counts, warmups, strict=True)]


def warm_up(call: Call) -> int:
    """Calls until it no longer gets faster, and says how many calls that took.

    Steady means: the fastest of the last five calls is no more than 3 % faster than the fastest of
    all calls before them. The search ends after 5 seconds in any case.
    """
    started = perf_counter_ns()
    times = _times(call, _WINDOW)
    while perf_counter_ns() - started < _WARMUP_SECONDS * 1e9:
        window = _times(call, _WINDOW)
        steady = min(window) >= _STEADY * min(times)
        times += window
        if steady:
            break
    return len(times)


def summarize(nanoseconds: Sequence[int], items: int = 1, warmup_runs: int = 0) -> Timing:
    """Percentiles (linear between neighbours), mean and throughput of the times of single calls."""
    milliseconds: NDArray[np.float64] = np.asarray(nanoseconds, np.float64) / 1e6
    p50, p90, p95, p99 = (float(p) for p in np.percentile(milliseconds, [50, 90, 95, 99]))
    mean = float(milliseconds.mean())
    return Timing(p50, p90, p95, p99, mean, items * 1e3 / mean, len(milliseconds), warmup_runs)


def timed(call: Callable[[], T]) -> tuple[int, T]:
    """The nanoseconds that one call takes, on the monotonic clock, and what it returns."""
    started = perf_counter_ns()
    answer = call()
    return perf_counter_ns() - started, answer


def _times(call: Call, count: int) -> list[int]:
    return [timed(call)[0] for _ in range(count)]


def _turn(call: Call, calls: int, seconds: float) -> list[int]:
    call()
    started = perf_counter_ns()
    times = _times(call, calls)
    while perf_counter_ns() - started < seconds * 1e9:
        times.append(timed(call)[0])
    return times
