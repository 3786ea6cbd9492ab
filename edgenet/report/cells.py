"""Numbers as a console table shows them."""

from __future__ import annotations


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0..1 in per cent, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"
