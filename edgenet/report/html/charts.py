"""The pictures of a report: small SVG drawings whose text stays legible on a phone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

_WIDTH, _LEFT, _RIGHT = 440, 48, 14
_PLOT = _WIDTH - _LEFT - _RIGHT
_COLOURS = {"tflite": "#d9730d", "onnx": "#0969da", "openvino": "#8250df"}
# Without colours, as on much paper, dashes tell formats apart.
_DASHES = {"onnx": "6 3", "openvino": "2 2"}
_OTHER = "#57606a"
_GRID = "#e4e8ec"
_TICKS = 5
# Of a picture of distributions: half a page, so that a heading finds room above the first.
_ROWS = 8


@dataclass(frozen=True)
class Point:
    """One file on the frontier: its time (None: unknown), its accuracy (1 at most) and its size.

    `interval` is the 95 % interval of the time, where it was measured.
    """

    label: str
    format: str
    ms: float | None
    accuracy: float
    bytes: int
    interval: Sequence[float] | None = None

    @property
    def height(self) -> float:
        """Where it is drawn: at 0 what is below, as an R² has no lower end."""
        return max(0.0, self.accuracy)


def frontier(points: Sequence[Point], accuracy: str, share: bool = True) -> str:
    """Accuracy over time: a numbered disc for each file, sized as the file; a line joins the best.

    Args:
        points: The files, one at least with a time; one without is a line at its accuracy.
        accuracy: What the vertical axis shows.
        share: Whether that is a share, shown in per cent.
    """
    top, height = 34, 250
    bottom = top + height
    timed = [point for point in points if point.ms is not None]
    right = max(_ms(point) for point in timed) * 1.12
    low, high = _span([point.height for point in points])

    def place(point: Point) -> tuple[float, float]:
        return _x(_ms(point), right), _y(point.height, low, high, top, bottom)

    largest_first = sorted(enumerate(points, 1), key=lambda each: -each[1].bytes)
    parts = [
        _x_axis(0, right, top, bottom, "p50 ms"),
        _y_axis(low, high, top, bottom, accuracy, share),
        _best_line([place(point) for point in _undominated(timed)]),
        *(
            _level(number, point, place(point)[1])
            if point.ms is None
            else _disc(number, point, *place(point))
            for number, point in largest_first
        ),
    ]
    return _svg(bottom + 34, f"{accuracy} over p50", parts)


def distributions(results: Sequence[dict[str, Any]]) -> str:
    """The times of single runs, a row for each result: histogram, p50 with interval, p90, p99.

    Each picture has few rows, all the same axis: print breaks between pictures, never in one.
    """
    right = max(result["histogram"]["high_ms"] for result in results) * 1.04
    count = math.ceil(len(results) / _ROWS)
    # As many rows in each as there can be: 9 are 5 and 4 rather than 8 and 1.
    each = math.ceil(len(results) / count)
    return "\n".join(
        _rows(results[start : start + each], right) for start in range(0, len(results), each)
    )


def _rows(results: Sequence[dict[str, Any]], right: float) -> str:
    row, top = 58, 8
    bottom = top + row * len(results)
    parts = [_x_axis(0, right, top, bottom, "ms a run")]
    for index, result in enumerate(results):
        parts += _distribution(result, right, top + row * index, row)
    return _svg(bottom + 34, "distribution of latency", parts)


def over_time(results: Sequence[dict[str, Any]]) -> str:
    """The p50 of each round over the median of all rounds: a drift of the machine shows in all."""
    top, height = 10, 150
    bottom = top + height
    ratios = [_relative(result["rounds_p50_ms"]) for result in results]
    flat = [value for row in ratios for value in row]
    low, high = min(0.9, *flat), max(1.1, *flat)
    parts = [_y_axis(low, high, top, bottom, "of its median", share=False)]
    for result, row in zip(results, ratios, strict=True):
        parts.append(_polyline(row, low, high, top, bottom, result["format"]))
    parts.append(_text(_LEFT + _PLOT / 2, bottom + 18, "rounds", "soft", "middle"))
    return _svg(bottom + 28, "p50 over time", parts)


def legend(results: Sequence[dict[str, Any]]) -> str:
    """The colours and dashes of the formats that are there."""
    formats = dict.fromkeys(result["format"] for result in results)
    items = [
        f'<svg class="key" viewBox="0 0 26 8"><path d="M0 4h26" {_stroke(name)} '
        f'stroke-width="3"/></svg> {escape(name)}'
        for name in formats
    ]
    return f'<p class="soft">{" &nbsp; ".join(items)}</p>'


def _distribution(result: dict[str, Any], right: float, top: float, row: float) -> list[str]:
    colour, base = _colour(result["format"]), top + row - 8
    histogram = result["histogram"]
    counts = histogram["counts"]
    step = (histogram["high_ms"] - histogram["low_ms"]) / len(counts)
    scale = (row - 26) / max(counts)
    bars = [
        _rect(
            _x(histogram["low_ms"] + step * index, right),
            base - scale * count,
            max(0.8, step / right * _PLOT),
            scale * count,
            colour,
        )
        for index, count in enumerate(counts)
        if count
    ]
    label = f"{result['name']} · {result['format']} · {result['threads']} thr."
    label += "" if result["batch"] == 1 else f" · batch {result['batch']}"
    return [
        _text(_LEFT, top + 12, label),
        *bars,
        *_marks(result, right, base, row),
        f'<path d="M{_LEFT} {base:.1f}h{_PLOT}" stroke="{_GRID}"/>',
    ]


def _marks(result: dict[str, Any], right: float, base: float, row: float) -> list[str]:
    found = []
    for key, dash in (("p50_ms", ""), ("p90_ms", "3 2"), ("p99_ms", "1 2")):
        value = result[key]
        if value is not None and value <= right:
            x = _x(value, right)
            found.append(
                f'<path d="M{x:.1f} {base:.1f}v-{row - 24:.1f}" stroke="#1b1f24" '
                f'stroke-dasharray="{dash}"/>'
            )
    bounds = result["intervals"]["p50_ms"]
    if bounds:
        low, high = (_x(min(value, right), right) for value in bounds)
        found.append(_rect(low, base, max(1.0, high - low), 4, "#1b1f24"))
    return found


def _best_line(places: Sequence[tuple[float, float]]) -> str:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in sorted(places))
    return f'<polyline points="{path}" fill="none" stroke="#1a7f37" stroke-dasharray="4 3"/>'


def _undominated(points: Sequence[Point]) -> list[Point]:
    """Those that no other beats in both time and accuracy."""
    return [
        point
        for point in points
        if not any(
            _ms(other) <= _ms(point)
            and other.accuracy >= point.accuracy
            and (other.ms, other.accuracy) != (point.ms, point.accuracy)
            for other in points
        )
    ]


def _ms(point: Point) -> float:
    return point.ms or 0.0


def _level(number: int, point: Point, y: float) -> str:
    """A line at the accuracy of a file without a time."""
    return (
        f'<path d="M{_LEFT} {y:.1f}h{_PLOT}" stroke="{_colour(point.format)}">'
        f"<title>{escape(point.label)}</title></path>"
        + _text(_LEFT + _PLOT, y - 4, str(number), "", "end")
    )


def _disc(number: int, point: Point, x: float, y: float) -> str:
    # 20 MB, a float EfficientNet-B0, has a radius of 16: areas are proportional to bytes.
    radius = max(6.0, 16 * math.sqrt(point.bytes / 20e6))
    colour = _colour(point.format)
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".28" '
        f'stroke="{colour}"><title>{escape(point.label)}</title></circle>'
        + _text(x, y + 4, str(number), "", "middle")
    )


def _span(shares: Sequence[float]) -> tuple[float, float]:
    """The ends of a vertical axis of shares: whole per cents with room around the values."""
    lowest, highest = min(shares), max(shares)
    room = max(0.005, 0.25 * (highest - lowest))
    low = max(0.0, math.floor((lowest - room) * 100) / 100)
    return low, min(1.0, math.ceil((highest + room) * 100) / 100)


def _relative(medians: Sequence[float]) -> list[float]:
    middle = sorted(medians)[len(medians) // 2]
    return [value / middle for value in medians]


def _polyline(
    values: Sequence[float], low: float, high: float, top: float, bottom: float, format: str
) -> str:
    step = _PLOT / max(1, len(values) - 1)
    path = " ".join(
        f"{_LEFT + step * index:.1f},{_y(value, low, high, top, bottom):.1f}"
        for index, value in enumerate(values)
    )
    return f'<polyline points="{path}" fill="none" {_stroke(format)} stroke-opacity=".8"/>'


def _x_axis(low: float, high: float, top: float, bottom: float, title: str) -> str:
    parts = []
    for tick in ticks(low, high):
        x = _x(tick, high)
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="{_GRID}"/>')
        parts.append(_text(x, bottom + 14, f"{tick:g}", "soft", "middle"))
    parts.append(_text(_LEFT + _PLOT, bottom + 29, title, "soft", "end"))
    return "".join(parts)


def _y_axis(
    low: float, high: float, top: float, bottom: float, title: str, share: bool = True
) -> str:
    parts = []
    for tick in ticks(low, high):
        y = _y(tick, low, high, top, bottom)
        label = f"{100 * tick:g} %" if share else f"{tick:g}"
        parts.append(f'<path d="M{_LEFT} {y:.1f}h{_PLOT}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 5, y + 4, label, "soft", "end"))
    parts.append(_text(_LEFT + 2, 12, title, "soft"))
    return "".join(parts)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers from `low` to `high`: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / _TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(index * step, 10) for index in range(first, last + 1)]


def _x(value: float, right: float) -> float:
    return _LEFT + value / right * _PLOT


def _y(value: float, low: float, high: float, top: float, bottom: float) -> float:
    return bottom - (value - low) / (high - low) * (bottom - top)


def _colour(format: str) -> str:
    return _COLOURS.get(format, _OTHER)


def _stroke(format: str) -> str:
    return f'stroke="{_colour(format)}" stroke-dasharray="{_DASHES.get(format, "none")}"'


def _rect(x: float, y: float, width: float, height: float, fill: str) -> str:
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{fill}"/>'
    )


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(text)}</text>'
    )


def _svg(height: float, label: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}</svg>"
    )
