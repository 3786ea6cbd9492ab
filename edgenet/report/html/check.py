"""`check --html`: the document of `check --json` as a page, with the images worst hit."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import replace
from html import escape
from typing import TYPE_CHECKING, Any

from edgenet.bundle import REGRESSION
from edgenet.report import check
from edgenet.report.cells import counted, error, number, percent, with_interval
from edgenet.report.html import charts
from edgenet.report.html.frontier import frontier
from edgenet.report.html.page import (
    cards,
    framed,
    machine,
    notes,
    paragraph,
    recipe,
    section,
    table,
)
from edgenet.report.html.page import (
    page as whole_page,
)

if TYPE_CHECKING:
    from edgenet.images import Pixels

Document = dict[str, Any]

_SIDE = 176
_QUALITY = 80
_CLASSES = 12


def page(document: Document, pixels: Callable[[int], Pixels]) -> str:
    """One self-contained page, the summary first.

    Args:
        document: Of `check --json`.
        pixels: Gives an image by its number.
    """
    results = document["results"]
    return whole_page(
        f"Parity of {document['recipe']['name']}",
        f"edgenet check on {check.title(document)}",
        _summary(document),
        section("Accuracy, latency, size", _frontier(document)),
        section("All results", table(*check.grid(document))),
        section("Against the baseline", _baseline(document)),
        section("Each against each", _matrix(document)),
        section("Images worst hit", *(_worst(result, pixels) for result in results)),
        section("Classes", *(_classes(result) for result in results)),
        section("How it was made", recipe(document["bundle"], document["recipe"])),
        section("Machine", machine(document["machine"])),
    )


def _summary(document: Document) -> str:
    reference = document["reference"]
    entries = [("the gate", *_verdict(document))]
    if reference["top1"] is not None:
        entries.append(("reference top-1", percent(reference["top1"]), ""))
    if reference["mae"] is not None:
        told = check.of_value(document, "reference MAE")
        entries.append((told, error(reference["mae"]), ""))
    for result in document["results"]:
        entries += _figures(result, check.of_value(document, "MAE growth"))
    return cards(entries) + notes(check.notes(document))


def _verdict(document: Document) -> tuple[str, str]:
    """In words, and its tone: what passes in doubt is not green."""
    if not document["passed"]:
        return "failed", "bad"
    return ("passed, in doubt", "") if document["doubt"] else ("passed", "good")


def _figures(result: Document, growth: str) -> list[tuple[str, str, str]]:
    """A file's figures, each green or red by its own limit.

    `growth` is what that of the mean absolute error is called.
    """
    figure, near = _nearness(result)
    missed = check.missed(result, figure)
    # A figure that just misses its limit must not be rounded to the limit.
    told = percent(near, 2 if missed else 1) if figure == "agreement" else number(near, 4)
    found = [(f"{result['format']}: {figure}", told, _tone(missed))]
    if result["drop_points"] is not None:
        missed = check.missed(result, "top-1 drop")
        drop = with_interval(result["drop_points"], result["drop_interval"], 2 if missed else 1)
        found.append((f"{result['format']}: drop, points", drop, _tone(missed)))
    if result["mae_growth"] is not None:
        grown = with_interval(result["mae_growth"], result["mae_growth_interval"])
        found.append((f"{result['format']}: {growth}", grown, ""))
    return found


def _nearness(result: Document) -> tuple[str, float | None]:
    """What tells how near a file's answers are to the reference's, as failures name it."""
    if result["agreement"] is None:
        return "R²", result["r2"]
    return "agreement", result["agreement"]


def _tone(missed: bool) -> str:
    return "bad" if missed else "good"


def _frontier(document: Document) -> str:
    results = [result for result in document["results"] if result["p50_ms"] is not None]
    if not results:
        return ""
    labelled = document["labels"] is not None
    name = "top-1" if labelled else _nearness(results[0])[0]
    figures = [result["top1"] if labelled else _nearness(result)[1] for result in results]
    points = [
        _point(result, result["precision"], figure)
        for result, figure in zip(results, figures, strict=True)
        if figure is not None
    ]
    reference = document["reference"]
    first = _point(reference, "reference", reference["top1"] if labelled else 1.0)
    alike = all(result["device_used"] == reference["device_used"] for result in results)
    return frontier(
        [first if alike else replace(first, ms=None), *points],
        name,
        "Times are rough, one run for each image; edgenet bench measures them properly."
        + ("" if alike else " The reference ran on another device: a line without a time.")
        + (" What is below 0 is drawn at 0." if any(p.accuracy < 0 for p in points) else ""),
        share=document["task"] != REGRESSION,
    )


def _point(found: Document, name: str, accuracy: float) -> charts.Point:
    label = f"{found['format']} {name}"
    return charts.Point(label, found["format"], found["p50_ms"], accuracy, found["bytes"])


def _baseline(document: Document) -> str:
    if document["baseline"] is None:
        return ""
    return table(*check.changes(document)) + paragraph(document["baseline"]["rule"])


def _matrix(document: Document) -> str:
    """Agreement of every two, the reference among them; the redder, the less.

    Empty of a regression, whose files have no classes to agree on.
    """
    if document["task"] == REGRESSION:
        return ""
    names = ["reference", *(result["format"] for result in document["results"])]
    shares = {("reference", r["format"]): r["agreement"] for r in document["results"]}
    shares |= {tuple(p["formats"]): p["agreement"] for p in document["cross_agreement"]}
    head = "<th></th>" + "".join(f"<th>{escape(name)}</th>" for name in names)
    rows = "".join(
        f"<tr><th>{escape(a)}</th>"
        + "".join(_share(1.0 if a == b else shares.get((a, b), shares.get((b, a)))) for b in names)
        + "</tr>"
        for a in names
    )
    return framed(head, rows, "matrix") + paragraph(
        "The share of images on which two have the same top-1 class."
    )


def _share(share: float | None) -> str:
    if share is None:
        return "<td></td>"
    # From white at 1 to a clear red at 0.9 and below.
    lightness = 100 - 45 * min(1.0, (1 - share) / 0.1)
    return f'<td style="background:hsl(8 80% {lightness:.0f}%)">{percent(share)}</td>'


def _worst(result: Document, pixels: Callable[[int], Pixels]) -> str:
    damage = result["damage"]
    figures = "".join(_figure(image, pixels(image["number"])) for image in damage["worst"])
    title = f"{result['format']} {result['precision']}: {_harm(result)}"
    return f'<h3>{escape(title)}</h3><div class="photos">{figures}</div>'


def _harm(result: Document) -> str:
    if result["answers"] is None:
        return "the largest errors"
    return f"{counted(result['damage']['changed'], 'answer')} changed"


def _figure(image: Document, pixels: Pixels) -> str:
    label = f"<br>label: {escape(image['label'])}" if image["label"] is not None else ""
    tone = _tone(check.worsened(image))
    return (
        f'<figure><img alt="{escape(image["image"])}" src="{_data_uri(pixels)}"><figcaption>'
        f"float: {escape(check.answered(image['reference']))}<br>"
        f'<span class="{tone}">ours: {escape(check.answered(image["ours"]))}</span>{label}<br>'
        f'<span class="soft">{escape(image["image"])}</span></figcaption></figure>'
    )


def _data_uri(pixels: Pixels) -> str:
    from PIL import Image

    photo = Image.fromarray(pixels)
    photo.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _classes(result: Document) -> str:
    rows = [
        [
            found["name"],
            str(found["images"]),
            str(found["lost"]),
            str(found["gained"]),
            f"{found['gained'] - found['lost']:+d}",
        ]
        for found in result["damage"]["classes"][:_CLASSES]
    ]
    if not rows:
        return ""
    headers = ["class", "images", "lost", "gained", "net"]
    return f"<h3>{escape(result['format'])}</h3>" + table(headers, rows, "<>>>>")
