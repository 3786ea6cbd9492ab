"""No choice within the limits is much cheaper than the one that is found."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from converters.quantization.chain import BOTH, CROSSING, ON, cheapest, total

# Of the limits: what each of seven switches may hide from the next.
HIDDEN = 7 / 100


@st.composite
def chains(draw):
    """A cost, which may be a gain, and two resources that are used, for one to seven switches."""
    shape = (draw(st.integers(1, 7)), 2, 2)
    cost = draw(hnp.arrays(float, shape, elements=st.floats(-1, 1)))
    used = [draw(hnp.arrays(float, shape, elements=st.floats(0, 1))) for _ in range(2)]
    return cost, used, draw(st.lists(st.floats(0, 4), min_size=2, max_size=2))


def best(cost, used, limits):
    """The least cost within the limits, by trying all choices."""
    choices = product((False, True), repeat=len(cost))
    within = [
        choice
        for choice in choices
        if all(total(use, choice) <= limit for use, limit in zip(used, limits, strict=True))
    ]
    return min((total(cost, choice) for choice in within), default=None)


@given(chains())
def test_nothing_within_the_limits_is_much_cheaper(chain):
    cost, used, limits = chain
    found = cheapest(cost, used, limits)
    if found is None:
        assert best(cost, used, [limit * (1 - HIDDEN) for limit in limits]) is None
        return
    assert len(found) == len(cost)
    for use, limit in zip(used, limits, strict=True):
        assert total(use, found) <= limit + 1e-9
    loose, tight = (best(cost, used, [n * share for n in limits]) for share in (1, 1 - HIDDEN))
    assert loose is None or total(cost, found) >= loose - 1e-9
    assert tight is None or total(cost, found) <= tight + 1e-9


@given(chains())
def test_without_limits_the_cheapest_of_all_is_found(chain):
    cost, _, _ = chain
    found = cheapest(cost, [], [])
    assert found is not None
    assert total(cost, found) == pytest.approx(best(cost, [], []))


def test_what_follows_the_last_is_on():
    costs = np.multiply.outer([1.0, 10.0, 100.0], CROSSING)
    assert total(costs, (False, False, False)) == 100
    assert total(costs, (True, False, True)) == 11
    assert total(np.multiply.outer([1.0, 10.0, 100.0], BOTH), (True, True, False)) == 1
    assert total(np.multiply.outer([1.0, 10.0, 100.0], ON), (True, True, False)) == 11


def test_a_limit_of_nothing():
    cost, used = np.multiply.outer([-1.0, -1.0], ON), np.multiply.outer([1.0, 0.0], ON)
    assert cheapest(cost, [used], [0.0]) == (False, True)
    assert cheapest(cost, [used + 1], [0.0]) is None


def test_a_long_chain_is_set_as_a_short_one_is():
    """The runs of a knapsack: items of one kind, of which the limit holds ten."""
    cost, used = np.multiply.outer(-np.ones(200), ON), np.multiply.outer(np.ones(200), ON)
    found = cheapest(cost, [used], [10.0])
    assert found is not None
    assert sum(found) == 10
