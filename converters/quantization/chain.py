"""The cheapest setting of a chain of switches within limits on the resources that it uses."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

# Whether each switch is on.
Choice = tuple[bool, ...]
# What a choice costs or uses up at each switch, (switches, 2, 2): by whether the switch is on, and
# whether the next one is; what follows the last one counts as on.
Costs = NDArray[np.float64]
# The first switches of choices, one choice a row.
_Prefixes = NDArray[np.bool_]

# A cost of one: where a switch is on; where it and the next are; where exactly one of the two is.
ON = np.array([[0, 0], [1, 1]])
BOTH = np.array([[0, 0], [0, 1]])
CROSSING = np.array([[0, 1], [1, 0]])

# Of each limit. With ten times as many EfficientNet-B0 finds the same.
_STEPS = 100


def total(costs: Costs, choice: Choice) -> float:
    """What a choice costs over all switches."""
    pairs = zip(costs, pairwise((*choice, True)), strict=True)
    return float(sum(cost[int(one), int(other)] for cost, (one, other) in pairs))


def cheapest(costs: Costs, used: Sequence[Costs], limits: Sequence[float]) -> Choice | None:
    """The choice that costs the least of those that use no more than the limits.

    A shortest path with resource constraints, by labels (Irnich and Desaulniers 2005): of the
    prefixes that end alike and have used the same, to a hundredth of the limits, only the cheapest
    is continued. What a choice uses is summed exactly, so no limit is ever exceeded.

    Args:
        costs: To be minimized; may be negative.
        used: Resources, none of them negative.
        limits: One for each of `used`.

    Returns:
        None where every choice uses too much.
    """
    steps, bounds = np.stack([costs, *used], axis=-1), np.array(limits)
    prefixes = np.array([[False], [True]])
    sums = np.zeros((2, steps.shape[-1]))
    for step in steps[:-1]:
        prefixes, sums = _continued(prefixes, sums, step, (False, True))
        kept = _kept(sums, prefixes[:, -1], bounds)
        prefixes, sums = prefixes[kept], sums[kept]
    choices, sums = _continued(prefixes, sums, steps[-1], (True,))
    within = (sums[:, 1:] <= bounds).all(axis=1)
    if not within.any():
        return None
    best = choices[within][np.argmin(sums[within, 0])]
    return tuple(best[:-1].tolist())


def _continued(
    prefixes: _Prefixes, sums: Costs, step: Costs, following: Sequence[bool]
) -> tuple[_Prefixes, Costs]:
    """Each prefix with each setting of the next switch, and its sums so far."""
    longer = [np.pad(prefixes, ((0, 0), (0, 1)), constant_values=on) for on in following]
    added = [sums + step[prefixes[:, -1].astype(int), int(on)] for on in following]
    return np.concatenate(longer), np.concatenate(added)


def _kept(sums: Costs, ends: NDArray[np.bool_], limits: Costs) -> NDArray[np.intp]:
    """The positions of the prefixes to continue: within the limits, the cheapest of its kind."""
    within = np.flatnonzero((sums[:, 1:] <= limits).all(axis=1))
    shares = sums[within, 1:] / np.maximum(limits, np.finfo(float).tiny)
    alike = np.column_stack([ends[within], (shares * _STEPS).astype(int)])
    order = np.argsort(sums[within, 0], kind="stable")
    kinds = alike @ (_STEPS + 1) ** np.arange(alike.shape[1])
    _, first = np.unique(kinds[order], return_index=True)
    return within[order[first]]
