"""What `edgenet check` prints: its document as a console table and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgenet.bundle import REGRESSION
from edgenet.report import markdown as md
from edgenet.report.cells import counted, drop, error, growth, number, percent
from edgenet.report.table import Grid, render

Document = dict[str, Any]

_OF_CLASSES = ("top-1", "top-5", "drop (points, 95 %)", "agreement", "cosine")
_OF_VALUES = ("MAE", "MAE growth (95 %)", "R²", "mean error")
# The columns that are of one value alone, where a regression has several.
_OF_ONE = ("MAE", "MAE growth (95 %)", "mean error")
_BESIDE = "SQNR dB beside cpu"
_EMULATED = "p50 ms (emulated)"
_COLUMNS = {
    **dict.fromkeys(("format", "precision", "ran on"), "<"),
    **dict.fromkeys(("top-1", "top-5", "drop (points, 95 %)", "agreement", "SQNR dB"), ">"),
    **dict.fromkeys(("cosine", *_OF_VALUES, "max error", _BESIDE, "p50 ms", _EMULATED), ">"),
    "passed": "<",
}
_SHOWN = 5

BASELINE = "against the baseline"


def _sqnr(value: float | None) -> str:
    return "∞" if value is None else number(value, 1)


def _points(difference: float) -> str:
    return f"{100 * difference:+.2f}"


# By measure: its name, how it is written, and how a difference is.
_FIGURES: dict[str, tuple[str, Callable[[float | None], str], Callable[[float], str]]] = {
    "top1": ("top-1 %", lambda share: number(share and 100 * share), _points),
    "agreement": ("agreement %", lambda share: number(share and 100 * share), _points),
    "sqnr_db": ("SQNR dB", _sqnr, lambda difference: f"{difference:+.1f}"),
    "r2": ("R²", lambda value: number(value, 4), lambda difference: f"{difference:+.4f}"),
}
_VERDICTS = {"kept": "kept", "worse": "worse", "unsure": "perhaps worse"}


def text(document: Document) -> str:
    """The console's report: a row for the reference and one for each file, then how files agree.

    Where something makes the rows mean nothing, a line below them says so.
    """
    pairs = ", ".join(
        f"{' and '.join(pair['formats'])} {number(pair['agreement'], 4)}"
        for pair in document["cross_agreement"]
    )
    doubt = f"\n! {document['doubt']}" if document["doubt"] else ""
    closing = f"\nagreement between formats: {pairs}" if pairs else ""
    table = f"{title(document)}\n{render(*grid(document))}{doubt}{closing}"
    if document["baseline"] is None:
        return table
    return f"{table}\n\n{BASELINE}\n{render(*changes(document))}"


def markdown(document: Document) -> str:
    """The same as GitHub's Markdown, with `notes`, the baseline's rule and the worst images."""
    verdict = "passed" if document["passed"] else "**failed**"
    parts = [f"## edgenet check: {verdict}", md.escaped(title(document))]
    parts += [md.bullets(lines) for lines in (notes(document),) if lines]
    parts.append(md.table(*grid(document)))
    if document["baseline"] is not None:
        rule = md.escaped(document["baseline"]["rule"])
        parts += [f"### {BASELINE}", md.table(*changes(document)), rule]
    parts += [_worst(result) for result in document["results"] if result["damage"]["changed"]]
    return "\n\n".join(parts) + "\n"


def title(document: Document) -> str:
    """How many images were compared, and where they are from."""
    return f"{counted(document['images'], 'image')} of {document['images_source']}"


def notes(document: Document) -> list[str]:
    """What makes the verdict doubtful, each limit not kept, and each loss since the baseline."""
    found = [
        f"{result['format']} {result['precision']}: {failure}"
        for result in document["results"]
        for failure in result["failures"]
    ]
    worse = [f"worse than the baseline: {line}" for line in document["regressions"]]
    return [document["doubt"]] * (document["doubt"] is not None) + found + worse


def grid(document: Document) -> Grid:
    """A row for the reference and one for each file.

    A column of devices, or of a task, that would be empty throughout is left out.
    """
    reference = document["reference"]
    first = dict.fromkeys(_COLUMNS, "–") | {
        "format": "reference",
        "precision": reference["precision"],
        "ran on": f"{reference['device_used']} ({reference['engine']})",
        "top-1": percent(reference["top1"]),
        "top-5": percent(reference["top5"]),
        "MAE": error(reference["mae"]),
        "p50 ms": number(reference["p50_ms"]),
        "passed": "",
    }
    rows = [first, *(_row(result) for result in document["results"])]
    needless = {_BESIDE, _EMULATED, *_OF_VALUES}
    if document["task"] == REGRESSION:
        needless.update(_OF_CLASSES)
    shown = [
        name for name in _COLUMNS if name not in needless or any(row[name] != "–" for row in rows)
    ]
    cells = [[row[name] for name in shown] for row in rows]
    titles = [of_value(document, name) if name in _OF_ONE else name for name in shown]
    return Grid(titles, cells, "".join(_COLUMNS[name] for name in shown))


def of_value(document: Document, name: str) -> str:
    """An error's name, with that of the value that it is of, where there are several."""
    value = document["worst_value"]
    return name if value is None else f"{name} of {value}"


