"""Our int8 files beside those of the peers: time, accuracy, size, seconds to make.

    python -m benchmarks.peers [MODEL] --calibration DIR --evaluate DIR [--work DIR] [--json]

All files come from one Keras model and the same calibration images. In each engine all of them take
turns in one process: ours through `Session.run`, which takes pixels; the peers' through the bare
engine, on an input that was made float (and quantized, where they ask for int8) before the clock
started.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import edgenet
from benchmarks._common import REPEATS, Ratio, bounded, end, made_up_photo, p50s, ratio
from benchmarks._peer_files import OURS, PACKAGES, STEPS, Made, Order, made_by_child
from benchmarks._peer_model import Floats
from benchmarks._peer_runs import Opened, open_ours, open_peer
from edgenet.bundle import CLASSIFICATION, Bundle, InputSpec
from edgenet.images import Batch, ImageFolder
from edgenet.measure.evaluation import judging
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.machine import adds_in_16_bits, describe
from edgenet.report.cells import number, percent
from edgenet.report.document import dumps
from edgenet.report.table import render

_BATCH = 32
_RUNS = 100
_MIN_TIME = 0.5

Labels = NDArray[np.int64] | None


@dataclass(frozen=True)
class Job:
    """What to compare, on which photos, with how many threads."""

    order: Order
    made: Made
    bundle: Bundle
    folder: ImageFolder
    spec: InputSpec
    threads: tuple[int, ...]
    repeats: int
    machine: dict[str, Any]

    def names(self, format: str) -> tuple[str, ...]:
        """The files of a format, ours first."""
        return (OURS, *self.order.peers(format))

    def batches(self) -> Iterator[Batch]:
        """The evaluation photos."""
        return self.folder.batches(self.spec, _BATCH)


@dataclass(frozen=True)
class Truth:
    """The fp32 reference's logits, images × classes, and the labels where the folder has them."""

    logits: Floats
    labels: Labels


@dataclass(frozen=True)
class Timed:
    """The p50 in milliseconds; `ratio` is ours / this file, None for ours itself."""

    threads: int
    p50_ms: float
    ratio: Ratio | None


@dataclass(frozen=True)
class Result:
    """One file; `seconds` lead from the Keras model to it (ours: to all formats, verified)."""

    format: str
    name: str
    input: str
    bytes: int
    seconds: float
    fidelity: Fidelity
    timings: tuple[Timed, ...]


@dataclass(frozen=True)
class Making:
    """Seconds to make all of our files, and one of the peers' for each engine, the quickest."""

    ours_s: float
    peers_s: float
    peers: tuple[str, ...]


