"""What `Session.run` costs over the bare engine, on the same file.

    python -m benchmarks.overhead BUNDLE [--threads 1 2] [--json]

The bare engine is the shortest loop that a user could write by hand. Both callers share one engine
object: two thread pools that spin would disturb each other, and the ratio would show that instead.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np

import edgenet
from benchmarks._common import REPEATS, Ratio, Times, bounded, end, made_up_photo, p50s, ratio
from edgenet.bundle import Bundle
from edgenet.errors import EdgenetError
from edgenet.images import Pixels
from edgenet.measure.intervals import Interval, median_interval
from edgenet.measure.machine import describe
from edgenet.report.cells import number, with_interval
from edgenet.report.document import dumps
from edgenet.report.table import render

LIMIT, LIMIT_US = 1.02, 20.0
"""What the project promises of the ratio, and of the microseconds that a call takes longer."""

_RUNS = 100
_MIN_TIME = 0.5


@dataclass(frozen=True)
class Overhead:
    """One file in its engine; times are medians over repeats of the p50, in milliseconds.

    `added_us` is the median over repeats of how many microseconds longer the session's p50 is, and
    `added_interval_us` its 95 % interval, None for fewer than 6 repeats.
    """

    format: str
    engine: str
    threads: int
    session_ms: float
    bare_ms: float
    ratio: Ratio
    added_us: float
    added_interval_us: Interval | None

    @property
    def kept(self) -> bool:
        """Whether both promises are."""
        return self.ratio.median <= LIMIT and self.added_us <= LIMIT_US


def main() -> int:
    args = _parser().parse_args()
    bundle = Bundle.open(args.bundle)
    results = [
        _measure(bundle, format, threads, args.repeats)
        for format in bundle.formats
        for threads in args.threads
    ]
    machine = describe()
    if args.json:
        document = {"machine": machine, "results": [asdict(result) for result in results]}
        print(dumps(document))
    else:
        print(f"{machine['cpu']}, {machine['cores']} cores; p50 in ms, timed in turns")
        print(_table(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead")
    parser.add_argument("bundle", metavar="BUNDLE")
    parser.add_argument("--threads", type=bounded(int, 1), nargs="+", default=[1, 2], metavar="N")
    parser.add_argument("--repeats", type=bounded(int, 1), default=REPEATS, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _measure(bundle: Bundle, format: str, threads: int, repeats: int) -> Overhead:
    with edgenet.load(bundle, format, threads=threads) as session:
        _, height, width, _ = session.info.input_shape
        images = np.repeat(made_up_photo(height, width)[None], session.info.batch, axis=0)
        ours = partial(session.run, images)
        bare = _BARE[format](session._handle, images)
        if not np.array_equal(ours(), bare()):
            raise EdgenetError(f"the session and the bare engine answer differently in {format}")
        times = p50s([ours, bare], repeats, _RUNS, _MIN_TIME)
        return _overhead(session.info.engine, format, threads, times)


def _overhead(engine: str, format: str, threads: int, times: Times) -> Overhead:
    session_ms, bare_ms = (float(median) for median in np.median(times, axis=0))
    added = (times[:, 0] - times[:, 1]) * 1e3
    return Overhead(
        format,
        engine,
        threads,
        session_ms,
        bare_ms,
        ratio(times[:, 0], times[:, 1]),
        float(np.median(added)),
        median_interval(added),
    )


def _bare_tflite(handle: Any, images: Pixels) -> Callable[[], Any]:
    logits = handle.outputs["logits"]

    def call() -> Any:
        handle.set_input(handle.input, images)
        handle.invoke()
        return handle.read(logits)

    return call


def _bare_onnx(handle: Any, images: Pixels) -> Callable[[], Any]:
    return lambda: handle.run(["logits"], {"image": images})[0]


def _bare_openvino(handle: Any, images: Pixels) -> Callable[[], Any]:
    request = handle.request
    pixels = request.get_input_tensor(0).data

    def call() -> Any:
        pixels[:] = images
        request.infer()
        return request.get_tensor("logits").data.copy()

    return call


_BARE = {"tflite": _bare_tflite, "onnx": _bare_onnx, "openvino": _bare_openvino}


def _table(results: list[Overhead]) -> str:
    headers = ["engine", "threads", "Session.run", "bare engine", "ratio [95 %]", "µs longer"]
    headers.append(f"≤ {LIMIT} and {LIMIT_US:.0f} µs")
    rows = [
        [
            result.engine,
            str(result.threads),
            number(result.session_ms, 3),
            number(result.bare_ms, 3),
            str(result.ratio),
            with_interval(result.added_us, result.added_interval_us),
            "yes" if result.kept else "no",
        ]
        for result in results
    ]
    return render(headers, rows, "<>>>>>>")


if __name__ == "__main__":
    end(main)
