"""Numbers in tables: fixed digits, and a dash for what is not known."""

from __future__ import annotations

from edgenet.report.cells import drop, number, percent


def test_numbers_have_fixed_digits():
    assert (number(1.239), number(2.0, 1), number(7, 0)) == ("1.24", "2.0", "7")


def test_shares_are_shown_in_per_cent():
    assert (percent(0.7716), percent(1.0, 0)) == ("77.2 %", "100 %")


def test_what_is_not_known_is_a_dash():
    assert number(None) == percent(None) == "–"


def test_a_drop_comes_with_its_interval():
    assert drop(0.25, (-0.478, 0.98)) == "0.25 (-0.48..0.98)"
    assert drop(None, None) == "–"
