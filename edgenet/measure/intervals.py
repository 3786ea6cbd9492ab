"""How sure a measured time is: 95 % confidence intervals.

Those of percentiles and the mean of all calls are by resampling whole turns. Calls of one turn
share what went on around them, so they are not independent. Turns are far enough apart to be nearly
so; they are what is drawn. Where sessions are opened anew, turns of one opening share where memory
lies, and openings are drawn. The percentile bootstrap of few draws is too short, and is widened as
Student's t is wider than the normal distribution. The interval of a median of independent values is
exact.

Sources: B. Efron, "Bootstrap methods: another look at the jackknife", Annals of Statistics 7 (1979)
    1-26; of clusters: A. C. Davison and D. V. Hinkley, "Bootstrap Methods and their Application"
    (1997), section 3.8; widened: T. C. Hesterberg, "What Teachers Should Know About the Bootstrap",
    The American Statistician 69 (2015) 371-386; of a median: H. A. David and H. N. Nagaraja, "Order
    Statistics", 3rd edition, section 7.1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from edgenet.measure.distributions import fair_coin, student_95
from edgenet.measure.latency import PERCENTILES, Samples, runs_for

Interval = tuple[float, float]
Floats = NDArray[np.float64]

_FEWEST_TURNS = 5
_RESAMPLES = 1000
_MISSED = 0.05
_SEED = 20


@dataclass(frozen=True)
class Intervals:
    """In milliseconds; None where there are fewer than 5 turns or too few runs."""

    p50_ms: Interval | None
    p90_ms: Interval | None
    p95_ms: Interval | None
    p99_ms: Interval | None
    mean_ms: Interval | None


def intervals(samples: Samples) -> Intervals:
    """The intervals of percentiles and mean, from 1,000 draws of whole turns, or openings."""
    turns = [np.concatenate(alike) / 1e6 for alike in _openings(samples)]
    if len(turns) < _FEWEST_TURNS:
        return Intervals(None, None, None, None, None)
    runs = sum(map(len, turns))
    drawn = np.asarray([_statistics(turns, draw) for draw in _draws(len(turns))])
    low, high = np.quantile(drawn, _tails(len(turns)), axis=0)
    bounds = [(float(a), float(b)) for a, b in zip(low, high, strict=True)]
    *percentiles, mean = bounds
    p50, p90, p95, p99 = (
        bound if runs >= runs_for(percent) else None
        for bound, percent in zip(percentiles, PERCENTILES, strict=True)
    )
    return Intervals(p50, p90, p95, p99, mean)


def _openings(samples: Samples) -> list[list[Floats]]:
    """The turns that share an opening; each by itself where there was but one."""
    turns = [np.asarray(turn, np.float64) for turn in samples.turns]
    together = samples.turns_an_opening or 1
    return [turns[start : start + together] for start in range(0, len(turns), together)]


def median_interval(values: Floats) -> Interval | None:
    """The interval of the median of independent values; None below 6 of them.

    It reaches from the k-th smallest value to the k-th largest. The median lies below or above both
    with probability 2 · P(X < k), X ~ Binomial(n, ½), whatever the distribution; k is the largest
    for which that is at most 0.05, and fewer than 6 values have none.
    """
    left_out = -1
    while 2 * fair_coin(left_out + 1, len(values)) <= _MISSED:
        left_out += 1
    if left_out < 0:
        return None
    ordered = np.sort(values)
    return float(ordered[left_out]), float(ordered[-1 - left_out])


def _tails(turns: int) -> tuple[float, float]:
    """The quantiles of the draws between which a 95 % interval of so many turns lies.

    The expanded percentile interval: Φ(±√(n / (n - 1)) · t), t the 97.5 % quantile of Student's t
    with n - 1 degrees of freedom. 2.5 and 97.5 % of many turns, 1.6 and 98.4 % of 20.
    """
    low = NormalDist().cdf(-math.sqrt(turns / (turns - 1)) * student_95(turns - 1))
    return low, 1 - low


def _draws(count: int) -> NDArray[np.int64]:
    """1,000 rows of `count` indices below `count`, with repetition; the same at every call."""
    return np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))


def _statistics(turns: Sequence[Floats], draw: NDArray[np.int64]) -> Floats:
    times = np.concatenate([turns[index] for index in draw])
    return np.append(np.percentile(times, PERCENTILES), times.mean())
