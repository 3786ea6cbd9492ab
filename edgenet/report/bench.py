"""What `edgenet bench` prints: its document as a console table and as Markdown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgenet.report import markdown as md
from edgenet.report.cells import number, percent, with_interval
from edgenet.report.table import Grid, render

Document = dict[str, Any]

_Column = tuple[str, str, Callable[[Document], str]]


def _percentile(key: str) -> Callable[[Document], str]:
    return lambda result: with_interval(result[key], result["intervals"][key])


def _figure(key: str, digits: int) -> Callable[[Document], str]:
    return lambda result: number(result[key], digits)


def _name(key: str) -> Callable[[Document], str]:
    return lambda result: str(result[key])


def ran_on(result: Document) -> str:
    """The device, and its own name where it has one."""
    device, name = result["device_used"], result["device_name"]
    return device if device == "cpu" or name is None else f"{device} ({name})"


def per_second(images: float | None) -> str:
    """Images a second; below 10 with a decimal, so that few do not become 0."""
    return number(images, 1 if images is not None and images < 10 else 0)


COLUMNS: tuple[_Column, ...] = (
    ("bundle", "<", _name("bundle")),
    ("format", "<", _name("format")),
    ("precision", "<", _name("precision")),
    ("engine", "<", _name("engine")),
    ("ran on", "<", ran_on),
    ("threads", ">", _name("threads")),
    ("batch", ">", _name("batch")),
    ("p50 ms", ">", _percentile("p50_ms")),
    ("p90 ms", ">", _percentile("p90_ms")),
    ("p95 ms", ">", _percentile("p95_ms")),
    ("p99 ms", ">", _percentile("p99_ms")),
    ("images/s", ">", lambda result: per_second(result["throughput_per_s"])),
    ("load ms", ">", _figure("load_ms", 0)),
    ("first ms", ">", _figure("first_ms", 1)),
    ("peak MB", ">", _figure("rss_mb", 0)),
    ("steady MB", ">", _figure("steady_mb", 0)),
    ("runs", ">", _name("runs")),
    ("warm-up", ">", _name("warmup_runs")),
)
"""A result's columns: title, alignment, cell."""

_TAILS = ("p90 ms", "p95 ms", "p99 ms")

BATCHES = "several images a run"

_METHODS = {
    "threads": "a session each, called from threads",
    "AsyncInferQueue": "the engine's AsyncInferQueue",
}

EMULATED = "by a software driver or an emulator: that it works, not how fast the device is"

PROFILE_HEADERS = ["layer", "kernel", "ms", "share", "M MACs", "GMAC/s"]
PROFILE_ALIGN = "<<>>>>"
_PARTS = ("decode", "resize", "run", "rank", "all")
SLOWEST = 12
"""Operators that are listed on a console and in a pull request."""


def text(document: Document) -> str:
    """The console's report: a table, what spoils it, and how others compare with the first."""
    blocks = [f"{above}\n{render(*grid)}" for above, grid in _grids(document)]
    blocks += ["\n".join(lines) for lines in _lists(document) if lines]
    timed = end_to_end(document)
    if timed:
        blocks.append(render(*end_to_end_grid(timed)))
    return "\n\n".join([*blocks, *map(_profile_text, profiled(document))])


def markdown(document: Document) -> str:
    """The same, as GitHub's Markdown."""
    parts = ["## edgenet bench"]
    parts += [f"{md.escaped(above)}\n\n{md.table(*grid)}" for above, grid in _grids(document)]
    parts += [md.bullets(lines) for lines in _lists(document) if lines]
    timed = end_to_end(document)
    if timed:
        parts.append(md.table(*end_to_end_grid(timed)))
    return "\n\n".join([*parts, *map(_profile_markdown, profiled(document))]) + "\n"


def on_hardware(document: Document) -> list[Document]:
    """The results on hardware: only their times say how fast a device is."""
    return [result for result in document["results"] if result["emulated"] is None]


def end_to_end(document: Document) -> list[Document]:
    """The results with the way from a photo to its label."""
    return [result for result in document["results"] if result.get("end_to_end")]


def profiled(document: Document) -> list[Document]:
    """The results with a profile."""
    return [result for result in document["results"] if result.get("profile")]


def hardware_grid(document: Document) -> Grid:
    """What ran on hardware, with "!" at a p50 that something spoils."""
    shared = bool(document["interference"]["warnings"])
    return _grid(on_hardware(document), shared)


def emulated_grid(document: Document) -> Grid:
    """The same for what a software driver or an emulator computed; `EMULATED` is its title."""
    found = [{**r, **r["emulated"]} for r in document["results"] if r["emulated"] is not None]
    return _grid(found, shared=False)


def batches_grid(document: Document) -> Grid:
    """The sweep over batches."""
    headers = ["file", "batch", "ms a batch", "ms an image", "images/s", "× the smallest batch's"]
    rows = [
        [
            f"{found['bundle']} {found['format']}, threads {found['threads']}",
            str(found["batch"]),
            number(found["ms_per_batch"]),
            number(found["ms_per_image"]),
            number(found["images_per_s"], 0),
            "1" if found["speedup"] == 1 else with_interval(found["speedup"], found["interval"]),
        ]
        for found in document["batches"]
    ]
    return Grid(headers, rows, "<>>>>>")


