"""What `edgenet check` prints: its document as a console table and as Markdown."""

from __future__ import annotations

from typing import Any

from edgenet.report import markdown as md
from edgenet.report.cells import number, percent
from edgenet.report.table import render

Document = dict[str, Any]

HEADERS = [
    *("format", "precision", "ran on", "top-1", "top-5", "drop (points, 95 %)", "agreement"),
    *("SQNR dB", "cosine", "max error", "p50 ms", "passed"),
]
ALIGN = "<<<>>>>>>>><"
_SHOWN = 5


def text(document: Document) -> str:
    """The console's report: a row for the reference, one a file, then each against each."""
    pairs = ", ".join(
        f"{' and '.join(pair['formats'])} {number(pair['agreement'], 4)}"
        for pair in document["cross_agreement"]
    )
    closing = f"\nagreement between formats: {pairs}" if pairs else ""
    return f"{title(document)}\n{render(HEADERS, rows(document), ALIGN)}{closing}"


def markdown(document: Document) -> str:
    """The same as GitHub's Markdown, with what failed and the images worst hit."""
    verdict = "passed" if document["passed"] else "**failed**"
    parts = [f"## edgenet check: {verdict}", title(document)]
    parts += [md.bullets(lines) for lines in (failures(document),) if lines]
    parts.append(md.table(HEADERS, rows(document), ALIGN))
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


def rows(document: Document) -> list[list[str]]:
    """The cells of the reference and of each file; `HEADERS` are their titles."""
    reference = document["reference"]
    first = ["reference", reference["precision"], "cpu", percent(reference["top1"])]
    first += [percent(reference["top5"]), *["–"] * 6, ""]
    return [first, *(_row(result) for result in document["results"])]


def answered(answer: Document) -> str:
    """A class and how probable it is."""
    return f"{answer['name']} ({percent(answer['probability'], 0)})"


def _row(result: Document) -> list[str]:
    return [
        result["format"],
        result["precision"],
        f"{result['device_used']} ({result['engine']})",
        percent(result["top1"]),
        percent(result["top5"]),
        _drop(result),
        number(result["agreement"], 4),
        "∞" if result["sqnr_db"] is None else number(result["sqnr_db"], 1),
        number(result["cosine"], 5),
        f"{result['max_error']:.2g}",
        number(result["p50_ms"]),
        "yes" if result["passed"] else "no",
    ]


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
