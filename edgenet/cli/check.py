"""`edgenet check`: the accuracy gate for CI."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from edgenet.bundle import Bundle, InputSpec
from edgenet.errors import AccuracyError, UsageError

if TYPE_CHECKING:
    from edgenet.images import Batch, Pixels
    from edgenet.measure.limits import Limits
    from edgenet.measure.parity import Parity, Result
    from edgenet.runtime import Session

HELP = "compare a bundle with its fp32 reference; exit 3 where it lost too much"
EXAMPLES = """\
  edgenet check lite0-int8
  edgenet check lite0-int8 --evaluate photos --max-drop 0.5
  edgenet check lite0-int8 --evaluate photos --crop-fraction 1.0 --json > check.json
"""

_CHUNK = 16
_CROPS = 256


@dataclass(frozen=True)
class _Images:
    """What to compare on: `count` images, in batches, and where they come from."""

    batches: Iterator[Batch]
    count: int
    source: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("bundle", metavar="BUNDLE", help="the folder that convert wrote")
    images = parser.add_argument_group("images")
    images.add_argument(
        "--evaluate",
        metavar="DIR",
        help="a folder of images, of class folders, or with a labels.csv "
        "(default: crops of scikit-image's photographs)",
    )
    images.add_argument(
        "--crop-fraction", type=float, metavar="F", help="1.0 = no crop (default: the bundle's)"
    )
    images.add_argument(
        "--images",
        type=int,
        metavar="N",
        help=f"use N of them (default: all of DIR, or {_CROPS} crops)",
    )
    parser.add_argument(
        "--format", metavar="F", help="one or more, separated by commas (default: all that can run)"
    )
    parser.add_argument("--device", default="cpu", metavar="D", help="where to run (default: cpu)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine")
    parser.add_argument(
        "--reference", metavar="BUNDLE", help="another bundle that holds the fp32 model"
    )
    _add_limits(parser.add_argument_group("limits"))
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    limits.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="of top-1, where there are labels (default: 1.0)",
    )
    limits.add_argument(
        "--min-agreement",
        type=float,
        metavar="A",
        help="share 0..1 of equal top-1 (default: fp32 0.999, fp16 0.99, else 0.95; "
        "on crops: 0.999, 0.97, 0.85)",
    )
    limits.add_argument(
        "--min-sqnr", type=float, metavar="DB", help="over the logits (default: none)"
    )


def run(args: argparse.Namespace) -> int:
    """Compares, prints the report, and returns 0, or 3 where a limit was not kept."""
    _require_sane(args)
    bundle = Bundle.open(args.bundle)
    with ExitStack() as stack:
        sessions, reference = _open(stack, args, bundle)
        spec = bundle.manifest.input
        images = _crops(args, spec) if args.evaluate is None else _folder(args, spec)
        parity = _compare(args, reference, sessions, images)
    if args.json:
        print(json.dumps(_document(args.bundle, parity), indent=1, allow_nan=False))
    else:
        print(_table(parity, images.source))
    for result in parity.results:
        for failure in result.failures:
            _say(f"{result.info.format} {result.info.precision} failed: {failure}")
    return 0 if parity.passed else AccuracyError.exit_code


def _require_sane(args: argparse.Namespace) -> None:
    if args.images is not None and args.images < 1:
        raise UsageError(f"--images {args.images}: at least one image is needed")
    if args.min_agreement is not None and not 0 <= args.min_agreement <= 1:
        raise UsageError(
            f"--min-agreement {args.min_agreement}: a share lies between 0 and 1, as in 0.97"
        )
    if args.crop_fraction is not None and args.evaluate is None:
        raise UsageError("--crop-fraction is for the images of --evaluate DIR: name the folder too")


def _open(
    stack: ExitStack, args: argparse.Namespace, bundle: Bundle
) -> tuple[list[Session], Session]:
    from edgenet.measure.opening import open_formats, open_reference

    formats = args.format.split(",") if args.format else None
    sessions = open_formats(stack, bundle, formats, args.device, args.threads, on_missing=_say)
    return sessions, open_reference(stack, bundle, args.reference, args.threads)


def _folder(args: argparse.Namespace, spec: InputSpec) -> _Images:
    from edgenet.images import ImageFolder

    folder = ImageFolder.open(args.evaluate)
    if args.images is not None:
        folder = folder.sample(args.images)
    if args.crop_fraction is not None:
        spec = replace(spec, crop_fraction=args.crop_fraction)
    return _Images(folder.batches(spec, _CHUNK), len(folder), args.evaluate)


def _crops(args: argparse.Namespace, spec: InputSpec) -> _Images:
    from edgenet.photographs import crops

    count = args.images or _CROPS
    batches = _batches(crops(count, *spec.shape[1:3]))
    return _Images(batches, count, "crops of scikit-image's photographs")


def _batches(images: Iterator[Pixels]) -> Iterator[Batch]:
    import numpy as np

    from edgenet.images import Batch

    while part := list(islice(images, _CHUNK)):
        yield Batch(np.stack(part), names=(), labels=None)


def _compare(
    args: argparse.Namespace, reference: Session, sessions: list[Session], images: _Images
) -> Parity:
    from edgenet.measure.parity import compare
    from edgenet.report.progress import Progress

    with Progress("checking", images.count, "images") as progress:
        return compare(
            reference, sessions, images.batches, lambda p: _limits(args, p), progress.update
        )


def _limits(args: argparse.Namespace, precision: str) -> Limits:
    from edgenet.measure.limits import Limits

    names = ("max_drop", "min_agreement", "min_sqnr")
    asked = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    return replace(Limits.of(precision, crops=args.evaluate is None), **asked)


def _document(bundle: str, parity: Parity) -> dict[str, Any]:
    return {
        "bundle": bundle,
        "reference": {"precision": parity.reference.precision, "top1": parity.reference_top1},
        "images": parity.images,
        "results": [_entry(result) for result in parity.results],
        "cross_agreement": [
            {"formats": list(pair.formats), "agreement": pair.agreement}
            for pair in parity.cross_agreement
        ],
        "passed": parity.passed,
    }


def _entry(result: Result) -> dict[str, Any]:
    info, fidelity = result.info, result.fidelity
    drop = fidelity.drop
    return {
        "format": info.format,
        "precision": info.precision,
        "device": info.device,
        "device_used": info.device_used,
        "top1": fidelity.top1,
        "drop_points": fidelity.drop_points,
        "drop_interval": list(drop.interval) if drop else None,
        "mcnemar_p": drop.mcnemar_p if drop else None,
        "agreement": fidelity.agreement,
        "sqnr_db": fidelity.sqnr_db,
        "max_error": fidelity.max_error,
        "cosine": fidelity.cosine,
        "kl": fidelity.kl,
        "p50_ms": result.p50_ms,
        "passed": result.passed,
        "failures": list(result.failures),
    }


def _table(parity: Parity, source: str) -> str:
    from edgenet.report.cells import number, percent
    from edgenet.report.table import render

    headers = [
        "format",
        "precision",
        "ran on",
        "top-1",
        "drop (points, 95 %)",
        "agreement",
        "SQNR dB",
    ]
    headers += ["max error", "p50 ms", "passed"]
    reference = ["reference", parity.reference.precision, parity.reference.device_used]
    reference += [percent(parity.reference_top1), *["–"] * 5, ""]
    rows = [reference, *(_row(result) for result in parity.results)]
    pairs = ", ".join(
        f"{' and '.join(pair.formats)} {number(pair.agreement, 4)}"
        for pair in parity.cross_agreement
    )
    closing = f"\nagreement between formats: {pairs}" if pairs else ""
    return f"{parity.images} images of {source}\n{render(headers, rows, '<<<>>>>>><')}{closing}"


def _row(result: Result) -> list[str]:
    from edgenet.report.cells import number, percent

    info, fidelity = result.info, result.fidelity
    return [
        info.format,
        info.precision,
        f"{info.device_used} ({info.engine})",
        percent(fidelity.top1),
        _drop_cell(result),
        number(fidelity.agreement, 4),
        "∞" if fidelity.sqnr_db is None else number(fidelity.sqnr_db, 1),
        f"{fidelity.max_error:.2g}",
        number(result.p50_ms),
        "yes" if result.passed else "no",
    ]


def _drop_cell(result: Result) -> str:
    drop = result.fidelity.drop
    if drop is None:
        return "–"
    low, high = drop.interval
    return f"{drop.points:.2f} ({low:.2f}..{high:.2f})"


def _say(message: str) -> None:
    print(f"edgenet: {message}", file=sys.stderr)
