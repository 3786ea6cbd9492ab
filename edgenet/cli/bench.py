"""`edgenet bench`: how fast bundles are on this machine."""

from __future__ import annotations

import argparse
from functools import partial
from typing import Any

from edgenet.cli import reach, reports
from edgenet.cli.console import say
from edgenet.cli.lists import values
from edgenet.measure.defaults import MIN_TIME, RUNS

HELP = "time bundles: percentiles, load and first run, peak memory"
EXAMPLES = """\
  edgenet bench lite0-int8
  edgenet bench lite0-fp32 lite0-int8 --threads 1,2 --html bench.html
  edgenet bench lite0-int8 --batch 1,4,8
  edgenet bench lite0-int8 --profile
  edgenet bench lite0-int8 --format tflite,onnx --json > bench.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "bundles",
        metavar="BUNDLE",
        nargs="+",
        help="folders that convert wrote; the others are compared with the first",
    )
    parser.add_argument(
        "--format",
        type=values,
        metavar="F",
        help="tflite, onnx, openvino, or several separated by commas (default: all that can run)",
    )
    reach.add_arguments(parser)
    parser.add_argument(
        "--threads",
        type=_counts,
        metavar="N",
        help="threads of the engine (default: one for each physical core); 1,2 measures both",
    )
    parser.add_argument(
        "--batch",
        type=_counts,
        metavar="N",
        help="images a run (default: what convert fixed in the file); 1,4,8 measures all three; "
        "some GPUs and NPUs keep the file's own",
    )
    parser.add_argument(
        "--image", metavar="FILE", help="a photo to run on (default: a made-up one)"
    )
    parser.add_argument(
        "--end-to-end",
        action="store_true",
        help="also time the photo from its bytes to its label: decode, resize, run, rank",
    )
    parser.add_argument(
        "--streams",
        type=int,
        metavar="N",
        help="also measure images/s in N streams of one thread: the engine's own queue where it "
        "has one that pays (OpenVINO), else a session each",
    )
    parser.add_argument(
        "--profile",
        action="store_true",
        help="also time each operator, and say what limits the speed",
    )
    _add_effort(parser.add_argument_group("how long"))
    reports.add_arguments(parser)


def _add_effort(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--runs",
        type=int,
        metavar="N",
        help=f"fewest timed runs of each file (default: {RUNS}, or what --percentile takes)",
    )
    group.add_argument(
        "--min-time",
        type=float,
        default=MIN_TIME,
        metavar="S",
        help=f"shortest time to spend on each file, in seconds (default: {MIN_TIME:g})",
    )
    group.add_argument(
        "--percentile",
        type=int,
        metavar="P",
        help="run often enough for this percentile, 50, 90, 95 or 99; p99 takes 368 runs and is "
        "left out where there are fewer",
    )


def run(args: argparse.Namespace) -> int:
    """Times all bundles in all formats, in turns, and prints the report."""
    from edgenet.measure.bench import bench
    from edgenet.report.progress import Steps

    reports.require_places(args)
    place = reach.asked(args)
    with Steps() as steps:
        document = bench(
            *args.bundles,
            formats=args.format,
            **place,
            threads=args.threads,
            batch=args.batch,
            image=args.image,
            end_to_end=args.end_to_end,
            streams=args.streams,
            profile=args.profile,
            runs=args.runs,
            min_time=args.min_time,
            percentile=args.percentile,
            report=say,
            progress=steps.update,
        )
    _report(args, document)
    return 0


def _report(args: argparse.Namespace, document: dict[str, Any]) -> None:
    from edgenet.report import bench
    from edgenet.report.document import dumps

    # Whatever becomes of the files, what was measured is told.
    print(dumps(document) if args.json else bench.text(document))
    reports.write(args, partial(_page, document), partial(bench.markdown, document))


def _page(document: dict[str, Any]) -> str:
    from edgenet.report.html.bench import page

    return page(document)


def _counts(text: str) -> tuple[int, ...]:
    """For argparse: whole numbers from 1, separated by commas."""
    parts = values(text)
    if not all(part.isdecimal() and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r}: whole numbers from 1, separated by commas")
    return tuple(dict.fromkeys(map(int, parts)))
