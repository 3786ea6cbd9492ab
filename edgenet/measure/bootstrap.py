"""How sure a measured time is: intervals by resampling whole turns.

Calls of one turn share what went on around them, so they are not independent. Turns are far enough
apart to be nearly so; they are what is drawn.

Source: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979)
    1-26; of clusters: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application"
    (1997), section 3.8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenet.measure.latency import PERCENTILES, Samples, runs_for

Interval = tuple[float, float]
Floats = NDArray[np.float64]

MIN_TURNS = 5
"""Fewer turns than this give no interval."""

_RESAMPLES = 1000
_TAILS = (2.5, 97.5)
_SEED = 20


@dataclass(frozen=True)
class Intervals:
    """95 % confidence intervals in milliseconds; None where there are too few turns or runs."""

    p50_ms: Interval | None
    p90_ms: Interval | None
    p95_ms: Interval | None
    p99_ms: Interval | None
    mean_ms: Interval | None


def intervals(samples: Samples) -> Intervals:
    """The 95 % intervals of percentiles and mean, from 1,000 draws of whole turns."""
    turns = [np.asarray(turn, np.float64) / 1e6 for turn in samples.turns]
    if len(turns) < MIN_TURNS:
        return Intervals(None, None, None, None, None)
    runs = sum(map(len, turns))
    drawn = np.asarray([_statistics(turns, draw) for draw in draws(len(turns))])
    low, high = np.percentile(drawn, _TAILS, axis=0)
    bounds = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    *percentiles, mean = bounds
    p50, p90, p95, p99 = (
        bound if runs >= runs_for(percent) else None
        for bound, percent in zip(percentiles, PERCENTILES, strict=True)
    )
    return Intervals(p50, p90, p95, p99, mean)


def median_interval(values: Floats) -> Interval | None:
    """The 95 % interval of the median of independent values; None below 5 of them."""
    if len(values) < MIN_TURNS:
        return None
    low, high = np.percentile(np.median(values[draws(len(values))], axis=1), _TAILS)
    return float(low), float(high)


def draws(count: int) -> NDArray[np.int64]:
    """1,000 rows of `count` indices below `count`, with repetition; the same at every call."""
    return np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))


def _statistics(turns: Sequence[Floats], draw: NDArray[np.int64]) -> Floats:
    times = np.concatenate([turns[index] for index in draw])
    return np.append(np.percentile(times, PERCENTILES), times.mean())
