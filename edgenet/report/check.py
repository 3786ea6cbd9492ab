"""What `edgenet check` prints: its document as a console table and as Markdown."""

from __future__ import annotations

from typing import Any

from edgenet.report import markdown as md
from edgenet.report.cells import number, percent
from edgenet.report.table import render

Document = dict[str, Any]

_BESIDE = "SQNR dB beside cpu"
_EMULATED = "p50 ms (emulated)"
_COLUMNS = {
    **dict.fromkeys(("format", "precision", "ran on"), "<"),
    **dict.fromkeys(("top-1", "top-5", "drop (points, 95 %)", "agreement", "SQNR dB"), ">"),
    **dict.fromkeys(("cosine", "max error", _BESIDE, "p50 ms", _EMULATED), ">"),
    "passed": "<",
}
_SHOWN = 5


def text(document: Document) -> str:
    """The console's report: a row for the reference, one a file, then each against each."""
    pairs = ", ".join(
        f"{' and '.join(pair['formats'])} {number(pair['agreement'], 4)}"
        for pair in document["cross_agreement"]
    )
    closing = f"\nagreement between formats: {pairs}" if pairs else ""
    return f"{title(document)}\n{render(*grid(document))}{closing}"


def markdown(document: Document) -> str:
    """The same as GitHub's Markdown, with what failed and the images worst hit."""
    verdict = "passed" if document["passed"] else "**failed**"
    parts = [f"## edgenet check: {verdict}", title(document)]
    parts += [md.bullets(lines) for lines in (failures(document),) if lines]
    parts.append(md.table(*grid(document)))
    parts += [_worst(result) for result in document["results"] if result["damage"]["changed"]]
    return "\n\n".join(parts) + "\n"


def title(document: Document) -> str:
    """What was compared on."""
    return f"{document['images']} images of {document['images_source']}"


def failures(document: Document) -> list[str]:
    """Each limit that was not kept, and each thing that was better in the baseline."""
    found = [
        f"{result['format']} {result['precision']}: {failure}"
        for result in document["results"]
        for failure in result["failures"]
    ]
    return found + [f"worse than the baseline: {line}" for line in document["regressions"]]


def grid(document: Document) -> tuple[list[str], list[list[str]], str]:
    """Titles, cells and alignment: a row for the reference and one a file.

    A column of devices that would be empty throughout is left out.
    """
    reference = document["reference"]
    first = dict.fromkeys(_COLUMNS, "–") | {
        "format": "reference",
        "precision": reference["precision"],
        "ran on": "cpu",
        "top-1": percent(reference["top1"]),
        "top-5": percent(reference["top5"]),
        "passed": "",
    }
    rows = [first, *(_row(result) for result in document["results"])]
    shown = [
        name
        for name in _COLUMNS
        if name not in (_BESIDE, _EMULATED) or any(row[name] != "–" for row in rows)
    ]
    cells = [[row[name] for name in shown] for row in rows]
    return shown, cells, "".join(_COLUMNS[name] for name in shown)


def answered(answer: Document) -> str:
    """A class and how probable it is."""
    return f"{answer['name']} ({percent(answer['probability'], 0)})"


def _row(result: Document) -> dict[str, str]:
    beside, emulated = result["beside_cpu"], result["emulated"] or {}
    return {
        "format": result["format"],
        "precision": result["precision"],
        "ran on": result["ran_on"],
        "top-1": percent(result["top1"]),
        "top-5": percent(result["top5"]),
        "drop (points, 95 %)": _drop(result),
        "agreement": number(result["agreement"], 4),
        "SQNR dB": _decibels(result),
        "cosine": number(result["cosine"], 5),
        "max error": f"{result['max_error']:.2g}",
        _BESIDE: _decibels(beside) if beside else "–",
        "p50 ms": number(result["p50_ms"]),
        _EMULATED: number(emulated.get("p50_ms")),
        "passed": "yes" if result["passed"] else "no",
    }


def _decibels(compared: Document) -> str:
    return "∞" if compared["sqnr_db"] is None else number(compared["sqnr_db"], 1)


def _drop(result: Document) -> str:
    if result["drop_points"] is None:
        return "–"
    low, high = result["drop_interval"]
    return f"{result['drop_points']:.2f} ({low:.2f}..{high:.2f})"


def _worst(result: Document) -> str:
    damage = result["damage"]
    lines = [
        f"{image['image']}: {answered(image['reference'])} became {answered(image['ours'])}"
        for image in damage["worst"][:_SHOWN]
    ]
    heading = (
        f"<details><summary>{result['format']}: {damage['changed']} answers changed, "
        "the worst of them</summary>"
    )
    return f"{heading}\n\n{md.bullets(lines)}\n\n</details>"
