"""`edgenet run`: classify images with a bundle."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any

from edgenet.errors import EdgenetError, UsageError

if TYPE_CHECKING:
    from edgenet.runtime import Prediction, Session, SessionInfo

HELP = "classify images with a bundle"
EXAMPLES = """\
  edgenet run lite0-int8 cat.jpg
  edgenet run lite0-int8 *.jpg --format onnx --top 3
  edgenet run lite0-int8 cat.jpg --threads 1 --json
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
    parser.add_argument(
        "--device", metavar="D", default="cpu", help="cpu or auto (default: %(default)s)"
    )
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
    with load(args.bundle, args.format, args.device, args.threads, engine=args.engine) as session:
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
    from edgenet.cli.main import fail

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
        "results": [asdict(result) for result in results],
    }
    return json.dumps(document, indent=1)


def _text(info: SessionInfo, results: list[_Result]) -> str:
    where = (
        f"{info.format} {info.precision} in {info.engine} {info.engine_version or ''}, "
        f"ran on {info.device_used} ({info.delegate}, threads {info.threads})"
    )
    return "\n\n".join([where, *(_block(result) for result in results)])


def _block(result: _Result) -> str:
    from edgenet.report.table import render

    title = (
        f"{result.image}: prepared in {result.preprocess_ms:.1f} ms, run in {result.run_ms:.1f} ms"
    )
    rows = [[p.label, str(p.index), f"{100 * p.probability:.1f} %"] for p in result.top]
    return f"{title}\n{render(['class', 'index', 'probability'], rows, '<>>')}"
