"""`bench --html`: the document of `bench --json` as a page."""

from __future__ import annotations

from html import escape
from typing import Any

from edgenet.report import bench
from edgenet.report.cells import number, percent, with_interval
from edgenet.report.html import charts
from edgenet.report.html.frontier import frontier
from edgenet.report.html.page import (
    bullets,
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

Document = dict[str, Any]

_SLOWEST = 25


def page(document: Document) -> str:
    """One self-contained page, the summary first."""
    results = bench.on_hardware(document)
    names = list(dict.fromkeys(result["name"] for result in document["results"]))
    found, emulated = document["machine"], bench.emulated_grid(document)
    timed = bench.end_to_end(document)
    return whole_page(
        f"Latency of {', '.join(names)}",
        f"edgenet bench on {found['cpu']}, {found['cores']} cores",
        _summary(document, results),
        *(_timed_sections(document, results) if results else ()),
        section("Not on hardware", paragraph(f"Computed {bench.EMULATED}."), table(*emulated))
        if emulated.rows
        else "",
        section("Where the time goes", *map(_profile, bench.profiled(document))),
        section("From photo to label", table(*bench.end_to_end_grid(timed)) if timed else ""),
        section(
            "How it was made",
            *(recipe(path, made) for path, made in document["bundles"].items()),
        ),
        section("Machine", machine(found), _peaks(document)),
    )


def _timed_sections(document: Document, results: list[Document]) -> tuple[str, ...]:
    swept = bench.batches_grid(document)
    return (
        section("Accuracy, latency, size", _frontier(_smallest_batches(results))),
        section("All results", table(*bench.hardware_grid(document))),
        section("Batches", table(*swept)) if swept.rows else "",
        section("Distribution", *_distribution(results)),
    )


def _summary(document: Document, results: list[Document]) -> str:
    warnings = [line.removeprefix("! ") for line in bench.notes(document)]
    lines = bench.comparisons(document) + bench.streams(document)
    told = (bullets(lines) if lines else "") + notes(warnings)
    return (cards(_highlights(results)) if results else "") + told


def _highlights(results: list[Document]) -> list[tuple[str, str, str]]:
    fastest = min(results, key=lambda result: result["p50_ms"])
    smallest = min(results, key=lambda result: result["bytes"])
    weighed = [result for result in results if result["rss_mb"] is not None]
    leanest = sorted(weighed, key=lambda result: float(result["rss_mb"]))[:1]
    return [
        (f"fastest: {_label(fastest)}", f"{_p50(fastest)} ms", ""),
        ("at that, images a second", bench.per_second(fastest["throughput_per_s"]), ""),
        (f"smallest: {_label(smallest)}", f"{smallest['bytes'] / 1e6:.1f} MB", ""),
        *((f"peak memory: {_label(each)}", f"{each['rss_mb']:.0f} MB", "") for each in leanest),
    ]


def _smallest_batches(results: list[Document]) -> list[Document]:
    """Of a sweep over batches one result a file and place: eight images are not a slower file."""
    keys = ("bundle", "format", "engine", "threads", "device_used", "delegate")
    files: dict[tuple[Any, ...], Document] = {}
    for result in sorted(results, key=lambda result: int(result["batch"])):
        files.setdefault(tuple(result[key] for key in keys), result)
    return list(files.values())


def _frontier(results: list[Document]) -> str:
    """Empty of regressions alone, whose files have no classes to agree on."""
    points = [
        charts.Point(
            label=_label(result),
            format=result["format"],
            ms=result["p50_ms"],
            accuracy=result["verified"]["agreement"],
            bytes=result["bytes"],
            interval=result["intervals"]["p50_ms"],
        )
        for result in results
        if result["verified"]["agreement"] is not None
    ]
    if not points:
        return ""
    return frontier(
        points,
        "agreement",
        "Agreement with the float model on the images that convert verified each file on; "
        "edgenet check --html measures it on yours.",
    )


def _distribution(results: list[Document]) -> list[str]:
    return [
        charts.distributions(results),
        paragraph(
            "Single runs; what took more than twice the p50 is in the last bar. Solid: p50 with "
            "its 95 % interval below; dashed: p90; dotted: p99."
        ),
        "<h3>Over time</h3>",
        charts.over_time(results),
        charts.legend(results),
    ]


def _profile(result: Document) -> str:
    rows = "".join(
        f"<tr>{_bar(op['share'])}"
        + "".join(f"<td>{escape(cell)}</td>" for cell in cells[:2])
        + "".join(f'<td class="right">{escape(cells[i])}</td>' for i in (2, 4, 5))
        + "</tr>"
        for op, cells in zip(
            result["profile"]["operators"], bench.profile_rows(result, _SLOWEST), strict=False
        )
    )
    head = "<th>share</th><th>layer</th><th>kernel</th>" + "".join(
        f'<th class="right">{title}</th>' for title in ("ms", "M MACs", "GMAC/s")
    )
    return (
        f"<h3>{escape(bench.profile_title(result))}</h3>"
        + bullets(result["profile"]["findings"])
        + framed(head, rows, "long")
    )


def _bar(share: float) -> str:
    return (
        f'<td class="bar"><i style="width:{min(100.0, 400 * share):.1f}%"></i>'
        f"<span>{percent(share)}</span></td>"
    )


def _peaks(document: Document) -> str:
    rows = [
        [peak["engine"], str(peak["threads"]), number(peak["fp32"], 0), number(peak["int8"], 0)]
        for peak in document.get("peaks", [])
    ]
    if not rows:
        return ""
    return "<h3>Peak of a large matrix product</h3>" + table(
        ["engine", "threads", "fp32 GMAC/s", "int8 GMAC/s"], rows, "<>>>"
    )


def _label(result: Document) -> str:
    batch = "" if result["batch"] == 1 else f", batch {result['batch']}"
    threads = "1 thread" if result["threads"] == 1 else f"{result['threads']} threads"
    return f"{result['name']}, {result['format']}, {threads}{batch}"


def _p50(result: Document) -> str:
    return with_interval(result["p50_ms"], result["intervals"]["p50_ms"])
