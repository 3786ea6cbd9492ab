"""The best way to set a chain of switches, within limits on what else the way spends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Whether each switch is on.
Way = tuple[bool, ...]
# Of each switch, whether it is on and whether the next one is: what that takes. (switches, 2, 2);
# what follows the last switch is on.
Tolls = NDArray[np.float64]
# What is begun, one way a row.
_Ways = NDArray[np.bool_]

# The tolls of one, where a switch is on, where it and the next are, where just one of them is.
ON = np.array([[0, 0], [1, 1]])
BOTH = np.array([[0, 0], [0, 1]])
CROSSING = np.array([[0, 1], [1, 0]])

# Of each limit. With ten times as many EfficientNet-B0 finds the same.
_STEPS = 100


def total(tolls: Tolls, way: Way) -> float:
    """What a way takes."""
    ends = zip(tolls, pairwise((*way, True)), strict=True)
    return float(sum(toll[int(one), int(other)] for toll, (one, other) in ends))


def cheapest(cost: Tolls, spent: Sequence[Tolls], limits: Sequence[float]) -> Way | None:
    """The way that costs the least of those that spend no more than the limits.

    A shortest path with resource constraints, by labels (Irnich and Desaulniers 2005): of the
    beginnings that end alike and have spent the same, up to a hundredth of the limits, the
    cheapest goes on. What a way spends is added up exactly, so none is ever taken for cheaper.

    Args:
        cost: May be less than nothing.
        spent: None of it less than nothing.
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
    """Each way that is begun, with each setting of the next switch, and what it then takes."""
    ways = [np.pad(begun, ((0, 0), (0, 1)), constant_values=on) for on in following]
    added = [sums + toll[begun[:, -1].astype(int), int(on)] for on in following]
    return np.concatenate(ways), np.concatenate(added)


def _kept(sums: Tolls, ends: NDArray[np.bool_], limits: Tolls) -> NDArray[np.intp]:
    """The positions of what goes on: within the limits, the cheapest of its like."""
    within = np.flatnonzero((sums[:, 1:] <= limits).all(axis=1))
    shares = sums[within, 1:] / np.maximum(limits, np.finfo(float).tiny)
    alike = np.column_stack([ends[within], (shares * _STEPS).astype(int)])
    order = np.argsort(sums[within, 0], kind="stable")
    kinds = alike @ (_STEPS + 1) ** np.arange(alike.shape[1])
    _, first = np.unique(kinds[order], return_index=True)
    return within[order[first]]
