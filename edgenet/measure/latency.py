"""Latency on a machine that is not quiet: warm up until steady, take turns, report percentiles.

Sessions are timed interleaved, in rounds: a change of the clock frequency or a neighbour's load
then hits all of them alike, and their ratio holds where single figures do not. A session's speed
also depends on where its memory happens to lie, by one or two in a hundred for as long as it is
open; sessions that are compared are therefore opened anew again and again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns, process_time, sleep
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
Call = Callable[[], object]

ROUNDS = 20
"""Turns that each session gets."""
OPENINGS = 10
"""How many times sessions are opened where they are opened anew between rounds."""

PERCENTILES = (50, 90, 95, 99)
"""Those that are reported."""

_WINDOW = 5
_STEADY = 0.97
_WARMUP_SECONDS = 5.0
_MISSED = 0.025
# ONNX Runtime's threads spin for 40 ms after a run, LiteRT's for 4, OpenVINO's for 1.
_REST_SECONDS, _MOST_RESTS = 0.01, 20


@dataclass(frozen=True)
class Warmup:
    """The calls before the timed ones: their number and time, and whether they became steady."""

    runs: int
    ms: float
    steady: bool


@dataclass(frozen=True)
class Samples:
    """The nanoseconds of single calls, turn by turn; turn i of all calls was taken in round i.

    `turns_an_opening` is after how many turns what is called was made anew; None where it never
    was.
    """

    turns: tuple[tuple[int, ...], ...]
    warmup: Warmup
    turns_an_opening: int | None = None

    def milliseconds(self) -> NDArray[np.float64]:
        """All times in one row, in the order in which they were taken."""
        return np.concatenate([np.asarray(turn, np.float64) for turn in self.turns]) / 1e6

    def medians(self) -> NDArray[np.float64]:
        """The median of each turn, in milliseconds."""
        return np.asarray([np.median(turn) for turn in self.turns], np.float64) / 1e6


@dataclass(frozen=True)
class Timing:
    """The times of one call, in milliseconds; `throughput_per_s` counts items, not calls.

    A percentile is None where there are too few runs for it (`runs_for`).
    """

    min_ms: float
    p50_ms: float
    p90_ms: float | None
    p95_ms: float | None
    p99_ms: float | None
    mean_ms: float
    throughput_per_s: float
    runs: int


def interleaved(calls: Sequence[Call], *, runs: int, min_time: float) -> list[Timing]:
    """Times several calls in turns, as `sample` does, and sums each of them up, in order."""
    return [summarize(each) for each in sample(calls, runs=runs, min_time=min_time)]


def sample(
    calls: Sequence[Call],
    *,
    runs: int,
    min_time: float,
    progress: Callable[[int], None] | None = None,
    renew: Callable[[], Sequence[Call]] | None = None,
) -> list[Samples]:
    """Times several calls in turns.

    Each is warmed up first. Then, in each of 20 rounds, each call has its turn of at least
    `min_time` / 20 seconds and `runs` / 20 calls; the order is reversed from round to round. A turn
    begins when the threads that another call left spinning are at rest, and its first call is not
    timed: it pays for the caches that the turn before it filled.

    Args:
        calls: What to time; a call must not return before its output lies in host memory.
        runs: The fewest timed calls of each.
        min_time: The shortest time spent on each, in seconds.
        progress: Told the number of rounds done after each of min(20, `runs`).
        renew: Makes the calls anew, in the same order; asked after every second of 20 rounds, or
            after every one of fewer. None keeps them.
    """
    warmups = [warm_up(call) for call in calls]
    turns: list[list[tuple[int, ...]]] = [[] for _ in calls]
    rounds, last = max(1, min(ROUNDS, runs)), len(calls) - 1
    together = None if renew is None else max(1, rounds // OPENINGS)
    for done in range(rounds):
        if renew and together and done and done % together == 0:
            calls, last = renew(), len(calls) - 1
            for call in calls:
                _times(call, _WINDOW)
        order = range(len(calls)) if done % 2 == 0 else reversed(range(len(calls)))
        for index in order:
            if index != last:
                rest()
            last = index
            turn = _turn(calls[index], math.ceil(runs / rounds), min_time / rounds)
            turns[index].append(tuple(turn))
        if progress:
            progress(done + 1)
    return [
        Samples(tuple(own), warmup, together) for own, warmup in zip(turns, warmups, strict=True)
    ]


def warm_up(call: Call) -> Warmup:
    """Calls until it no longer gets faster.

    Steady means: the fastest of the last five calls is no more than 3 % faster than the fastest of
    all calls before them. The search ends after 5 seconds in any case.
    """
    started = perf_counter_ns()
    times = _times(call, _WINDOW)
    steady = False
    while not steady and perf_counter_ns() - started < _WARMUP_SECONDS * 1e9:
        window = _times(call, _WINDOW)
        steady = min(window) >= _STEADY * min(times)
        times += window
    return Warmup(len(times), (perf_counter_ns() - started) / 1e6, steady)


def summarize(samples: Samples, items: int = 1) -> Timing:
    """Percentiles (linear between neighbours), mean and throughput of the times of single calls."""
    times = samples.milliseconds()
    p50, *tail = (percentile(times, p) for p in PERCENTILES)
    p90, p95, p99 = tail
    mean = float(times.mean())
    return Timing(
        min_ms=float(times.min()),
        p50_ms=float(np.median(times)) if p50 is None else p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=mean,
        throughput_per_s=items * 1e3 / mean,
        runs=len(times),
    )


def percentile(times: NDArray[np.float64], percent: int) -> float | None:
    """A percentile, linear between neighbours, or None where `times` are too few to bound it."""
    if len(times) < runs_for(percent):
        return None
    return float(np.percentile(times, percent))


def runs_for(percent: int) -> int:
    """The fewest runs that say anything of a percentile: p90 takes 36, p95 72, p99 368.

    Only then does the slowest run lie above the true percentile with 97.5 % certainty, so that a
    two-sided 95 % interval has an upper end: the smallest n with 1 - pⁿ ≥ 0.975.

    Source: H. A. David and H. N. Nagaraja, "Order Statistics", 3rd edition, section 7.1.
    """
    return math.ceil(math.log(_MISSED) / math.log(percent / 100))


def timed(call: Callable[[], T]) -> tuple[int, T]:
    """The nanoseconds that one call takes, on the monotonic clock, and what it returns."""
    started = perf_counter_ns()
    answer = call()
    return perf_counter_ns() - started, answer


def rest() -> None:
    """Waits until this process is idle: a thread that still spins would slow the next call down."""
    for _ in range(_MOST_RESTS):
        busy = process_time()
        sleep(_REST_SECONDS)
        if process_time() - busy < _REST_SECONDS / 2:
            return


def _times(call: Call, count: int) -> list[int]:
    return [timed(call)[0] for _ in range(count)]


def _turn(call: Call, calls: int, seconds: float) -> list[int]:
    call()
    started = perf_counter_ns()
    times = _times(call, calls)
    while perf_counter_ns() - started < seconds * 1e9:
        times.append(timed(call)[0])
    return times
