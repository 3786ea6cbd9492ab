"""A against B: how many times as long, how sure that is, and whether they differ at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgenet.measure.intervals import Interval, median_interval
from edgenet.measure.latency import Samples


@dataclass(frozen=True)
class Comparison:
    """Time over the base's time: below 1 it is faster.

    `ratio` is the median over rounds of one turn's median over the other's, or over openings where
    what was timed was opened anew. `interval` is its 95 % interval (None for fewer than 6).
    `differs` is whether the interval leaves 1 out, None where there is no interval.
    """

    ratio: float
    interval: Interval | None
    differs: bool | None


def compare(base: Samples, other: Samples) -> Comparison:
    """Compares two calls that were timed in the same rounds.

    Each round gives one pair of turns, and the order alternates from round to round. A disturbance
    that lasts from one turn of the pair to the other slows both down and cancels in their ratio:
    the nearer the two are, the better. Rounds of the same opening share where memory lies, so that
    only their mean is independent of others.
    """
    ratios = other.medians() / base.medians()
    if together := base.turns_an_opening:
        starts = np.arange(0, len(ratios), together)
        counts = np.diff([*starts, len(ratios)])
        ratios = np.exp(np.add.reduceat(np.log(ratios), starts) / counts)
    interval = median_interval(ratios)
    differs = None if interval is None else not interval[0] <= 1.0 <= interval[1]
    return Comparison(float(np.median(ratios)), interval, differs)
