"""The cheapest setting of a chain of switches within limits on resources that it spends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Whether each switch is on.
Way = tuple[bool, ...]
# What a way costs or spends at each switch, (switches, 2, 2): by whether the switch is on, and
# whether the next one is; what follows the last one counts as on.
Tolls = NDArray[np.float64]
# The beginnings of ways, one a row.
_Ways = NDArray[np.bool_]

# A toll of one: where a switch is on; where it and the next are; where exactly one of the two is.
ON = np.array([[0, 0], [1, 1]])
BOTH = np.array([[0, 0], [0, 1]])
CROSSING = np.array([[0, 1], [1, 0]])

# Of each limit. With ten times as many EfficientNet-B0 finds the same.
_STEPS = 100


def total(tolls: Tolls, way: Way) -> float:
    """The sum of a way's tolls."""
    ends = zip(tolls, pairwise((*way, True)), strict=True)
    return float(sum(toll[int(one), int(other)] for toll, (one, other) in ends))


def cheapest(cost: Tolls, spent: Sequence[Tolls], limits: Sequence[float]) -> Way | None:
    """The way that costs the least of those that spend no more than the limits.

    A shortest path with resource constraints, by labels (Irnich and Desaulniers 2005): of the
    beginnings that end alike and have spent the same, to a hundredth of the limits, only the
    cheapest is continued. What a way spends is summed exactly, so no limit is ever exceeded.

    Args:
        cost: To be minimized; may be negative.
        spent: Resources, none of them negative.
        limits: One for each of `spent`.

    Returns:
        None where every way spends too much.
    """
    tolls, bounds = np.stack([cost, *spent], axis=-1), np.array(limits)
    begun = np.array([[False], [True]])
    sums = np.zeros((2, tolls.shape[-1]))
    for toll in tolls[:-1]:
        begun, sums = _continued(begun, sums, toll, (False, True))
        kept = _kept(sums, begun[:, -1], bounds)
        begun, sums = begun[kept], sums[kept]
    ways, sums = _continued(begun, sums, tolls[-1], (True,))
    within = (sums[:, 1:] <= bounds).all(axis=1)
    if not within.any():
        return None
    best = ways[within][np.argmin(sums[within, 0])]
    return tuple(best[:-1].tolist())


def _continued(
    begun: _Ways, sums: Tolls, toll: Tolls, following: Sequence[bool]
) -> tuple[_Ways, Tolls]:
    """Each beginning with each setting of the next switch, and its sums so far."""
    ways = [np.pad(begun, ((0, 0), (0, 1)), constant_values=on) for on in following]
    added = [sums + toll[begun[:, -1].astype(int), int(on)] for on in following]
    return np.concatenate(ways), np.concatenate(added)


def _kept(sums: Tolls, ends: NDArray[np.bool_], limits: Tolls) -> NDArray[np.intp]:
    """The positions of the beginnings to continue: within the limits, the cheapest of its kind."""
    within = np.flatnonzero((sums[:, 1:] <= limits).all(axis=1))
    shares = sums[within, 1:] / np.maximum(limits, np.finfo(float).tiny)
    alike = np.column_stack([ends[within], (shares * _STEPS).astype(int)])
    order = np.argsort(sums[within, 0], kind="stable")
    kinds = alike @ (_STEPS + 1) ** np.arange(alike.shape[1])
    _, first = np.unique(kinds[order], return_index=True)
    return within[order[first]]
