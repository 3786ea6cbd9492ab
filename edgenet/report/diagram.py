"""A model's stages drawn from top to bottom, as one SVG file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_WIDTH, _ROW, _GAP, _MARGIN, _HEADER = 560, 44, 18, 24, 40
_BAR = 120
_PALETTE = {"conv": "#dbe7f6", "block": "#dff0e0", "other": "#eeeeee"}

_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1b1f24}"
    ".title{font-size:16px;font-weight:600}"
    ".detail{fill:#57606a;font-size:12px}"
    ".shape{text-anchor:end;font-variant-numeric:tabular-nums}"
    "rect{stroke:#8c959f;stroke-width:1}"
    ".bar{stroke:none;fill:#0969da}"
    "line{stroke:#57606a;stroke-width:1.2;marker-end:url(#arrow)}"
)
_ARROW = (
    '<marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" '
    'orient="auto"><path d="M0 0 8 4 0 8z" fill="#57606a"/></marker>'
)


@dataclass(frozen=True)
class Box:
    """One stage of a diagram.

    Attributes:
        title: What it is, as `MBConv6 3×3 ×2`.
        detail: A second, smaller line.
        shape: What comes out, as `56×56×24`.
        kind: `conv`, `block` or `other`: its colour.
        share: Part of the model's cost, 0 to 1, drawn as a bar.
    """

    title: str
    detail: str
    shape: str
    kind: str
    share: float


def draw(title: str, boxes: Sequence[Box]) -> str:
    """Draws boxes joined by arrows, each with a bar for its share of the cost.

    Returns:
        A whole SVG document, equal for equal input.
    """
    height = _HEADER + _MARGIN + len(boxes) * (_ROW + _GAP)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{escape(title)}">',
        f"<style>{_STYLE}</style><defs>{_ARROW}</defs>",
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff" style="stroke:none"/>',
        f'<text class="title" x="{_MARGIN}" y="{_MARGIN + 4}">{escape(title)}</text>',
    ]
    for index, box in enumerate(boxes):
        top = _HEADER + index * (_ROW + _GAP)
        parts += _box(box, top)
        if index + 1 < len(boxes):
            parts.append(_arrow(top + _ROW))
    return "\n".join([*parts, "</svg>", ""])


def _box(box: Box, top: int) -> list[str]:
    left, width = _MARGIN, _WIDTH - 2 * _MARGIN
    right = left + width - 12
    bar = round(_BAR * box.share, 1)
    fill = _PALETTE[box.kind]
    return [
        f'<rect x="{left}" y="{top}" width="{width}" height="{_ROW}" rx="6" fill="{fill}"/>',
        f'<text x="{left + 12}" y="{top + 19}">{escape(box.title)}</text>',
        f'<text class="detail" x="{left + 12}" y="{top + 36}">{escape(box.detail)}</text>',
        f'<text class="shape" x="{right}" y="{top + 19}">{escape(box.shape)}</text>',
        f'<rect class="bar" x="{right - bar:g}" y="{top + 28}" width="{bar:g}" height="6"/>',
    ]


def _arrow(top: int) -> str:
    middle = _WIDTH // 2
    return f'<line x1="{middle}" y1="{top}" x2="{middle}" y2="{top + _GAP}"/>'