def changes(document: Document) -> Grid:
    """A row for each figure that the baseline has, too."""
    headers = ["file", "figure", "then", "now", "change (95 %)", "lost", "gained", "p", "verdict"]
    rows = [_change(change) for change in document["baseline"]["changes"]]
    return Grid(headers, rows, "<<>>>>>><")


def missed(result: Document, figure: str) -> bool:
    """Whether a file missed the limit of a figure, named as its failures name it ("agreement")."""
    # A failure begins with the figure; one beside the CPU is of another comparison.
    return any(failure.startswith(f"the {figure} is ") for failure in result["failures"])


def changed(image: Document) -> bool:
    """Whether the file's answer to one of the images worst hit differs from the reference's."""
    return bool(image["reference"]["index"] != image["ours"]["index"])


def worsened(image: Document) -> bool:
    """Whether the file's answer differs from the reference's and is not what the label says."""
    return changed(image) and image["ours"]["name"] != image["label"]


def answered(answer: Document) -> str:
    """A class and how probable it is; the name alone where there was no answer."""
    if answer["probability"] is None:
        return str(answer["name"])
    return f"{answer['name']} ({percent(answer['probability'], 0)})"


def _row(result: Document) -> dict[str, str]:
    beside, emulated = result["beside_cpu"], result["emulated"] or {}
    return {
        "format": result["format"],
        "precision": result["precision"],
        "ran on": result["ran_on"],
        "top-1": percent(result["top1"]),
        "top-5": percent(result["top5"]),
        "drop (points, 95 %)": drop(result["drop_points"], result["drop_interval"]),
        "agreement": number(result["agreement"], 4),
        "SQNR dB": _sqnr(result["sqnr_db"]),
        "cosine": number(result["cosine"], 5),
        "R²": number(result["r2"], 4),
        "mean error": error(result["mean_error"]),
        "MAE": error(result["mae"]),
        "MAE growth (95 %)": growth(result["mae_growth"], result["mae_growth_interval"]),
        "max error": f"{result['max_error']:.2g}",
        _BESIDE: _sqnr(beside["sqnr_db"]) if beside else "–",
        "p50 ms": number(result["p50_ms"]),
        _EMULATED: number(emulated.get("p50_ms")),
        "passed": "yes" if result["passed"] else "no",
    }


def _change(change: Document) -> list[str]:
    name, figure, unit = _FIGURES[change["measure"]]
    then, now, interval = change["before"], change["after"], change["interval"]
    known = None not in (then, now)
    between = f" ({' .. '.join(unit(bound) for bound in interval)})" if interval else ""
    precision = " -> ".join(dict.fromkeys((change["precision_before"], change["precision"])))
    return [
        " ".join((change["format"], precision, change["device_used"])),
        name,
        figure(then),
        figure(now),
        (unit(now - then) if known else "–") + between,
        *("–" if change[key] is None else str(change[key]) for key in ("lost", "gained")),
        "–" if change["p"] is None else f"{change['p']:.2g}",
        _VERDICTS[change["verdict"]],
    ]


def _worst(result: Document) -> str:
    damage = result["damage"]
    # Those that changed come first; the rest kept their answer, however near they came.
    shown = [image for image in damage["worst"] if changed(image)][:_SHOWN]
    lines = [
        f"{image['image']}: {answered(image['reference'])} became {answered(image['ours'])}"
        for image in shown
    ]
    total = counted(damage["changed"], "answer")
    some = f", the {len(shown)} worst of them" if len(shown) < damage["changed"] else ""
    heading = f"<details><summary>{result['format']}: {total} changed{some}</summary>"
    return f"{heading}\n\n{md.bullets(lines)}\n\n</details>"
