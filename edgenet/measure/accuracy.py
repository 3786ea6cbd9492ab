"""Statistics that compare two networks on the same images; plain numpy, deterministic.

Logits are (images, classes) floats, labels (images,) integers. Shares are 0..1; only a drop is in
points (hundredths of accuracy). An image that is answered with NaN or infinity has no answer: it
agrees with nothing and is never right.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenet.measure.distributions import Z_95, fair_coin, student_95

Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

NO_ANSWER = -1
"""What stands for the class of an image without an answer."""

_TOP = 5
_ROWS = 256


@dataclass(frozen=True)
class PairedDrop:
    """Accuracy lost against the reference on the same images.

    `points` is the reference's top-1 minus ours in points (negative: we gained), `interval` its
    95 % confidence interval in points, `mcnemar_p` the probability of a difference at least this
    large if both networks were equally accurate.
    """

    points: float
    interval: tuple[float, float]
    mcnemar_p: float


@dataclass(frozen=True)
class Growth:
    """How much a mean absolute error exceeds the reference's on the same images.

    Both are in the value's unit; `interval` is the 95 % confidence interval of `amount`, by
    Student's t.
    """

    amount: float
    interval: tuple[float, float]


def answered(logits: Floats) -> Bools:
    """For each image, whether its logits are all numbers: neither NaN nor infinity."""
    # A row's extremes show both, without another array of the logits' size.
    return np.asarray(np.isfinite(logits.max(axis=1)) & np.isfinite(logits.min(axis=1)))


def finite(logits: Floats) -> Floats:
    """The logits, with zeros for images without an answer: sums over all images stay numbers."""
    known = answered(logits)
    return logits if known.all() else np.where(known[:, None], logits, logits.dtype.type(0))


def answers(logits: Floats) -> NDArray[np.int64]:
    """For each image its top-1 class (of tied ones, the first), or `NO_ANSWER`."""
    return np.where(answered(logits), logits.argmax(axis=1), NO_ANSWER)


def agreement(reference: Floats, logits: Floats) -> float:
    """The share of images on which both have the same top-1 class."""
    theirs, ours = answers(reference), answers(logits)
    return float(np.mean((theirs == ours) & (ours != NO_ANSWER)))


def right(logits: Floats, labels: NDArray[np.integer]) -> Bools:
    """For each image, whether the top-1 class is its label."""
    return np.asarray(answers(logits) == labels)


def top1(logits: Floats, labels: NDArray[np.integer]) -> float:
    """The share of images whose top-1 class is their label."""
    return float(np.mean(right(logits, labels)))


def top_k(logits: Floats, labels: NDArray[np.integer], k: int) -> float:
    """The share of images with their label among the `k` highest classes (ties count for us)."""
    own = np.take_along_axis(logits, labels[:, None], axis=1)
    return float(np.mean(answered(logits) & (np.sum(logits > own, axis=1) < k)))


def top5(logits: Floats, labels: NDArray[np.integer]) -> float | None:
    """`top_k` for k = 5; None for five classes or fewer, where it would always be 1."""
    return top_k(logits, labels, _TOP) if logits.shape[1] > _TOP else None


def paired_drop(reference_right: Bools, ours_right: Bools) -> PairedDrop:
    """Compares two networks' successes, image by image.

    Only discordant images count: those that the reference alone has right (lost) and those that
    ours alone has (gained).
    """
    images = len(reference_right)
    lost = int(np.sum(reference_right & ~ours_right))
    gained = int(np.sum(~reference_right & ours_right))
    return PairedDrop(
        points=100.0 * (lost - gained) / images,
        interval=drop_interval(lost, gained, images),
        mcnemar_p=mcnemar_p(lost, gained),
    )


def drop_interval(lost: int, gained: int, images: int) -> tuple[float, float]:
    """The 95 % confidence interval of a paired drop, in points.

    Wald's interval for matched proportions with half an image added to each cell of the 2×2 table,
    which keeps its coverage where few images are discordant: with n = images + 2, centre
    (lost - gained) / n and variance (lost + gained + 1 - (lost - gained)² / n) / n².

    Source: A. Agresti and Y. Min, "Simple improved confidence intervals for comparing matched
        proportions", Statistics in Medicine 24 (2005) 729-740.
    """
    total = images + 2
    difference = lost - gained
    centre = difference / total
    half = Z_95 * math.sqrt(lost + gained + 1 - difference**2 / total) / total
    return 100.0 * max(-1.0, centre - half), 100.0 * min(1.0, centre + half)


def mcnemar_p(lost: int, gained: int) -> float:
    """The exact two-sided p-value of McNemar's test.

    min(1, 2 · P(X ≤ min(lost, gained))) with X ~ Binomial(lost + gained, ½).

    Source: Q. McNemar, Psychometrika 12 (1947) 153-157, in its exact (binomial) form.
    """
    return min(1.0, 2 * fair_coin(min(lost, gained), lost + gained))


def loss_p(lost: int, gained: int) -> float:
    """The exact one-sided p-value of McNemar's test against a loss.

    P(X ≤ gained) with X ~ Binomial(lost + gained, ½).
    """
    return fair_coin(gained, lost + gained)


def sqnr_db(reference: Floats, logits: Floats) -> float | None:
    """The signal-to-quantization-noise ratio over all logits: 10 · log10(Σ ref² / Σ (ref - x)²) dB.

    None where the two are equal to the bit, for the ratio is infinite then.
    """
    noise = _energy(reference - logits)
    if noise == 0.0:
        return None
    # The smallest normal double stands for a silent reference, whose ratio has no logarithm.
    signal = max(_energy(reference), np.finfo(np.float64).tiny)
    return 10.0 * (math.log10(signal) - math.log10(noise))


def energies(values: Floats) -> NDArray[np.float64]:
    """For each image the sum of its squared values."""
    return np.einsum("ij,ij->i", values, values, dtype=np.float64)


def standardized(values: Floats, reference: Floats) -> NDArray[np.float64]:
    """A regression's values, images × values, in the reference's standard deviations from its mean.

    So neither the unit of a value nor its mean counts as signal. A value that the reference answers
    alike to every image becomes zeros.
    """
    exact = reference.astype(np.float64)
    spread = exact.std(axis=0)
    return np.where(spread > 0, (values - exact.mean(axis=0)) / np.where(spread > 0, spread, 1), 0)


def max_error(reference: Floats, logits: Floats) -> float:
    """The largest absolute difference of a logit."""
    return float(np.max(np.abs(reference - logits)))


def mean_error(reference: Floats, values: Floats, value: int) -> float:
    """The mean absolute difference of one of a regression's values, in its unit.

    There is no mean over several values: an age and a share have no unit in common.

    Args:
        reference: The reference's values, images × values.
        values: Those to judge.
        value: Which of them.
    """
    return float(np.mean(np.abs(reference - values)[:, value], dtype=np.float64))


def absolute_errors(values: Floats, truth: Floats, value: int) -> NDArray[np.float64]:
    """For each image the absolute error of one of its values, in its unit; see `mean_error`."""
    return np.asarray(np.abs(finite(values) - truth)[:, value], np.float64)


def paired_growth(before: NDArray[np.float64], after: NDArray[np.float64]) -> Growth | None:
    """How much the mean of errors of the same images grew, with Student's interval of paired means.

    None for a single image, which shows no spread.
    """
    if len(before) < 2:
        return None
    grown = after - before
    mean, error = float(grown.mean()), float(grown.std(ddof=1)) / math.sqrt(len(grown))
    half = student_95(len(grown) - 1) * error
    return Growth(mean, (mean - half, mean + half))


def r2(reference: Floats, values: Floats) -> float | None:
    """The coefficient of determination of a regression's values, images × values.

    1 - Σ (ref - x)² / Σ (ref - mean ref)² over images: 1 where they are equal, 0 where the
    reference's mean would be as good an answer. Of several values it is that of the one that is
    kept worst; None where none of the reference's differs from image to image.
    """
    kept = _r2_of_each(reference, values)
    return None if np.isnan(kept).all() else float(np.nanmin(kept))


def kept_worst(reference: Floats, files: Sequence[Floats]) -> int:
    """Which of a regression's values one of the files keeps worst, by its R².

    The first of equals, and where none of the reference's differs from image to image.

    Args:
        reference: The reference's values, images × values.
        files: The same of one file or more.
    """
    kept = np.min([_r2_of_each(reference, values) for values in files], axis=0)
    return 0 if np.isnan(kept).all() else int(np.nanargmin(kept))


def _r2_of_each(reference: Floats, values: Floats) -> NDArray[np.float64]:
    """Each value's R²; NaN for one that the reference answers alike to all images."""
    exact = reference.astype(np.float64)
    spread = np.sum((exact - exact.mean(axis=0)) ** 2, axis=0)
    lost = np.sum((exact - values) ** 2, axis=0)
    return np.where(spread > 0, 1 - lost / np.where(spread > 0, spread, 1), np.nan)


