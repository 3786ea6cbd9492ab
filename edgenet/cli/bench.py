"""`edgenet bench`: how fast bundles are on this machine."""

from __future__ import annotations

import argparse
import json
import math
import sys
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgenet.bundle import Bundle
from edgenet.cli import reach
from edgenet.errors import UsageError

if TYPE_CHECKING:
    from edgenet.images import Pixels
    from edgenet.measure.footprint import Footprint
    from edgenet.measure.latency import Timing
    from edgenet.runtime import Session

HELP = "time bundles: percentiles, load and first run, peak memory"
EXAMPLES = """\
  edgenet bench lite0-int8
  edgenet bench lite0-fp32 lite0-int8 --threads 2
  edgenet bench lite0-int8 --format tflite,onnx --json > bench.json
"""

_SEED = 20
_RUNS = 100
_MIN_TIME = 2.0

_EMULATED = "by a software driver or an emulator: that it works, not how fast the device is"

# The table's columns: a result's key, then the title and, for a figure, the digits shown.
_NAMES = {
    "bundle": "bundle",
    "format": "format",
    "precision": "precision",
    "engine": "engine",
    "device_used": "ran on",
}
_FIGURES = {
    "threads": ("threads", 0),
    "load_ms": ("load ms", 1),
    "first_ms": ("first ms", 2),
    "p50_ms": ("p50 ms", 2),
    "p90_ms": ("p90 ms", 2),
    "p95_ms": ("p95 ms", 2),
    "p99_ms": ("p99 ms", 2),
    "throughput_per_s": ("images/s", 1),
    "rss_mb": ("peak MB", 1),
    "runs": ("runs", 0),
    "warmup_runs": ("warm-up", 0),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("bundles", metavar="BUNDLE", nargs="+", help="folders that convert wrote")
    parser.add_argument(
        "--format", metavar="F", help="one or more, separated by commas (default: all that can run)"
    )
    reach.add_arguments(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine")
    parser.add_argument(
        "--runs",
        type=int,
        default=_RUNS,
        metavar="N",
        help=f"timed runs at least (default: {_RUNS})",
    )
    parser.add_argument(
        "--min-time",
        type=float,
        default=_MIN_TIME,
        metavar="S",
        help=f"seconds on each at least (default: {_MIN_TIME:g})",
    )
    parser.add_argument(
        "--image", metavar="FILE", help="a photo to run on (default: a made-up one)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Times all bundles in all formats, in turns, and prints the report."""
    _require_sane(args)
    with ExitStack() as stack:
        opened = _open(stack, args)
        timings = _time(args, opened)
    prints = _footprints(args, opened)
    results = [
        _entry(bundle, session, timing, footprint)
        for (bundle, session), timing, footprint in zip(opened, timings, prints, strict=True)
    ]
    _report(results, args.json)
    return 0


def _require_sane(args: argparse.Namespace) -> None:
    if args.runs < 1:
        raise UsageError(f"--runs {args.runs}: at least one run is needed")
    if not (math.isfinite(args.min_time) and args.min_time >= 0):
        raise UsageError(f"--min-time {args.min_time}: it is a number of seconds, from 0")


def _open(stack: ExitStack, args: argparse.Namespace) -> list[tuple[str, Session]]:
    from edgenet.measure.opening import open_formats

    formats = args.format.split(",") if args.format else None
    return [
        (path, session)
        for path in dict.fromkeys(args.bundles)
        for session in open_formats(
            stack,
            Bundle.open(path),
            formats,
            args.device,
            args.threads,
            on_missing=_say,
            reach=reach.of(args),
        )
    ]


def _time(args: argparse.Namespace, opened: list[tuple[str, Session]]) -> list[Timing]:
    from edgenet.measure import latency
    from edgenet.report.progress import Progress

    sessions = [session for _, session in opened]
    inputs = [_input(session, args.image) for session in sessions]
    calls = [
        lambda session=session, images=images: session.run(images)
        for session, images in zip(sessions, inputs, strict=True)
    ]
    with Progress("timing", min(latency.ROUNDS, args.runs), "rounds") as progress:
        return latency.interleaved(
            calls,
            runs=args.runs,
            min_time=args.min_time,
            items=[session.info.batch for session in sessions],
            progress=progress.update,
        )


def _input(session: Session, image: str | None) -> Pixels:
    """One full batch of the photo asked for, or of a made-up one: smooth blobs of colour."""
    import numpy as np

    if image is None:
        blobs = np.random.default_rng(_SEED).integers(0, 256, (8, 8, 3), np.uint8)
        pixels = session.prepare(blobs)
    else:
        pixels = session.prepare(image)
    return np.repeat(pixels[None], session.info.batch, axis=0)


def _footprints(args: argparse.Namespace, opened: list[tuple[str, Session]]) -> list[Footprint]:
    from edgenet.measure.footprint import measure
    from edgenet.report.progress import Progress

    prints = []
    with Progress("loading in fresh processes", len(opened), "files") as progress:
        for done, (bundle, session) in enumerate(opened):
            info = session.info
            prints.append(
                measure(
                    bundle,
                    info.format,
                    info.device,
                    args.threads,
                    engine=info.engine,
                    reach=reach.of(args),
                )
            )
            progress.update(done + 1)
    return prints


def _entry(bundle: str, session: Session, timing: Timing, footprint: Footprint) -> dict[str, Any]:
    from edgenet.report.devices import split_times

    info = session.info
    return {
        "bundle": bundle,
        "format": info.format,
        "precision": info.precision,
        "engine": info.engine,
        "device": info.device,
        "device_used": info.device_used,
        "kind": info.kind,
        "device_name": info.device_name,
        "delegated_fraction": info.delegated_fraction,
        "time_elsewhere": info.time_elsewhere,
        "threads": info.threads,
        "batch": info.batch,
        "rss_mb": footprint.rss_mb,
        "runs": timing.runs,
        "warmup_runs": timing.warmup_runs,
        **split_times(info.kind, _figures(timing, footprint)),
    }


def _figures(timing: Timing, footprint: Footprint) -> dict[str, float]:
    untimed = ("rss_mb", "runs", "warmup_runs")
    figures = {**asdict(footprint), **asdict(timing)}
    return {name: value for name, value in figures.items() if name not in untimed}


def _report(results: list[dict[str, Any]], as_json: bool) -> None:
    from edgenet.measure.machine import describe

    machine = describe()
    if as_json:
        print(json.dumps({"machine": machine, "results": results}, indent=1, allow_nan=False))
    else:
        print(_table(machine, results))


def _table(machine: dict[str, Any], results: list[dict[str, Any]]) -> str:
    """One table of speeds, and apart from it one of what is no hardware."""
    isa = f", {' '.join(machine['isa'])}" if machine["isa"] else ""
    title = f"{machine['cpu']}, {machine['cores']} cores{isa}; timed in turns"
    measured = [result for result in results if result["emulated"] is None]
    emulated = [{**r, **r["emulated"]} for r in results if r["emulated"] is not None]
    parts = [_grid(title, measured)] if measured else []
    if emulated:
        parts.append(_grid(f"{_EMULATED}\n{title}", emulated))
    return "\n\n".join(parts)


def _grid(title: str, results: list[dict[str, Any]]) -> str:
    from edgenet.report.cells import number
    from edgenet.report.table import render

    headers = [*_NAMES.values(), *(title for title, _ in _FIGURES.values())]
    rows = [
        [str(result[key]) for key in _NAMES]
        + [number(result[key], digits) for key, (_, digits) in _FIGURES.items()]
        for result in results
    ]
    align = "<" * len(_NAMES) + ">" * len(_FIGURES)
    return f"{title}\n{render(headers, rows, align)}"


def _say(message: str) -> None:
    print(f"edgenet: {message}", file=sys.stderr)
