"""Points over doubly logarithmic axes, as one SVG file that needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _HEIGHT = 420, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 16, 36, 44
_COLOURS = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#57606a")
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#1b1f24}.title{font-size:14px;font-weight:600}"
    ".grid{stroke:#d0d7de}.guide{stroke:#57606a;stroke-dasharray:4 4}"
    ".middle{text-anchor:middle}.end{text-anchor:end}"
)

Point = tuple[float, float, str]
"""Where along both axes, above zero, and what it is called."""


@dataclass(frozen=True)
class Panel:
    """One diagram: series of points by name, and a guide that grows in proportion.

    The guide is a line through the leftmost of all points.
    """

    title: str
    across: str
    series: Mapping[str, Sequence[Point]]


def draw(panels: Sequence[Panel]) -> str:
    """Draws the panels side by side; returns a whole SVG document, equal for equal input."""
    width = _WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT}" '
        f'width="{width}" height="{_HEIGHT}" role="img">',
        f"<style>{_STYLE}</style>",
        f'<rect width="{width}" height="{_HEIGHT}" fill="#ffffff"/>',
    ]
    for index, panel in enumerate(panels):
        parts += [f'<g transform="translate({index * _WIDTH} 0)">', *_panel(panel), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


class _Axis:
    """From a value to a coordinate, and the powers of ten and their doubles between."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        self._low, high = math.log10(min(values) / 1.3), math.log10(max(values) * 1.3)
        self._start, self._scale = start, (end - start) / (high - self._low)
        decades = range(math.floor(self._low), math.ceil(high) + 1)
        ticks = [factor * 10.0**decade for decade in decades for factor in (1, 2, 5)]
        self.ticks = [tick for tick in ticks if self._low <= math.log10(tick) <= high]

    def __call__(self, value: float) -> float:
        return round(self._start + (math.log10(value) - self._low) * self._scale, 1)


def _panel(panel: Panel) -> list[str]:
    points = [point for series in panel.series.values() for point in series]
    x = _Axis([point[0] for point in points], _LEFT, _WIDTH - _RIGHT)
    y = _Axis([point[1] for point in points], _HEIGHT - _BOTTOM, _TOP)
    parts = [
        f'<text class="title" x="{_LEFT}" y="20">{escape(panel.title)}</text>',
        f'<text class="middle" x="{(_LEFT + _WIDTH - _RIGHT) // 2}" y="{_HEIGHT - 8}">'
        f"{escape(panel.across)}</text>",
        *_grid(x, y),
        _guide(points, x, y),
    ]
    for index, (name, series) in enumerate(panel.series.items()):
        parts += _series(name, series, index, x, y)
    return parts


def _grid(x: _Axis, y: _Axis) -> list[str]:
    across = [
        f'<line class="grid" x1="{x(tick)}" y1="{_TOP}" x2="{x(tick)}" y2="{_HEIGHT - _BOTTOM}"/>'
        f'<text class="middle" x="{x(tick)}" y="{_HEIGHT - _BOTTOM + 16}">{tick:g}</text>'
        for tick in x.ticks
    ]
    up = [
        f'<line class="grid" x1="{_LEFT}" y1="{y(tick)}" x2="{_WIDTH - _RIGHT}" y2="{y(tick)}"/>'
        f'<text class="end" x="{_LEFT - 6}" y="{y(tick) + 4}">{tick:g}</text>'
        for tick in y.ticks
    ]
    return [*across, *up]


def _guide(points: Sequence[Point], x: _Axis, y: _Axis) -> str:
    """From the leftmost point, as far as the diagram goes."""
    first = min(points)
    growth = min(max(p[0] for p in points) / first[0], max(p[1] for p in points) / first[1])
    return (
        f'<line class="guide" x1="{x(first[0])}" y1="{y(first[1])}" '
        f'x2="{x(first[0] * growth)}" y2="{y(first[1] * growth)}"/>'
    )


def _series(name: str, series: Sequence[Point], index: int, x: _Axis, y: _Axis) -> list[str]:
    colour = _COLOURS[index % len(_COLOURS)]
    legend = (
        f'<text x="{_LEFT + 10}" y="{_TOP + 14 + 16 * index}" style="fill:{colour}">'
        f"● {escape(name)}</text>"
    )
    dots = [
        f'<circle cx="{x(across)}" cy="{y(up)}" r="4" fill="{colour}">'
        f"<title>{escape(f'{label}, {name}: {up:.1f}')}</title></circle>"
        for across, up, label in series
    ]
    return [legend, *dots]
