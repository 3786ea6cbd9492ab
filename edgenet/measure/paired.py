"""Two runs on the same images: how sure a change between them is, from each image's two answers.

The images are taken to be drawn independently. Crops of a few photographs, or frames of one video,
are not, and make a change look surer than it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenet.measure.accuracy import Bools, drop_interval, loss_p

Energies = NDArray[np.float64]

CEILING_DB = 60.0
"""SQNR above this counts as this: an error of a thousandth, which the order of sums decides."""

_DRAWS = 2000
_TAILS = (2.5, 97.5)
_SEED = 20


@dataclass(frozen=True)
class Evidence:
    """How sure a change is.

    `interval` is the 95 % confidence interval of after - before, `p` the probability of a loss at
    least as large if both runs were equally good. Of a share of images, `lost` counts those that
    were in it in the earlier run alone, `gained` those that are in the later one's alone; of other
    figures both are None.
    """

    interval: tuple[float, float]
    p: float
    lost: int | None = None
    gained: int | None = None


@dataclass(frozen=True)
class Energy:
    """Of each image's answers: the energy of the reference's, and of the difference from them."""

    signal: Energies
    noise: Energies

    @property
    def table(self) -> Energies:
        """The two side by side, images × 2."""
        return np.stack([self.signal, self.noise], axis=1)


def shares(before: Bools, after: Bools) -> Evidence:
    """The evidence for a change of a share of images: McNemar's exact test, interval in shares."""
    lost = int(np.sum(before & ~after))
    gained = int(np.sum(~before & after))
    low, high = drop_interval(lost, gained, len(before))
    return Evidence((-high / 100, -low / 100), loss_p(lost, gained), lost, gained)


def decibels(before: Energy, after: Energy) -> Evidence:
    """The evidence for a change of the SQNR over all images, in dB; see `_randomized`."""
    return _randomized(before, after, _sqnr)


def r2(before: Energy, after: Energy) -> Evidence:
    """The evidence for a change of a regression's R², the mean of its values'; see `_randomized`.

    The energies are of standardized values.
    """
    return _randomized(before, after, _share_kept)


def _randomized(before: Energy, after: Energy, figure: Callable[[Energies], float]) -> Evidence:
    """The evidence for a change of a figure of the sums of signal and noise.

    The interval is the percentile bootstrap's over images. The p-value is that of a randomization
    test, which holds for few images too: if the runs were equally good, a coin could decide for
    each image which answer belongs to which run. Both draw 2,000 times, alike at every call.

    Source: B. Efron and R. Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 13
        (percentiles) and 15 (randomization).
    """
    rng = np.random.default_rng(_SEED)
    old, new = before.table, after.table

    def resampled() -> float:
        drawn = rng.integers(0, len(old), len(old))
        return figure(new[drawn].sum(axis=0)) - figure(old[drawn].sum(axis=0))

    def swapped() -> float:
        moved = (old - new)[rng.random(len(old)) < 0.5].sum(axis=0)
        return figure(new.sum(axis=0) + moved) - figure(old.sum(axis=0) - moved)

    observed = figure(new.sum(axis=0)) - figure(old.sum(axis=0))
    low, high = np.percentile([resampled() for _ in range(_DRAWS)], _TAILS)
    # A draw that swaps all or none gives the same sums in another order: a tie, not a smaller loss.
    as_large = sum(swapped() <= observed + 1e-9 for _ in range(_DRAWS))
    return Evidence((float(low), float(high)), (1 + as_large) / (1 + _DRAWS))


def _positive(sums: Energies) -> tuple[float, float]:
    signal, noise = (max(float(value), np.finfo(np.float64).tiny) for value in sums)
    return signal, noise


def _share_kept(sums: Energies) -> float:
    """R²: what of the signal is no noise."""
    signal, noise = _positive(sums)
    return 1 - noise / signal


def _sqnr(sums: Energies) -> float:
    """The SQNR of the sums of signal and noise, in dB, no higher than `CEILING_DB`."""
    signal, noise = _positive(sums)
    return min(CEILING_DB, 10 * (math.log10(signal) - math.log10(noise)))
