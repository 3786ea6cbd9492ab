"""Numbers as tables show them."""

from __future__ import annotations

import math
from collections.abc import Sequence

_MOST_DIGITS = 3


def number(value: float | None, digits: int = 2) -> str:
    """A number with fixed digits, or a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0..1 in per cent, or a dash where there is none."""
    return "–" if share is None else f"{100 * share:.{digits}f} %"


def drop(points: float | None, interval: Sequence[float] | None) -> str:
    """Points of top-1 with their 95 % interval, as in "0.25 (-0.48..0.98)"; a dash without."""
    if points is None or interval is None:
        return "–"
    low, high = interval
    return f"{points:.2f} ({low:.2f}..{high:.2f})"


def error(value: float | None) -> str:
    """An error in a unit that is not known, to three digits; a dash where there is none."""
    return "–" if value is None else f"{value:.3g}"


def growth(amount: float | None, interval: Sequence[float] | None) -> str:
    """What was added to an error, with its 95 % interval, as in "+0.12 (-0.01..+0.25)"."""
    if amount is None or interval is None:
        return "–"
    low, high = interval
    return f"{amount:+.3g} ({low:+.3g}..{high:+.3g})"


def counted(count: int, noun: str) -> str:
    """A count with its noun, as in "1 image" or "2 images"."""
    return f"{count} {noun}" + ("" if count == 1 else "s")


def with_interval(value: float | None, interval: Sequence[float] | None, fewest: int = 0) -> str:
    """A measured number with no more digits than its interval is worth, as in "5.12 ± 0.03".

    Args:
        value: The number; a dash stands for None.
        interval: Its 95 % confidence interval; None gives two decimals and no "±".
        fewest: The fewest decimals, however wide the interval is.
    """
    if value is None or interval is None:
        return number(value)
    half = (interval[1] - interval[0]) / 2
    digits = max(fewest, worthwhile_digits(half))
    return f"{value:.{digits}f} ± {half:.{digits}f}"


def worthwhile_digits(half: float) -> int:
    """The decimals that a number known to ± `half` is worth: one digit of `half`, at most three."""
    if half <= 0:
        return _MOST_DIGITS
    return min(_MOST_DIGITS, max(0, -math.floor(math.log10(half))))
