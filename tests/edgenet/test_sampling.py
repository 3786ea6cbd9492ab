"""Places that stand for all of an ordered set: from all its parts, and of no period."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.sampling import stratified


@given(st.integers(1, 300), st.integers(0, 300))
def test_each_stretch_has_one_place(total: int, count: int) -> None:
    places = stratified(total, count)
    assert len(places) == min(total, count)
    bounds = [stretch * total // max(len(places), 1) for stretch in range(len(places) + 1)]
    for place, (start, end) in zip(places, pairwise(bounds), strict=True):
        assert start <= place < end
    assert places == stratified(total, count)


@pytest.mark.parametrize("period", [2, 3, 4, 5])
@pytest.mark.parametrize(("total", "count"), [(128, 42), (384, 128), (120, 24), (600, 100)])
def test_what_recurs_is_met_in_every_phase(total: int, count: int, period: int) -> None:
    """Every third, fifth or sixth place would be of one phase of some of these."""
    met = Counter(place % period for place in stratified(total, count))
    assert len(met) == period
    assert max(met.values()) < 2 * count / period