def _lists(document: Document) -> tuple[list[str], ...]:
    return notes(document), comparisons(document), streams(document)


def _grids(document: Document) -> list[tuple[str, Grid]]:
    """The tables that have rows, each with the line above it."""
    grids = [
        (title(document), hardware_grid(document)),
        (EMULATED, emulated_grid(document)),
        (BATCHES, batches_grid(document)),
    ]
    return [(above, grid) for above, grid in grids if grid.rows]


def _grid(results: list[Document], shared: bool) -> Grid:
    """The table; a percentile for which no result has enough runs gets no column."""
    shown = [
        (title, align, cell)
        for title, align, cell in COLUMNS
        if title not in _TAILS or any(cell(result) != "–" for result in results)
    ]
    rows = [
        [
            _marked(title, cell(result), shared or bool(result["warnings"]))
            for title, _, cell in shown
        ]
        for result in results
    ]
    align = "".join(side for _, side, _ in shown)
    return Grid([title for title, _, _ in shown], rows, align)


def title(document: Document) -> str:
    """The machine, and how the times were taken."""
    machine = document["machine"]
    isa = f", {' '.join(machine['isa'])}" if machine["isa"] else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores{isa}; "
        "timed in turns, ± is half a 95 % interval"
    )


def notes(document: Document) -> list[str]:
    """What spoils the figures, one line each."""
    own = [
        f"! {result['bundle']} {result['format']}, {_setting(result)}: {warning}"
        for result in document["results"]
        for warning in result["warnings"]
    ]
    return [f"! while timing, {warning}" for warning in document["interference"]["warnings"]] + own


def comparisons(document: Document) -> list[str]:
    """One line for each pair: the ratio, its interval, and what follows."""
    return [_compared(pair) for pair in document["comparisons"]]


def streams(document: Document) -> list[str]:
    """Images a second with several requests under way, one line a file."""
    return [
        f"{found['bundle']} {found['format']}{_batch(found)}: "
        f"{with_interval(found['images_per_s'], found['interval'])} images/s in "
        f"{found['count']} streams of one thread ({_METHODS[found['method']]})"
        for found in document.get("streams", [])
    ]


def _setting(found: Document) -> str:
    return f"threads {found['threads']}{_batch(found)}"


def _batch(found: Document) -> str:
    return "" if found["batch"] == 1 else f", batch {found['batch']}"


def verdict(pair: Document) -> str:
    """Whether the two differ, in words."""
    if pair["differs"] is None:
        return "too few rounds to tell"
    if not pair["differs"]:
        return "no difference shown"
    return "faster" if pair["ratio"] < 1 else "slower"


def profile_title(result: Document) -> str:
    """Which file, by whose profiler, and what it comes to."""
    profile = result["profile"]
    return (
        f"{result['bundle']} {result['format']} {result['precision']}, threads "
        f"{profile['threads']}: {profile['total_ms']:.2f} ms in {len(profile['operators'])} "
        f"operators, {profile['macs'] / 1e6:.0f} M MACs ({profile['source']})"
    )


def profile_rows(result: Document, count: int | None = None) -> list[list[str]]:
    """The cells of the slowest operators; `PROFILE_HEADERS` are their titles."""
    return [
        [
            op["layer"],
            op["kernel"],
            number(op["ms"], 3),
            percent(op["share"]),
            number(op["macs"] / 1e6, 1) if op["macs"] else "–",
            number(op["gmacs_per_s"], 1),
        ]
        for op in result["profile"]["operators"][:count]
    ]


def end_to_end_grid(results: list[Document]) -> Grid:
    """The way from a photo's bytes to its label, in medians."""
    headers = ["file", "decode ms", "resize ms", "run ms", "rank ms", "all ms"]
    rows = [
        [
            f"{result['bundle']} {result['format']}, {_setting(result)}",
            *(number(result["end_to_end"][f"{part}_ms"]) for part in _PARTS),
        ]
        for result in results
    ]
    return Grid(headers, rows, "<>>>>>")


def _profile_text(result: Document) -> str:
    table = render(PROFILE_HEADERS, profile_rows(result, SLOWEST), PROFILE_ALIGN)
    findings = [f"* {finding}" for finding in result["profile"]["findings"]]
    return "\n".join([profile_title(result), table, *findings])


def _profile_markdown(result: Document) -> str:
    table = md.table(PROFILE_HEADERS, profile_rows(result, SLOWEST), PROFILE_ALIGN)
    heading = f"### {md.escaped(profile_title(result))}"
    return "\n\n".join([heading, md.bullets(result["profile"]["findings"]), table])


def _compared(pair: Document) -> str:
    bounds = pair["interval"]
    interval = f" [{bounds[0]:.3f}, {bounds[1]:.3f}]" if bounds else ""
    return (
        f"{pair['format']}, {_setting(pair)}: {pair['other']} takes "
        f"{pair['ratio']:.3f}{interval} × the time of {pair['base']}: {verdict(pair)}"
    )


def _marked(title: str, cell: str, spoiled: bool) -> str:
    return f"! {cell}" if spoiled and title == "p50 ms" else cell
