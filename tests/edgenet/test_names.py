"""Names that a function is given."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edgenet.names import several


@given(st.text(min_size=1))
def test_one_name_by_itself_is_not_its_letters(name: str) -> None:
    assert several(name) == (name,)


@given(st.lists(st.text()))
def test_each_is_there_once_where_it_came_first(names: list[str]) -> None:
    found = several(names)
    assert set(found) == set(names)
    assert sorted(found, key=names.index) == list(found)
