"""Our p50 beside that of the engines' own harnesses, on the same files with the same threads.

    python -m benchmarks.harness BUNDLE [--threads 1] [--rounds 7] [--seconds 1] [--json]

OpenVINO's `benchmark_app` (in its wheel) and LiteRT's `benchmark_litert_model` (in its wheel) and
`edgenet bench` take turns, each in a process of its own; a round gives one ratio. ONNX Runtime's
wheel brings no such harness. Ours is the wall clock of the whole call: input copied in, output read
back. benchmark_app adds up `InferRequest.latency`, which begins and ends within the engine; what
lies outside of it is measured on calls of ours, and the ratio is given with it and without.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import edgenet
from benchmarks._common import Ratio, bounded, end, ratio
from edgenet.bundle import Bundle
from edgenet.errors import EdgenetError
from edgenet.measure.latency import timed
from edgenet.measure.machine import describe
from edgenet.report.cells import number
from edgenet.report.document import dumps
from edgenet.report.table import render

LIMIT = 0.03
"""How far apart the two p50s may be, as a share of the harness's."""

_ROUNDS = 7
_SECONDS = 1.0
_CALLS = 300
_MEDIAN = re.compile(r"Median:\s+([\d.]+) ms")


@dataclass(frozen=True)
class Result:
    """Median p50s over rounds in milliseconds, and ours / theirs.

    `outside_ms` is what the harness's own clock leaves out of a call, `inside_ratio` the ratio
    without it.
    """

    harness: str
    format: str
    threads: int
    ours_ms: float
    theirs_ms: float
    outside_ms: float
    ratio: Ratio
    inside_ratio: Ratio


def main() -> int:
    args = _parser().parse_args()
    bundle = Bundle.open(args.bundle)
    results = [_compare(bundle, format, args) for format in bundle.formats if format in _HARNESSES]
    machine = describe()
    if args.json:
        document = {"machine": machine, "results": [asdict(result) for result in results]}
        print(dumps(document))
    else:
        print(f"{machine['cpu']}, {machine['cores']} cores; p50 in ms, in turns")
        print(_table(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.harness")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--threads", type=bounded(int, 1), default=1, metavar="N")
    parser.add_argument("--rounds", type=bounded(int, 1), default=_ROUNDS, metavar="N")
    parser.add_argument("--seconds", type=bounded(float, 0.1), default=_SECONDS, metavar="S")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _compare(bundle: Bundle, format: str, args: argparse.Namespace) -> Result:
    name, theirs = _HARNESSES[format]
    model = bundle.path / bundle.artifact(format).files[0].path
    rows = []
    for turn in range(args.rounds):
        calls: list[Callable[[], float]] = [
            lambda: _ours(bundle.path, format, args.threads, args.seconds),
            lambda: theirs(model, args.threads, args.seconds),
        ]
        order = (0, 1) if turn % 2 == 0 else (1, 0)
        found = {index: calls[index]() for index in order}
        rows.append([found[0], found[1]])
    times = np.asarray(rows, np.float64)
    ours, peer = times[:, 0], times[:, 1]
    outside = _outside(bundle, args.threads) if format == "openvino" else 0.0
    return Result(
        harness=name,
        format=format,
        threads=args.threads,
        ours_ms=float(np.median(ours)),
        theirs_ms=float(np.median(peer)),
        outside_ms=outside,
        ratio=ratio(ours, peer),
        inside_ratio=ratio(ours - outside, peer),
    )


def _outside(bundle: Bundle, threads: int) -> float:
    """The median of a call's wall clock less its `InferRequest.latency`, in milliseconds."""
    with edgenet.load(bundle, "openvino", threads=threads) as session:
        images = np.zeros(session.info.input_shape, np.uint8)
        call = partial(session.run, images)
        found = [timed(call)[0] / 1e6 - session._handle.request.latency for _ in range(_CALLS)]
    return float(np.median(found))


def _ours(bundle: Path, format: str, threads: int, seconds: float) -> float:
    command = ["-m", "edgenet", "bench", str(bundle), "--format", format, "--json"]
    output = _run(*command, "--threads", str(threads), "--min-time", str(seconds))
    p50: float = json.loads(output)["results"][0]["p50_ms"]
    return p50


def _benchmark_app(model: Path, threads: int, seconds: float) -> float:
    output = _run(
        *(
            "-c",
            "from openvino.tools.benchmark.main import main; main()",
            "-m",
            str(model),
            "-d",
            "CPU",
        ),
        *("-hint", "none", "-api", "sync", "-nstreams", "1", "-nthreads", str(threads)),
        *("-infer_precision", "f32", "-t", str(max(1, round(seconds)))),
    )
    found = _MEDIAN.search(output)
    if found is None:
        raise EdgenetError(f"benchmark_app printed no median: {output[-200:]}")
    return float(found.group(1))


def _benchmark_litert(model: Path, threads: int, seconds: float) -> float:
    """It takes a number of runs, so a first, short call finds out how many fill the seconds."""
    tool = "ai_edge_litert.tools.benchmark_litert_model"
    with TemporaryDirectory() as folder:
        found = Path(folder) / "result.json"
        command = ["-m", tool, "--model", str(model), "--num_threads", str(threads)]
        command += ["--result_json", str(found)]
        runs = 20
        for _ in range(2):
            _run(*command, "--num_runs", str(runs), "--warmup_runs", "20")
            p50 = _median(json.loads(found.read_text(encoding="utf-8")))
            runs = max(20, round(seconds * 1e3 / p50))
    return p50


def _median(document: Any) -> float:
    value: float = document["latency"]["median_ms"]
    return value


def _run(*arguments: str) -> str:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise EdgenetError(f"{arguments[1]} failed: {(done.stderr or done.stdout)[-300:]}")
    return done.stdout


_HARNESSES: dict[str, tuple[str, Callable[[Path, int, float], float]]] = {
    "tflite": ("benchmark_litert_model", _benchmark_litert),
    "openvino": ("benchmark_app", _benchmark_app),
}


def _table(results: list[Result]) -> str:
    headers = ["harness", "threads", "edgenet bench", "theirs", "ratio [95 %]"]
    headers += ["outside its clock", "ratio inside [95 %]", f"within {LIMIT:.0%}"]
    rows = [
        [
            result.harness,
            str(result.threads),
            number(result.ours_ms, 3),
            number(result.theirs_ms, 3),
            str(result.ratio),
            number(result.outside_ms, 3),
            str(result.inside_ratio),
            "yes" if abs(result.inside_ratio.median - 1) <= LIMIT else "no",
        ]
        for result in results
    ]
    return render(headers, rows, "<>>>>>>>")


if __name__ == "__main__":
    end(main)
