"""`edgenet run`: classify images with a bundle."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edgenet.cli import reach
from edgenet.cli.console import fail
from edgenet.errors import EdgenetError, UsageError

if TYPE_CHECKING:
    from edgenet.runtime import Prediction, Session, SessionInfo

HELP = "classify images with a bundle"
EXAMPLES = """\
  edgenet run lite0-int8 cat.jpg
  edgenet run lite0-int8 *.jpg --format onnx --top 3
  edgenet run lite0-int8 cat.jpg --threads 1 --json
  edgenet run lite0-fp32 cat.jpg --device gpu
"""


@dataclass(frozen=True)
class _Result:
    """One image's classes; `preprocess_ms` is decoding to resizing, `run_ms` the model."""

    image: str
    top: list[Prediction]
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
        "--threads", metavar="N", type=int, help="of the engine (default: one for each core)"
    )
    parser.add_argument(
        "--top", metavar="K", type=int, default=5, help="classes an image (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def run(args: argparse.Namespace) -> int:
    """Classifies each image; one that cannot be read does not stop the rest."""
    from edgenet.runtime import load

    if args.top < 1:
        raise UsageError(f"--top {args.top}: at least one class is needed")
    wanted = reach.of(args)
    with load(
        args.bundle,
        args.format,
        args.device,
        args.threads,
        engine=args.engine,
        delegate=wanted.delegate,
        delegate_options=wanted.options,
        allow_fallback=wanted.allow_fallback,
    ) as session:
        results, failures = _classify_all(session, args.images, args.top)
        print(
            _json(args.bundle, session.info, results) if args.json else _text(session.info, results)
        )
    if not failures:
        return 0
    return EdgenetError.exit_code if results else failures[0].exit_code


def _classify_all(
    session: Session, images: list[str], top: int
) -> tuple[list[_Result], list[EdgenetError]]:
    results, failures = [], []
    for image in images:
        try:
            results.append(_classify(session, image, top))
        except EdgenetError as error:
            failures.append(error)
            fail(str(error), error.exit_code)
    return results, failures


def _classify(session: Session, image: str, top: int) -> _Result:
    started = perf_counter()
    pixels = session.prepare(image)
    prepared = perf_counter()
    probabilities = session.probabilities(pixels)
    done = perf_counter()
    return _Result(
        image=image,
        top=session.rank(probabilities[0], top),
        preprocess_ms=round((prepared - started) * 1e3, 3),
        run_ms=round((done - prepared) * 1e3, 3),
    )


def _json(bundle: str, info: SessionInfo, results: list[_Result]) -> str:
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
    return json.dumps(document, indent=1)


def _entry(result: _Result, info: SessionInfo) -> dict[str, Any]:
    from edgenet.measure.speeds import split_times

    entry = asdict(result)
    return {**entry, **split_times(info.kind, {"run_ms": entry["run_ms"]})}


def _text(info: SessionInfo, results: list[_Result]) -> str:
    from edgenet.report.devices import elsewhere, slow

    notes = [info.delegate, f"threads {info.threads}"]
    if told := slow(info):
        notes.append(told)
    if not info.tells_speed:
        notes.append(f"{info.kind}: {info.device_name}")
    if info.elsewhere:
        notes.append(elsewhere(info))
    where = (
        f"{info.format} {info.precision} in {info.engine}, "
        f"ran on {info.device_used} ({', '.join(notes)})"
    )
    return "\n\n".join([where, *(_block(result, info) for result in results)])


def _block(result: _Result, info: SessionInfo) -> str:
    from edgenet.report.devices import BY
    from edgenet.report.table import render

    by = "" if info.tells_speed else f" by {BY[info.kind]}"
    title = (
        f"{result.image}: prepared in {result.preprocess_ms:.1f} ms, "
        f"run in {result.run_ms:.1f} ms{by}"
    )
    rows = [[p.label, str(p.index), f"{100 * p.probability:.1f} %"] for p in result.top]
    return f"{title}\n{render(['class', 'index', 'probability'], rows, '<>>')}"
