"""The page that reports share: its style, and the pieces that it is put together from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

_STYLE = """
:root{--ink:#1b1f24;--soft:#57606a;--line:#d0d7de;--panel:#f6f8fa;--good:#1a7f37;--bad:#b42318;
--bar:#9ec5f4}
*{box-sizing:border-box}
body{font:15px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);
background:#fff;margin:0 auto;padding:20px 16px 48px;max-width:1080px}
h1{font-size:24px;margin:0 0 2px}
h2{font-size:18px;margin:34px 0 8px;padding-top:12px;border-top:1px solid var(--line)}
h3{font-size:15px;margin:22px 0 6px}
p{margin:6px 0 10px}
.soft{color:var(--soft);font-size:13px}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:10px;margin:14px 0}
.card{border:1px solid var(--line);border-radius:8px;padding:10px 12px;background:var(--panel)}
.card b{display:block;font-size:21px;font-variant-numeric:tabular-nums;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}
.wide{overflow-x:auto;margin:8px 0;background:linear-gradient(-90deg,#fff 50%,#fff0) 100% 0/48px
100% no-repeat local,linear-gradient(-90deg,#1b1f2433,#1b1f2400) 100% 0/14px 100% no-repeat}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
th,td{padding:4px 10px 4px 0;text-align:left;border-bottom:1px solid var(--line);
white-space:nowrap;vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:normal;text-wrap:balance;vertical-align:bottom}
.right{text-align:right}
.bar{position:relative;min-width:84px}
.bar i{position:absolute;left:0;top:4px;bottom:4px;background:var(--bar);border-radius:2px}
.bar span{position:relative;padding-left:4px}
.notes{border-left:4px solid #bf8700;background:#fff8e5;padding:8px 14px;margin:12px 0;
border-radius:0 6px 6px 0}
ul{margin:4px 0;padding-left:20px}
svg{width:100%;max-width:600px;height:auto;display:block;margin:6px 0}
svg text{font:12px system-ui,sans-serif;fill:#1b1f24}
svg .soft{fill:#57606a;font-size:11px}
.photos{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:12px}
figure{margin:0;border:1px solid var(--line);border-radius:8px;overflow:hidden;break-inside:avoid}
figure img{display:block;width:100%;aspect-ratio:1;object-fit:cover}
figcaption{padding:6px 8px;font-size:12px;line-height:1.35;overflow-wrap:anywhere}
figcaption .soft{font-size:inherit}
details{margin:8px 0}summary{cursor:pointer;color:#0969da}
pre{background:var(--panel);padding:10px;overflow-x:auto;font-size:12px;border-radius:6px}
.matrix td,.matrix th{text-align:center;vertical-align:middle;padding:6px 10px;
border:2px solid #fff}
.matrix th:first-child{text-align:left;padding-left:0}
.facts td:last-child{white-space:normal;overflow-wrap:anywhere}
svg.key{display:inline;width:26px;height:8px;margin:0}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
@media screen and (max-width:700px){th:first-child,td:first-child{position:sticky;left:0;z-index:1;
background:#fff}}
@page{margin:14mm}
@media print{body{max-width:none;padding:0;font-size:11px}.soft,figcaption{font-size:10px}
h1{font-size:20px}h2{font-size:15px;margin-top:20px}h3{font-size:12px;margin-top:14px}
.card b{font-size:16px}.wide{overflow:visible;background:none}
table{font-size:10px;break-inside:avoid}table.long{break-inside:auto}
th,td{padding:2px 8px 2px 0}th,td:not(.right){white-space:normal}
svg{max-width:480px}.photos{grid-template-columns:repeat(6,1fr);gap:8px}
h2,h3{break-after:avoid}svg,.card,.notes,tr{break-inside:avoid}details{display:none}}
"""


def page(title: str, lead: str, *sections: str) -> str:
    """A whole page; `title` and `lead` are text, the sections HTML."""
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body>"
        f'<h1>{escape(title)}</h1><p class="soft">{escape(lead)}</p>\n{body}\n</body></html>\n'
    )


def section(heading: str, *parts: str) -> str:
    """A heading with HTML under it; nothing, where there is nothing to show."""
    inner = "\n".join(part for part in parts if part)
    return f"<section><h2>{escape(heading)}</h2>\n{inner}</section>" if inner else ""


def cards(entries: Sequence[tuple[str, str, str]]) -> str:
    """Figures that stand out: what it is, the figure, and "good", "bad" or ""."""
    items = [
        f'<div class="card"><span class="soft">{escape(what)}</span>'
        f'<b class="{tone}">{escape(figure)}</b></div>'
        for what, figure, tone in entries
    ]
    return f'<div class="cards">{"".join(items)}</div>'


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], align: str) -> str:
    """A table of text that scrolls by itself where it is too wide; "<" and ">" align a column."""
    sides = ["right" if side == ">" else "" for side in align]
    head = "".join(_cell("th", *pair) for pair in zip(headers, sides, strict=True))
    body = "".join(
        f"<tr>{''.join(_cell('td', *pair) for pair in zip(row, sides, strict=True))}</tr>"
        for row in rows
    )
    return framed(head, body)


def framed(head: str, body: str, kind: str = "") -> str:
    """A table with a header row, which print repeats at the top of each page.

    Args:
        head: The cells of the header.
        body: The rows.
        kind: "long" may be broken between pages, "matrix" is centred; "" is neither.
    """
    return (
        f'<div class="wide"><table class="{kind}"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def facts(rows: Sequence[Sequence[str]]) -> str:
    """A table of two columns: name and value."""
    body = "".join(
        f"<tr>{_cell('td', name, '')}{_cell('td', fact, '')}</tr>" for name, fact in rows
    )
    return f'<table class="facts"><tbody>{body}</tbody></table>'


def notes(lines: Sequence[str]) -> str:
    """A box of warnings; nothing, where there are none."""
    return f'<div class="notes">{bullets(lines)}</div>' if lines else ""


def bullets(lines: Sequence[str]) -> str:
    """A list of text."""
    return f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in lines)}</ul>"


def paragraph(text: str) -> str:
    """A paragraph in small print."""
    return f'<p class="soft">{escape(text)}</p>'


def folded(summary: str, value: Mapping[str, Any] | Sequence[Any]) -> str:
    """JSON that unfolds on a click."""
    text = escape(json.dumps(value, indent=1))
    return f"<details><summary>{escape(summary)}</summary><pre>{text}</pre></details>"


def machine(found: Mapping[str, Any]) -> str:
    """The machine that was measured on, as a table."""
    engines = ", ".join(f"{name} {version}" for name, version in found["engines"].items())
    rows = [
        ["processor", found["cpu"]],
        ["cores", str(found["cores"])],
        ["instructions", " ".join(found["isa"]) or "unknown"],
        ["system", found["os"]],
        ["Python, numpy", f"{found['python']}, {found['numpy']}"],
        ["engines", engines],
    ]
    return facts(rows)


def recipe(name: str, found: Mapping[str, Any]) -> str:
    """How a bundle was made."""
    source = ", ".join(f"{key}: {_plain(value)}" for key, value in found["source"].items())
    rows = [
        ["model", source],
        ["precision", found["precision"]],
        ["input", f"{'×'.join(map(str, found['input_shape']))} {found['input_dtype']}"],
        ["calibration", _calibration(found["calibration"] or {})],
    ]
    parts = [f"<h3>{escape(name)}</h3>", facts(rows)]
    if found["recipe"]:
        parts.append(folded("recipe", found["recipe"]))
    return "".join([*parts, folded("tools", found["versions"])])


def _calibration(found: Mapping[str, Any]) -> str:
    if "images" not in found:
        return "none"
    told = f"{found['images']} images ({found.get('source', 'unknown')})"
    if "outliers" in found:
        told += f"; {found['outliers']} left out: of one colour, or the network explodes on them"
    return told


def _plain(value: Any) -> str:
    """A value, or the values of a mapping, without the signs of a programming language."""
    return " ".join(map(_plain, value.values())) if isinstance(value, Mapping) else str(value)


def _cell(tag: str, text: str, side: str) -> str:
    kind = f' class="{side}"' if side else ""
    return f"<{tag}{kind}>{escape(text)}</{tag}>"
