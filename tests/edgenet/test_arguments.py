"""Arguments of Python's functions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.arguments import several, whole
from edgenet.errors import UsageError


@given(st.text(min_size=1))
def test_one_name_by_itself_is_not_its_letters(name: str) -> None:
    assert several(name) == (name,)


@given(st.lists(st.text()))
def test_each_is_there_once_where_it_came_first(names: list[str]) -> None:
    found = several(names)
    assert set(found) == set(names)
    assert sorted(found, key=names.index) == list(found)


def test_a_whole_number_of_numpy_becomes_pythons_own() -> None:
    assert type(whole("batch", np.int64(4))) is int
    with pytest.raises(UsageError, match=r"batch=4\.0: an integer is needed"):
        whole("batch", 4.0)  # type: ignore[arg-type]