def main() -> int:
    args = _parser().parse_args()
    job = _job(args)
    truth = _truth(job)
    results = [result for format in job.bundle.formats for result in _compare(job, format, truth)]
    print(_json(job, results) if args.json else _text(job, results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers")
    parser.add_argument("model", metavar="MODEL", nargs="?", default="lite0")
    parser.add_argument("--weights", metavar="FILE", help="of a variant without published ones")
    parser.add_argument("--calibration", metavar="DIR", required=True)
    parser.add_argument("--evaluate", metavar="DIR", required=True)
    parser.add_argument(
        "--crop-fraction", type=float, metavar="F", help="of photos (default: the variant's)"
    )
    parser.add_argument("--images", type=bounded(int, 1), metavar="N", help="evaluate on N photos")
    parser.add_argument("--threads", type=bounded(int, 1), nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--repeats", type=bounded(int, 1), default=REPEATS, metavar="N")
    parser.add_argument(
        "--stripped",
        action="store_true",
        help="give the peers the model without its preprocessing layers, for free",
    )
    parser.add_argument(
        "--remedies",
        action="store_true",
        help="add what the peers advise for CPUs without VNNI (default: on such a CPU)",
    )
    parser.add_argument(
        "--max-drop", type=float, metavar="POINTS", help="of ours: what `edgenet convert` allows"
    )
    parser.add_argument(
        "--interpolation", metavar="NAME", help="of photos (default: as `edgenet convert` has it)"
    )
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keeps the files (default: build/peers/MODEL-KIND)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _job(args: argparse.Namespace) -> Job:
    machine = describe()
    ImageFolder.open(args.evaluate)  # Before the work.
    kind = "stripped" if args.stripped else "whole"
    work = args.work or Path("build", "peers", f"{Path(args.model).stem}-{kind}")
    order = Order(
        model=args.model,
        weights=args.weights,
        calibration=args.calibration,
        work=work,
        stripped=args.stripped,
        max_drop=args.max_drop,
        crop_fraction=args.crop_fraction,
        interpolation=args.interpolation,
        remedies=args.remedies or adds_in_16_bits(machine["isa"]),
    )
    made = made_by_child(order)
    bundle = Bundle.open(order.ours)
    folder = judging(args.evaluate, CLASSIFICATION, bundle.labels(), bundle.classes)
    spec = bundle.manifest.input
    if args.images is not None:
        folder = folder.sample(args.images)
    return Job(order, made, bundle, folder, spec, tuple(args.threads), args.repeats, machine)


def _truth(job: Job) -> Truth:
    with edgenet.load(job.bundle, reference=True) as session:
        logits = np.concatenate([session.run(batch.images) for batch in job.batches()])
    labels = job.folder.labels
    return Truth(logits, None if labels is None else np.asarray(labels, np.int64))


def _compare(job: Job, format: str, truth: Truth) -> list[Result]:
    """Times and evaluates all files of one format."""
    names = job.names(format)
    timings: list[list[Timed]] = []
    for threads in job.threads:
        with ExitStack() as stack:
            opened = [_open(stack, job, format, name, threads) for name in names]
            timings.append(_time(job, opened, threads))
            if threads == job.threads[-1]:
                answers = _answers(job, opened)
    return [
        Result(
            format=format,
            name=f"ours {job.bundle.manifest.precision}" if name == OURS else name,
            input=file.input,
            bytes=_bytes(job, format, name),
            seconds=job.made.total(job.order.ours.name if name == OURS else name),
            fidelity=Fidelity.of(truth.logits, logits, truth.labels),
            timings=times,
        )
        for name, file, logits, times in zip(
            names, opened, answers, zip(*timings, strict=True), strict=True
        )
    ]


def _open(stack: ExitStack, job: Job, format: str, name: str, threads: int) -> Opened:
    if name == OURS:
        return open_ours(stack, job.order.ours, format, threads)
    assert job.made.affine is not None, "a peer's file is never made without it"
    return open_peer(format, job.order.work / STEPS[name].file, job.made.affine, threads)


def _time(job: Job, opened: Sequence[Opened], threads: int) -> list[Timed]:
    _, height, width, _ = job.spec.shape
    photo = made_up_photo(height, width)[None]
    calls = [partial(file.run, file.prepare(photo)) for file in opened]
    times = p50s(calls, job.repeats, _RUNS, _MIN_TIME)
    ours = times[:, 0]
    return [
        Timed(threads, float(np.median(column)), ratio(ours, column) if index else None)
        for index, column in enumerate(times.T)
    ]


def _answers(job: Job, opened: Sequence[Opened]) -> list[Floats]:
    rows: list[list[Floats]] = [[] for _ in opened]
    for batch in job.batches():
        for file, kept in zip(opened, rows, strict=True):
            kept += [file.run(file.prepare(image[None])) for image in batch.images]
    return [np.concatenate(kept) for kept in rows]


def _making(job: Job) -> Making:
    names, seconds = job.made.cheapest(job.names(format)[1:] for format in job.bundle.formats)
    return Making(job.made.total(job.order.ours.name), seconds, names)


def _bytes(job: Job, format: str, name: str) -> int:
    if name == OURS:
        return job.bundle.artifact(format).bytes
    path = job.order.work / STEPS[name].file
    weights = path.with_suffix(".bin")
    return path.stat().st_size + (weights.stat().st_size if weights.exists() else 0)


def _json(job: Job, results: list[Result]) -> str:
    document = {
        "machine": job.machine,
        "versions": {package: version(package) for package in PACKAGES},
        "model": job.order.model,
        "images": len(job.folder),
        "making": asdict(_making(job)),
        "results": [_entry(result) for result in results],
    }
    return dumps(document)


def _entry(result: Result) -> dict[str, Any]:
    entry = asdict(result)
    found = entry.pop("fidelity")
    drop = found.pop("drop")
    return {**entry, **found, "drop_points": result.fidelity.drop_points, "drop": drop}


def _text(job: Job, results: list[Result]) -> str:
    machine = job.machine
    title = (
        f"{job.order.model} int8 on {machine['cpu']}, {machine['cores']} cores; "
        f"{len(job.folder)} photos against fp32; p50 in ms; ours/it below 1: ours is faster [95 %]"
    )
    headers = ["format", "file", "input", "MB", "made in s", "top-1", "drop", "agreement", "dB"]
    for threads in job.threads:
        headers += [f"p50 at {threads}", "ours/it"]
    rows = [_row(result) for result in results]
    table = render(headers, rows, "<<<" + ">" * (len(headers) - 3))
    making = _making(job)
    return (
        f"{title}\n{table}\n"
        f"all of ours made in {making.ours_s:.1f} s; a peer's for each engine in "
        f"{making.peers_s:.1f} s, a step that several need once: {', '.join(making.peers)}"
    )


def _row(result: Result) -> list[str]:
    found = result.fidelity
    cells = [
        *(result.format, result.name, result.input),
        number(result.bytes / 1e6),
        number(result.seconds, 1),
        percent(found.top1),
        number(found.drop_points),
        number(found.agreement, 4),
        number(found.sqnr_db, 1),
    ]
    for timed in result.timings:
        cells += [number(timed.p50_ms), str(timed.ratio or "–")]
    return cells


if __name__ == "__main__":
    end(main)
