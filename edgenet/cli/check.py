"""`edgenet check`: the accuracy gate for CI."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgenet.bundle import REGRESSION, Bundle
from edgenet.cli import reach, reports
from edgenet.cli.console import say
from edgenet.cli.lists import values
from edgenet.errors import AccuracyError, UsageError

if TYPE_CHECKING:
    from edgenet.measure.evaluation import Images
    from edgenet.measure.limits import Limits
    from edgenet.measure.parity import Parity
    from edgenet.runtime import Session, SessionInfo

HELP = "compare a bundle with its fp32 reference; exit 3 where it lost too much"
EXAMPLES = """\
  edgenet check lite0-int8
  edgenet check lite0-int8 --evaluate photos --max-drop 0.5
  edgenet check lite0-int8 --evaluate photos --crop-fraction 1.0 --json > check.json
  edgenet check lite0-int8 --evaluate photos --baseline check.json --html check.html
  edgenet check lite0-fp32 --device gpu
"""

_CROPS = 256


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
    images.add_argument("--skip-damaged", action="store_true", help="leave damaged images out")
    parser.add_argument(
        "--format",
        type=values,
        metavar="F",
        help="one or more, separated by commas (default: all that can run)",
    )
    reach.add_arguments(parser)
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine")
    parser.add_argument(
        "--reference", metavar="BUNDLE", help="another bundle that holds the fp32 model"
    )
    _add_limits(parser.add_argument_group("limits"))
    reports.add_arguments(parser)


def _add_limits(limits: argparse._ArgumentGroup) -> None:
    limits.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="of top-1; needs labels (default: 1.0 where there are any; none where --baseline's "
        "file loses more)",
    )
    limits.add_argument(
        "--min-agreement",
        type=float,
        metavar="A",
        help="share 0..1 of equal top-1 (default: fp32 0.999, fp16 0.99, bf16, w8a16, w8 and "
        "dynamic 0.97, else 0.95; on crops: 0.999, 0.97, 0.92, 0.85; none with --max-drop, nor "
        "where --baseline's file keeps less)",
    )
    limits.add_argument(
        "--min-sqnr",
        type=float,
        metavar="DB",
        help="over the logits or values (default: fp32 80, else none)",
    )
    limits.add_argument(
        "--min-r2",
        type=float,
        metavar="R",
        help="of a regression: R² of its values by fp32's (default: as --min-agreement's)",
    )
    limits.add_argument(
        "--baseline",
        metavar="FILE",
        help="an earlier check --json: fail where a file lost more than 0.5 points of top-1 or of "
        "agreement, or 1 dB of SQNR, and more than chance explains (p < 0.01, image by image); on "
        "other images than the baseline's, where it lost that much at all",
    )


def run(args: argparse.Namespace) -> int:
    """Compares, prints the report, and returns 0, or 3 where a limit was not kept."""
    from edgenet.measure import check
    from edgenet.measure.opening import reference_bytes, reference_giver
    from edgenet.report import check as report
    from edgenet.report.document import dumps

    _require_sane(args)
    reports.require_places(args)
    bundle = Bundle.open(args.bundle)
    _require_of_task(args, bundle.manifest.task)
    baseline = _baseline(args, bundle.manifest.task)
    images = _images(args, bundle)
    with ExitStack() as stack:
        sessions, reference = _open(stack, args, bundle)
        twins = [_on_cpu(stack, args, bundle, session) for session in sessions]
        parity = _compare(args, reference, sessions, twins, images, baseline)
    parity.require_r2()
    size = reference_bytes(reference_giver(bundle, args.reference), reference)
    document = check.document(args.bundle, bundle, parity, images, size)
    unsure = check.judge(document, baseline, args.format).unsure if baseline else []
    # Whatever becomes of the files, what was measured is told.
    print(dumps(document) if args.json else report.text(document))
    _tell(document, unsure)
    # The table has it.
    if args.json and parity.doubt:
        say(parity.doubt)
    reports.write(args, partial(_page, document, images), partial(report.markdown, document))
    return 0 if document["passed"] else AccuracyError.exit_code


def _tell(document: Mapping[str, Any], unsure: Sequence[str]) -> None:
    """On stderr, what failed, what is worse and what may be, and the rule."""
    for result in document["results"]:
        for failure in result["failures"]:
            say(f"{result['format']} {result['precision']} failed: {failure}")
    if any(map(_settable, document["results"])):
        share = "--min-r2" if document["task"] == REGRESSION else "--min-agreement"
        told = "" if document["labels"] is None else "--max-drop, "
        say(f"what is allowed is set by {told}{share} and --min-sqnr")
    for regression in document["regressions"]:
        say(f"worse than the baseline: {regression}")
    for line in unsure:
        say(f"perhaps worse than the baseline, too few images to tell: {line}")
    if document["baseline"]:
        say(document["baseline"]["rule"])


def _settable(result: Mapping[str, Any]) -> bool:
    """Whether a file misses a limit that an option sets."""
    from edgenet.measure.limits import SETTABLE

    return any(failure.startswith(SETTABLE) for failure in result["failures"])


def _baseline(args: argparse.Namespace, task: str) -> Mapping[str, Any] | None:
    from edgenet.measure.baseline import read, require_comparable

    if args.baseline is None:
        return None
    baseline = read(args.baseline)
    require_comparable(baseline, task, args.format)
    return baseline


def _page(document: dict[str, Any], images: Images) -> str:
    from edgenet.report.html.check import page

    return page(document, images.pixels)


def _require_sane(args: argparse.Namespace) -> None:
    if args.images is not None and args.images < 1:
        raise UsageError(f"--images {args.images}: at least one image is needed")
    if args.min_agreement is not None and not 0 <= args.min_agreement <= 1:
        raise UsageError(
            f"--min-agreement {args.min_agreement}: a share lies between 0 and 1, as in 0.97"
        )
    if args.max_drop is not None and not (math.isfinite(args.max_drop) and args.max_drop >= 0):
        raise UsageError(f"--max-drop {args.max_drop}: it is a number of points, from 0")
    if args.min_r2 is not None and not args.min_r2 <= 1:
        raise UsageError(f"--min-r2 {args.min_r2}: it is at most 1, as in 0.97")
    if args.min_sqnr is not None and not math.isfinite(args.min_sqnr):
        raise UsageError(f"--min-sqnr {args.min_sqnr}: it is a number of decibels, as in 20")
    if args.crop_fraction is not None and args.evaluate is None:
        raise UsageError("--crop-fraction is for the images of --evaluate DIR: name the folder too")
    if args.skip_damaged and args.evaluate is None:
        raise UsageError("--skip-damaged is for the images of --evaluate DIR: name the folder too")


def _require_of_task(args: argparse.Namespace, task: str) -> None:
    """Refuses limits of what the bundle has not."""
    of_classes = {"--max-drop": args.max_drop, "--min-agreement": args.min_agreement}
    foreign, instead = {"--min-r2": args.min_r2}, "a classifier: take --max-drop or --min-agreement"
    if task == REGRESSION:
        foreign, instead = of_classes, "a regression: take --min-r2"
    for option, value in foreign.items():
        if value is not None:
            raise UsageError(f"there is nothing for {option} to limit, as the bundle is {instead}")


def _open(
    stack: ExitStack, args: argparse.Namespace, bundle: Bundle
) -> tuple[list[Session], Session]:
    from edgenet.measure.opening import open_formats, open_reference

    sessions = open_formats(
        stack, bundle, args.format, args.device, args.threads, on_missing=say, reach=reach.of(args)
    )
    return sessions, open_reference(stack, bundle, args.reference, args.threads)


def _on_cpu(
    stack: ExitStack, args: argparse.Namespace, bundle: Bundle, session: Session
) -> Session | None:
    """The same file in the same engine on the CPU; None where it runs there already."""
    from edgenet.runtime import load

    info = session.info
    if info.device_used == "cpu":
        return None
    return stack.enter_context(load(bundle, info.format, "cpu", args.threads, engine=info.engine))


def _images(args: argparse.Namespace, bundle: Bundle) -> Images:
    from edgenet.measure.evaluation import crops_of, folder_of

    spec = bundle.manifest.input
    if args.evaluate is None:
        images = crops_of(spec, args.images or _CROPS)
    else:
        if args.crop_fraction is not None:
            spec = replace(spec, crop_fraction=args.crop_fraction)
        skip = say if args.skip_damaged else None
        images = folder_of(bundle, spec, args.evaluate, args.images, skip)
    if args.max_drop is not None and not images.labelled:
        raise UsageError(
            f"--max-drop needs labels, and {images.source} have none: name a folder of class "
            "folders, or one with a labels.csv, with --evaluate, or leave --max-drop off"
        )
    return images


def _compare(
    args: argparse.Namespace,
    reference: Session,
    sessions: list[Session],
    twins: list[Session | None],
    images: Images,
    baseline: Mapping[str, Any] | None,
) -> Parity:
    from edgenet.measure.parity import compare
    from edgenet.report.progress import Progress

    with Progress("checking", images.count, "images") as progress:
        return compare(
            reference,
            sessions,
            images.recorded(),
            lambda info: _limits(args, info, baseline),
            progress.update,
            twins,
        )


def _limits(
    args: argparse.Namespace, info: SessionInfo, baseline: Mapping[str, Any] | None
) -> Limits:
    from edgenet.measure.baseline import missed
    from edgenet.measure.limits import Limits
    from edgenet.measure.parity import default_limits

    asked = Limits(args.max_drop, args.min_agreement, args.min_sqnr, min_r2=args.min_r2)
    defaults = default_limits(info, crops=args.evaluate is None)
    before = missed(baseline, info.format, info.device_used, defaults) if baseline else ()
    return defaults.given(asked, before)
