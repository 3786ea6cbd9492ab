"""The few pieces of GitHub's Markdown that reports are made of."""

from __future__ import annotations

import re

_SIGNS = re.compile(r"[\\`*_~|<\[\]#&]")
# At the start of a line: a quotation, lists with and without numbers, and a rule.
_START = re.compile(r"^(?:(?=>)|(?=[-+](?:[\s-]|$))|(\d+)(?=[.)](?:\s|$)))")
_REFERENCE = re.compile(r"([@#])(?=\w)")
_NOTHING = "&#8203;"


def table(headers: list[str], rows: list[list[str]], align: str) -> str:
    """A table; `align` has one "<" (left) or ">" (right) a column."""
    rule = ["---:" if side == ">" else "---" for side in align]
    return "\n".join(
        _line(cells)
        for cells in [
            [escaped(h) for h in headers],
            rule,
            *([escaped(c) for c in row] for row in rows),
        ]
    )


def bullets(lines: list[str]) -> str:
    """A list."""
    return "\n".join(f"- {escaped(line)}" for line in lines)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def escaped(text: str) -> str:
    """The text in one line, so that Markdown shows it as it is: no sign of it has a meaning.

    GitHub looks for @someone and #123 in what Markdown has made of the text, where a backslash is
    gone: a space without width keeps them apart.

    Source: CommonMark 0.31, section 2.4 (backslash escapes); github/markup#1168.
    """
    line = _SIGNS.sub(r"\\\g<0>", " ".join(text.split()))
    line = _START.sub(r"\1\\", line)
    return _REFERENCE.sub(rf"\1{_NOTHING}", line)
