"""Range rules that weigh a sketch of a tensor's values: least squares and least information lost.

Both are the field's, here on both sides of zero: each end is shrunk towards zero by the factors of
a grid, and of all pairs of ends the best is taken; of equals, the widest. No end is drawn past the
median: of values far on one side of zero one level would be left, whose divergence is zero.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from numpy.typing import NDArray

from converters.graph import Floats
from converters.quantization.calibrate import TAIL, TensorStatistics
from converters.quantization.roles import Role
from converters.scheme.document import Range
from converters.scheme.parameters import Quantization

# Three to the octave, down to a fortieth of the extreme.
_FACTORS = 2.0 ** (-np.arange(17) / 3)
_RUNS = 1024
_BINS = 2048
_LEVELS = 256
# So that an empty bin at the end does not cost infinity; as large as ONNX Runtime's.
_SMOOTHING = 1e-4

Shares = NDArray[np.float64]


def least_squares(role: Role, statistics: TensorStatistics) -> Range:
    """The range that holds the tensor's own values with the least squared error in 256 levels."""
    values, shares = _weighed(*_runs(statistics.sample), statistics)

    def error(low: float, high: float) -> float:
        levels = Quantization.covering(low, high)
        held = levels.dequantize(levels.quantize(values))
        return float(shares @ np.square(values - held, dtype=np.float64))

    return _best(statistics, error)


def entropy(role: Role, statistics: TensorStatistics) -> Range:
    """The range whose 256 levels keep the values' histogram with the least KL divergence.

    Zeros are left out, for in every range they have a level of their own.

    Source: S. Migacz, "8-bit Inference with TensorRT", GTC 2017: 2048 bins, and what is clipped is
        counted in the outermost that are left. Ranges are symmetric there.
    """
    low, high = _extremes(statistics)
    if low == high:
        return low, high
    sample = statistics.sample.ravel()
    values, weights = _weighed(sample, np.full(sample.size, 1 / sample.size), statistics)
    shares, edges = np.histogram(
        values, _BINS, (min(low, 0.0), max(high, 0.0)), weights=np.where(values, weights, 0.0)
    )

    def divergence(low: float, high: float) -> float:
        first = int(np.searchsorted(edges, min(low, 0.0), "right")) - 1
        end = int(np.searchsorted(edges, max(high, 0.0)))
        # Fewer bins than levels say nothing of what rounding loses.
        return _divergence(shares, first, end) if end - first >= _LEVELS else np.inf

    return _best(statistics, divergence)


def _divergence(shares: Shares, first: int, end: int) -> float:
    """KL(P ‖ Q) in nats: P are the bins from `first` to `end`, Q what is left of them in levels."""
    inside = shares[first:end]
    clipped = inside.copy()
    clipped[0] += shares[:first].sum()
    clipped[-1] += shares[end:].sum()
    seen = clipped > 0
    level = np.arange(len(inside)) * _LEVELS // len(inside)
    sums, counts = np.bincount(level, inside), np.bincount(level, seen)
    held = np.where(seen, (sums / np.maximum(counts, 1))[level], 0.0)
    held += _SMOOTHING * shares.sum() / len(held)
    p, q = clipped / clipped.sum(), held / held.sum()
    return float(p[seen] @ np.log(p[seen] / q[seen]))


def _best(statistics: TensorStatistics, cost: Callable[[float, float], float]) -> Range:
    low, high = _extremes(statistics)
    median = float(np.median(statistics.sample))
    lows, highs = _shrunk(low, -1, median), _shrunk(high, 1, median)
    return min(product(lows, highs), key=lambda ends: cost(*ends))


def _shrunk(end: float, side: int, median: float) -> list[float]:
    """The candidates for an end, the widest first: one beyond zero is not drawn towards it."""
    if end * side <= 0:
        return [end]
    return [shrunk for shrunk in (end * _FACTORS).tolist() if (shrunk - median) * side >= 0]


def _extremes(statistics: TensorStatistics) -> Range:
    return float(statistics.low.min()), float(statistics.high.max())


def _runs(sample: Floats) -> tuple[Floats, Shares]:
    """So few values that each can be tried in every range, with their shares.

    They are means of runs of the ordered values: Chebyshev's spacing leaves the outermost, where
    clipping tells, as they are.
    """
    ordered = np.sort(sample, axis=None)
    spaced = ordered.size * (1 - np.cos(np.linspace(0, np.pi, _RUNS + 1))) / 2
    borders = np.unique(np.rint(spaced).astype(np.intp))
    sizes = np.diff(borders)
    means = np.add.reduceat(ordered, borders[:-1], dtype=np.float64) / sizes
    return means.astype(np.float32), sizes / ordered.size


def _weighed(values: Floats, shares: Shares, statistics: TensorStatistics) -> tuple[Floats, Shares]:
    """With each image's extremes added: they stand for half of what lies beyond its tails."""
    extremes = np.concatenate([statistics.low, statistics.high])
    beyond = np.full(extremes.size, TAIL / 2 / statistics.low.size)
    return np.concatenate([values, extremes]), np.concatenate([shares, beyond])
