"""What a table shows, and how it looks on the console."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

_GAP = "  "


class Grid(NamedTuple):
    """A table before it is laid out: on a console, in Markdown or in HTML.

    Attributes:
        headers: One title a column.
        rows: The cells, each row as long as `headers`.
        align: One character a column, "<" (left) or ">" (right).
    """

    headers: list[str]
    rows: list[list[str]]
    align: str


def render(headers: list[str], rows: list[list[str]], align: str) -> str:
    """Lays out a table: a header line, a rule, then one line a row.

    Args:
        headers: One title a column.
        rows: The cells, each row as long as `headers`.
        align: One character a column, "<" (left) or ">" (right).

    Returns:
        The lines joined by newlines, without a trailing one and without trailing spaces.

    Raises:
        ValueError: A row, or `align`, does not have one entry a column.
    """
    lines = [headers, *rows]
    if any(len(line) != len(headers) for line in (*lines, align)):
        raise ValueError("every row, and align, needs one entry a column")
    widths = [max(_width(line[column]) for line in lines) for column in range(len(headers))]
    # Of a sign that every encoding has: an escape for each of another's would fill the screen.
    rule = _GAP.join("-" * width for width in widths)
    body = [_line(line, widths, align) for line in lines]
    return "\n".join([body[0], rule, *body[1:]])


def _line(cells: list[str], widths: list[int], align: str) -> str:
    padded = [_pad(*cell) for cell in zip(cells, widths, align, strict=True)]
    return _GAP.join(padded).rstrip()


def _pad(cell: str, width: int, align: str) -> str:
    spaces = " " * (width - _width(cell))
    return spaces + cell if align == ">" else cell + spaces


def _width(text: str) -> int:
    """Columns that a terminal gives the text: wide characters take two, combining ones none."""
    return sum(_columns(character) for character in text)


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
