"""Console tables keep their columns straight."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.report.table import render

CELLS = st.text("ab×→0", max_size=6)


def test_a_table_by_hand() -> None:
    table = render(["name", "size"], [["a", "10"], ["longer", "7"]], "<>")
    assert table.splitlines() == [
        "name    size",
        "------  ----",
        "a         10",
        "longer     7",
    ]


def test_wide_and_combining_characters_count_as_the_terminal_shows_them() -> None:
    lines = render(["名", "x"], [["ab", "1"], ["e\u0301e", "2"]], "<<").splitlines()
    assert lines == ["名  x", "--  -", "ab  1", "e\u0301e  2"]


@given(st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5))
def test_every_row_is_one_line_and_right_aligned_columns_end_together(
    rows: list[list[str]],
) -> None:
    lines = render(["a", "b", "c"], rows, "<>>").split("\n")
    assert len(lines) == len(rows) + 2
    ends = {len(line) for line, row in zip(lines[2:], rows, strict=True) if row[2]}
    assert len(ends) <= 1


@pytest.mark.parametrize(("rows", "align"), [([["a"]], "<<"), ([["a", "b"]], "<")])
def test_a_row_of_another_length_is_a_defect(rows: list[list[str]], align: str) -> None:
    with pytest.raises(ValueError, match="one entry a column"):
        render(["x", "y"], rows, align)
