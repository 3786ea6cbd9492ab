"""Accuracy over latency as a picture, with the table that its numbers refer to."""

from __future__ import annotations

from collections.abc import Sequence

from edgenet.report.cells import number, percent, with_interval
from edgenet.report.html import charts
from edgenet.report.html.page import paragraph, table

_LEGEND = (
    "A disc's area is the file's size; the dashed line joins the files that no other beats in "
    "both, where there are several."
)


def frontier(points: Sequence[charts.Point], accuracy: str, remark: str, share: bool = True) -> str:
    """The picture, its legend and a remark.

    Args:
        points: The files.
        accuracy: What their accuracy is.
        remark: What a reader should know of the numbers.
        share: Whether accuracy is a share, written in per cent.
    """
    rows = [
        [
            *(str(index), p.label, with_interval(p.ms, p.interval)),
            percent(p.accuracy) if share else number(p.accuracy, 4),
            f"{p.bytes / 1e6:.1f}",
        ]
        for index, p in enumerate(points, 1)
    ]
    return "\n".join(
        [
            charts.frontier(points, accuracy, share),
            table(["", "file", "p50 ms", accuracy, "MB"], rows, "><>>>"),
            paragraph(f"{_LEGEND} {remark}"),
        ]
    )
