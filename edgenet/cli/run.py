"""`edgenet run`: what a bundle answers to images, classes or values."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edgenet.bundle import REGRESSION
from edgenet.cli import reach
from edgenet.cli.console import fail
from edgenet.errors import EdgenetError, UsageError

if TYPE_CHECKING:
    from edgenet.runtime import Prediction, Session, SessionInfo, Value

HELP = "classify images with a bundle, or tell a regression's values"
EXAMPLES = """\
  edgenet run lite0-int8 cat.jpg
  edgenet run lite0-int8 *.jpg --format onnx --top 3
  edgenet run lite0-int8 cat.jpg --threads 1 --json
  edgenet run lite0-fp32 cat.jpg --device gpu
"""

_TOP = 5


@dataclass(frozen=True)
class _Result:
    """One image's classes, the best first, or values; None of what the bundle does not tell.

    `preprocess_ms` is decoding to resizing, `run_ms` the model.
    """

    image: str
    top: list[Prediction] | None
    values: list[Value] | None
    preprocess_ms: float
    run_ms: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's options."""
    parser.add_argument("bundle", metavar="BUNDLE", help="a folder that edgenet convert wrote")
    parser.add_argument("images", metavar="IMAGE", nargs="+", help="photos of any size")
    parser.add_argument(
        "--format",
        metavar="F",
        help="tflite, onnx or openvino (default: the first whose engine is installed)",
    )
    parser.add_argument(
        "--engine",
        metavar="E",
        help="litert, tflite-runtime, onnxruntime or openvino (default: the first installed)",
    )
    reach.add_arguments(parser)
    parser.add_argument(
        "--threads",
        metavar="N",
        type=int,
        help="threads of the engine (default: one for each physical core)",
    )
    parser.add_argument(
        "--top", metavar="K", type=int, help=f"classes to name per image (default: {_TOP})"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Answers to each image; one that cannot be read does not stop the rest."""
    from edgenet.runtime import load

    if args.top is not None and args.top < 1:
        raise UsageError(f"--top {args.top}: at least one class is needed")
    with load(
        args.bundle, args.format, threads=args.threads, engine=args.engine, **reach.asked(args)
    ) as session:
        if args.top is not None and session.info.task == REGRESSION:
            raise UsageError("--top is for classes, and the bundle is a regression: leave it off")
        failures: list[EdgenetError] = []
        results = _answers(session, args.images, args.top or _TOP, failures)
        if args.json:
            print(_json(args.bundle, session.info, list(results)))
        else:
            print(_where(session.info), flush=True)
            for result in results:
                print(f"\n{_block(result, session.info)}", flush=True)
    if not failures:
        return 0
    some = len(failures) < len(args.images)
    return EdgenetError.exit_code if some else failures[0].exit_code


def _answers(
    session: Session, images: list[str], top: int, failures: list[EdgenetError]
) -> Iterator[_Result]:
    """One by one; what goes wrong with an image is told and joins `failures`."""
    for image in images:
        try:
            yield _answer(session, image, top)
        except EdgenetError as error:
            failures.append(error)
            fail(str(error), error.exit_code)


def _answer(session: Session, image: str, top: int) -> _Result:
    regression = session.info.task == REGRESSION
    run = session.run if regression else session.probabilities
    started = perf_counter()
    pixels = session.prepare(image)
    prepared = perf_counter()
    answer = run(pixels)[0]
    done = perf_counter()
    return _Result(
        image=image,
        top=None if regression else session.rank(answer, top),
        values=session.named(answer) if regression else None,
        preprocess_ms=round((prepared - started) * 1e3, 3),
        run_ms=round((done - prepared) * 1e3, 3),
    )


def _json(bundle: str, info: SessionInfo, results: list[_Result]) -> str:
    from edgenet.report.document import dumps

    document: dict[str, Any] = {
        "bundle": bundle,
        "format": info.format,
        "engine": info.engine,
        "device": info.device,
        "device_used": info.device_used,
        "delegate": info.delegate,
        "kind": info.kind,
        "device_name": info.device_name,
        "delegated_fraction": info.delegated_fraction,
        "time_elsewhere": info.time_elsewhere,
        "elsewhere": [asdict(placement) for placement in info.elsewhere],
        "results": [_entry(result, info) for result in results],
    }
    return dumps(document)


def _entry(result: _Result, info: SessionInfo) -> dict[str, Any]:
    from edgenet.measure.speeds import split_times

    entry = {key: found for key, found in asdict(result).items() if found is not None}
    return {**entry, **split_times(info.kind, {"run_ms": entry["run_ms"]})}


def _where(info: SessionInfo) -> str:
    from edgenet.report.devices import elsewhere, slow

    notes = [info.delegate, f"threads {info.threads}"]
    if told := slow(info):
        notes.append(told)
    if not info.tells_speed:
        notes.append(f"{info.kind}: {info.device_name}")
    if info.elsewhere:
        notes.append(elsewhere(info))
    return (
        f"{info.format} {info.precision} in {info.engine}, "
        f"ran on {info.device_used} ({', '.join(notes)})"
    )


def _block(result: _Result, info: SessionInfo) -> str:
    from edgenet.report.devices import BY
    from edgenet.report.table import render

    by = "" if info.tells_speed else f" by {BY[info.kind]}"
    title = (
        f"{result.image}: prepared in {result.preprocess_ms:.1f} ms, "
        f"run in {result.run_ms:.1f} ms{by}"
    )
    if result.values is not None:
        rows = [[found.label, str(found.index), f"{found.value:.4g}"] for found in result.values]
        return f"{title}\n{render(['name', 'index', 'value'], rows, '<>>')}"
    rows = [[p.label, str(p.index), f"{100 * p.probability:.1f} %"] for p in result.top or ()]
    return f"{title}\n{render(['class', 'index', 'probability'], rows, '<>>')}"
