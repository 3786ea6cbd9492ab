"""The few pieces of GitHub's Markdown that reports are made of."""

from __future__ import annotations


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


def escaped(cell: str) -> str:
    """What Markdown would take for its own is shown as it is."""
    for sign in "\\|<*_`":
        cell = cell.replace(sign, f"\\{sign}")
    return cell
