"""`edgenet check`: the accuracy gate for CI."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgenet.bundle import REGRESSION
from edgenet.cli import reach, reports
from edgenet.cli.console import say
from edgenet.cli.lists import values
from edgenet.errors import AccuracyError
from edgenet.measure.defaults import CROPS

if TYPE_CHECKING:
    from edgenet.measure.check import Checked

HELP = "compare a bundle with its fp32 reference; exit 3 where it lost too much"
EXAMPLES = """\
  edgenet check lite0-int8
  edgenet check lite0-int8 --evaluate photos --max-drop 0.5
  edgenet check lite0-int8 --evaluate photos --crop-fraction 1.0 --json > check.json
  edgenet check lite0-int8 --evaluate photos --baseline check.json --html check.html
  edgenet check lite0-fp32 --device gpu
"""


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
        "--crop-fraction",
        type=float,
        metavar="F",
        help="the central part of a photo that is used; 1.0 = no crop (default: the bundle's)",
    )
    images.add_argument(
        "--images",
        type=_count,
        metavar="N",
        help=f"how many images to use (default: all of DIR, or {CROPS} crops)",
    )
    images.add_argument("--skip-damaged", action="store_true", help="leave damaged images out")
    parser.add_argument(
        "--format",
        type=values,
        metavar="F",
        help="tflite, onnx, openvino, or several separated by commas (default: all that can run)",
    )
    reach.add_arguments(parser)
    parser.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="threads of the engine (default: one for each physical core)",
    )
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
        help="points of top-1 that a file may lose; needs labels (default: 1.0 where there are "
        "labels; none where --baseline's file loses more)",
    )
    limits.add_argument(
        "--min-agreement",
        type=float,
        metavar="A",
        help="least share 0..1 of images with fp32's top-1 (default: 0.999 for fp32, 0.99 for "
        "fp16, 0.97 for bf16, w8a16, w8 and dynamic, 0.95 for int8 and int8-mixed; on crops 0.999, "
        "0.97, 0.92 and 0.85; none with --max-drop, nor where --baseline's file keeps less)",
    )
    limits.add_argument(
        "--min-sqnr",
        type=float,
        metavar="DB",
        help="least SQNR in dB, over the logits or values (default: 80 for fp32, else none)",
    )
    limits.add_argument(
        "--min-r2",
        type=float,
        metavar="R",
        help="of a regression, the least R² by fp32's values (default: as for --min-agreement)",
    )
    limits.add_argument(
        "--baseline",
        metavar="FILE",
        help="an earlier check --json: fail where a file has since lost more than 0.5 points of "
        "top-1 or of agreement, 1 dB of SQNR or, of a regression, 0.005 of R², and more than "
        "chance explains (p < 0.01, image by image); on other images than the baseline's, fail "
        "where it has lost that much at all",
    )


def _count(text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        told = f"{text!r} is not how many; a folder of images is named with --evaluate"
        raise argparse.ArgumentTypeError(told) from error


def run(args: argparse.Namespace) -> int:
    """Compares, prints the report, and returns 0, or 3 where a limit was not kept."""
    from edgenet.measure.check import check
    from edgenet.report import check as report
    from edgenet.report.document import dumps
    from edgenet.report.progress import Steps

    reports.require_places(args)
    place = reach.asked(args)
    with Steps() as steps:
        checked = check(
            args.bundle,
            evaluate=args.evaluate,
            images=args.images,
            crop_fraction=args.crop_fraction,
            skip_damaged=args.skip_damaged,
            formats=args.format,
            **place,
            threads=args.threads,
            reference=args.reference,
            max_drop=args.max_drop,
            min_agreement=args.min_agreement,
            min_sqnr=args.min_sqnr,
            min_r2=args.min_r2,
            baseline=args.baseline,
            report=say,
            progress=steps.update,
        )
    document = checked.document
    # Whatever becomes of the files, what was measured is told.
    print(dumps(document) if args.json else report.text(document))
    _tell(document, checked.unsure)
    # The table has it.
    if args.json and document["doubt"]:
        say(document["doubt"])
    reports.write(args, partial(_page, checked), partial(report.markdown, document))
    return 0 if checked.passed else AccuracyError.exit_code


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


def _page(checked: Checked) -> str:
    from edgenet.report.html.check import page

    return page(checked.document, checked.images.pixels)
