"""What `convert` and `run` cost as networks grow: seconds, memory and p50 of every variant.

    python -m benchmarks.scaling [VARIANT...] [--precision int8] [--json] [--svg FILE]

The weights are random and not the published ones, with BatchNorm's moments taken from photographs,
so that activations are of order one and int8 has something to keep. SQNR and agreement are against
Keras, on 64 crops; a network that never learned has many near-ties. Each conversion, from the saved
model to verified files, is a fresh process, which times the files afterwards, in turns; `size` is
parameters × resolution², B0's being 1.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks._common import bounded, end
from benchmarks._plot import Panel, Point, draw
from benchmarks._scaling_child import Conversion, File
from converters.formats import LOWERINGS, formats_of
from edgenet.bundle import PRECISIONS
from edgenet.errors import EdgenetError
from edgenet.measure.machine import describe
from edgenet.models.specs import VARIANTS, variant
from edgenet.models.summary import summarize
from edgenet.report.cells import number
from edgenet.report.document import dumps
from edgenet.report.table import render

_IMAGES = 8
_BASE = "b0"


@dataclass(frozen=True)
class Result:
    """A variant in a precision, in all formats asked for."""

    variant: str
    precision: str
    parameters: int
    macs: int
    resolution: int
    size: float
    conversion: Conversion


def main() -> int:
    args = _parser().parse_args()
    results = list(_results(args))
    if args.svg is not None:
        args.svg.write_text(_drawn(results), encoding="utf-8")
    if args.json:
        document = {"machine": describe(), "results": [asdict(result) for result in results]}
        print(dumps(document))
    else:
        machine = describe()
        print(f"{machine['cpu']}, {machine['cores']} cores; {args.images} calibration images")
        print(_table(results))
        print(*_growth(results), sep="\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling")
    parser.add_argument("variants", metavar="VARIANT", nargs="*", default=[*VARIANTS])
    parser.add_argument(
        "--precision", choices=PRECISIONS, nargs="+", default=["fp32", "fp16", "int8"]
    )
    parser.add_argument("--to", nargs="+", choices=LOWERINGS, default=[*LOWERINGS])
    parser.add_argument("--images", type=bounded(int, 1), default=_IMAGES, metavar="N")
    parser.add_argument(
        "--work", type=Path, metavar="DIR", help="keeps the networks, to be used again"
    )
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draws the growth")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _results(args: argparse.Namespace) -> Iterator[Result]:
    with TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        work.mkdir(parents=True, exist_ok=True)
        for name in args.variants:
            file = _network(name, work)
            for precision in args.precision:
                formats = [f for f in formats_of(precision) if f in args.to]
                if formats:
                    command = ["convert", str(file), precision, str(Path(folder, "bundle"))]
                    command += [",".join(formats), str(args.images)]
                    done = _child(command)
                    # A long run that is cut off has told what it found.
                    print(done, end="", file=sys.stderr)
                    yield _result(name, precision, json.loads(done))


def _network(name: str, work: Path) -> Path:
    file = work / f"{variant(name).name}.keras"
    if not file.exists():
        _child(["build", name, str(file)])
    return file


def _child(arguments: list[str]) -> str:
    print(*arguments[:3], file=sys.stderr)
    command = [sys.executable, "-m", "benchmarks._scaling_child", *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise EdgenetError(f"{' '.join(arguments[:3])} failed (exit code {done.returncode})")
    return done.stdout


def _result(name: str, precision: str, document: dict[str, Any]) -> Result:
    spec = variant(name)
    summary = summarize(spec)
    files = tuple(File(**file) for file in document["files"])
    return Result(
        variant=spec.name,
        precision=precision,
        parameters=summary.parameters,
        macs=summary.macs,
        resolution=spec.resolution,
        size=_size(spec.name) / _size(_BASE),
        conversion=Conversion(**{**document, "files": files}),
    )


def _size(name: str) -> float:
    spec = variant(name)
    return float(summarize(spec).parameters * spec.resolution**2)


def _table(results: list[Result]) -> str:
    headers = ["variant", "px", "params M", "MACs G", "size", "precision", "s", "CPU s", "peak GB"]
    headers += ["format", "MB", "agreement", "SQNR dB", "p50 ms"]
    rows = [
        [*(_head(result) if index == 0 else [""] * 9), *_cells(file)]
        for result in results
        for index, file in enumerate(result.conversion.files)
    ]
    return render(headers, rows, "<>>>><>>><>>>>")


def _head(result: Result) -> list[str]:
    return [
        result.variant,
        str(result.resolution),
        number(result.parameters / 1e6, 1),
        number(result.macs / 1e9),
        number(result.size, 1),
        result.precision,
        number(result.conversion.seconds, 0),
        number(result.conversion.cpu_seconds, 0),
        number(result.conversion.peak_mb / 1e3),
    ]


def _cells(file: File) -> list[str]:
    return [
        file.format,
        number(file.bytes / 1e6, 1),
        number(file.agreement, 3),
        number(file.sqnr_db, 1),
        number(file.p50_ms, 1),
    ]


def _growth(results: list[Result]) -> Iterator[str]:
    """The exponents with which seconds and memory grow: 1 is in proportion to the size."""
    for precision in dict.fromkeys(result.precision for result in results):
        chosen = [result for result in results if result.precision == precision]
        sizes = np.log([result.size for result in chosen])
        if len(set(sizes)) < 2:
            continue
        costs = {
            "seconds": [result.conversion.seconds for result in chosen],
            "CPU seconds": [result.conversion.cpu_seconds for result in chosen],
            "memory": [result.conversion.peak_mb for result in chosen],
        }
        found = (f"{k} as size^{np.polyfit(sizes, np.log(v), 1)[0]:.2f}" for k, v in costs.items())
        yield f"{precision} grows: {', '.join(found)}"


def _drawn(results: list[Result]) -> str:
    precisions = list(dict.fromkeys(result.precision for result in results))
    across = "parameters × resolution², B0 = 1"

    def points(precision: str, memory: bool) -> list[Point]:
        return [
            (r.size, r.conversion.peak_mb / 1e3 if memory else r.conversion.seconds, r.variant)
            for r in results
            if r.precision == precision
        ]

    panels = [
        Panel(title, across, {p: points(p, memory) for p in precisions})
        for title, memory in (("convert, seconds", False), ("convert, peak memory in GB", True))
    ]
    runs: dict[str, list[Point]] = {}
    for r in results:
        for file in r.conversion.files:
            point = (r.macs / 1e9, file.p50_ms, r.variant)
            runs.setdefault(f"{file.format} {r.precision}", []).append(point)
    return draw([*panels, Panel("run, p50 in ms", "MACs, G", runs)])


if __name__ == "__main__":
    end(main)