def cosine(reference: Floats, logits: Floats) -> float:
    """The cosine between two rows of logits, averaged over images (0 where a row is all zeros)."""
    dot = np.einsum("ij,ij->i", reference, logits, dtype=np.float64)
    norms = np.sqrt(energies(reference) * energies(logits))
    return float(np.mean(np.divide(dot, norms, out=np.zeros_like(dot), where=norms > 0)))


def divergences(reference: Floats, logits: Floats) -> NDArray[np.float64]:
    """For each image KL(softmax(ref) ‖ softmax(x)) = Σ p · (ln p - ln q), in nats."""
    found = np.empty(len(reference), np.float64)
    # In blocks: the doubles that it takes would be eight times as large as all logits.
    for start in range(0, len(reference), _ROWS):
        rows = slice(start, start + _ROWS)
        found[rows] = _divergences(finite(reference[rows]), finite(logits[rows]))
    return found


def _divergences(reference: Floats, logits: Floats) -> NDArray[np.float64]:
    log_p, log_q = log_softmax(reference), log_softmax(logits)
    return np.maximum(0.0, np.sum(np.exp(log_p) * (log_p - log_q), axis=1))


def log_softmax(logits: Floats) -> NDArray[np.float64]:
    """The logarithm of the softmax of each row."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.sum(np.exp(shifted), axis=1, keepdims=True)))


def _energy(values: Floats) -> float:
    # einsum casts in small buffers: a double copy of all logits is never held.
    return float(np.einsum("ij,ij->", values, values, dtype=np.float64))
