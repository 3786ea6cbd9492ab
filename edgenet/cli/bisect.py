"""`edgenet bisect`: which operators of an int8 file cost the accuracy."""

from __future__ import annotations

import argparse
import math
import shlex
from collections.abc import Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenet.bundle import Bundle, InputSpec, Manifest
from edgenet.cli.console import say
from edgenet.errors import MissingExtraError, UsageError

if TYPE_CHECKING:
    from converters.bisection.bisect import Findings
    from converters.bisection.opening import Pair
    from edgenet.images import Pixels

HELP = "find the operators of an int8 file that cost the accuracy"
EXAMPLES = """\
  edgenet bisect b0-int8 --images photos
  edgenet bisect b0-int8 --format onnx --images photos --goal-agreement 0.98 --json
  edgenet bisect int8.tflite --reference float.tflite --images photos --preprocess torch"""

_IMAGES = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "bundle", metavar="BUNDLE", help="the folder that convert wrote, or an int8 file"
    )
    parser.add_argument(
        "--format",
        metavar="F",
        help="tflite, onnx or openvino (default: the bundle's first that can be bisected here)",
    )
    parser.add_argument(
        "--reference",
        metavar="FLOAT",
        help="the float file, or a bundle with one (default: the bundle's own)",
    )
    images = parser.add_argument_group("images")
    images.add_argument(
        "--images",
        metavar="DIR",
        help="a folder of images, no labels needed (default: crops of scikit-image's photographs)",
    )
    images.add_argument(
        "--count",
        type=int,
        default=_IMAGES,
        metavar="N",
        help="how many images to use (default: %(default)s)",
    )
    images.add_argument("--skip-damaged", action="store_true", help="leave damaged images out")
    images.add_argument(
        "--crop-fraction",
        type=float,
        metavar="F",
        help="the central part of a photo that is used; 1.0 = no crop (default: the bundle's)",
    )
    images.add_argument(
        "--preprocess",
        metavar="NAME",
        help="how a file without a bundle wants its pixels prepared: raw, unit, tf, torch or lite",
    )
    _add_goal(parser.add_argument_group("what counts as restored (both must hold)"))
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _add_goal(goal: argparse._ArgumentGroup) -> None:
    goal.add_argument(
        "--goal-agreement",
        type=float,
        default=0.99,
        metavar="A",
        help="least share 0..1 of images with the float file's top-1; of a regression, the least "
        "R² by its values (default: %(default)s)",
    )
    goal.add_argument(
        "--goal-sqnr",
        type=float,
        default=20.0,
        metavar="DB",
        help="least SQNR in dB, over the logits or values (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Bisects and prints the report."""
    _require_sane(args)
    try:
        from converters.bisection import report
        from converters.bisection.bisect import bisect
        from converters.bisection.search import Goal
    except ModuleNotFoundError as error:
        raise MissingExtraError.of_host("bisecting", error) from error
    from edgenet.report.document import dumps
    from edgenet.report.progress import Steps

    pair = _opened(args)
    images = _images(args, pair.input)
    goal = Goal(args.goal_agreement, args.goal_sqnr)
    with Steps() as steps:
        findings = bisect(pair.network, pair.reference, images, goal, steps.update, pair.rescaled)
    if not findings.restored.reached:
        say(
            "even with every operator in float the goal is missed, as weights stay rounded: this "
            "is the smallest set that gives as much as all of them"
        )
    if args.json:
        print(dumps(report.document(args.bundle, pair.format, findings)))
    else:
        source = args.images or "crops of scikit-image's photographs"
        print(report.text(findings, source, _command(pair, findings)))
    return 0


def _require_sane(args: argparse.Namespace) -> None:
    from edgenet.preparing import require_way

    if args.count < 1:
        raise UsageError(f"--count {args.count}: at least one image is needed")
    if not 0 <= args.goal_agreement <= 1:
        raise UsageError(
            f"--goal-agreement {args.goal_agreement}: a share lies between 0 and 1, as in 0.99"
        )
    if not math.isfinite(args.goal_sqnr):
        raise UsageError(f"--goal-sqnr {args.goal_sqnr}: a number of dB is needed, as in 20")
    require_way(args.crop_fraction)
    if args.crop_fraction is not None and args.images is None:
        raise UsageError("--crop-fraction is for the photos of --images DIR: name the folder too")
    if args.skip_damaged and args.images is None:
        raise UsageError("--skip-damaged is for the photos of --images DIR: name the folder too")


def _opened(args: argparse.Namespace) -> Pair:
    from converters.bisection.opening import NAMES, open_bundle, open_files

    path = Path(args.bundle)
    if path.is_dir():
        if args.preprocess is not None:
            raise UsageError("--preprocess is for a file without a bundle: leave it out")
        pair = open_bundle(Bundle.open(path), args.format, args.reference)
        if pair.passed_over:
            others = " and ".join(NAMES[format] for format in pair.passed_over)
            say(f"bisecting the {NAMES[pair.format]} file: what {others} needs is not installed")
        return pair
    if args.format is not None:
        raise UsageError("--format chooses among a bundle's files: leave it out")
    return open_files(path, args.reference, args.preprocess)


def _images(args: argparse.Namespace, spec: InputSpec) -> Pixels:
    import numpy as np

    from edgenet.images import ImageFolder
    from edgenet.photographs import crops

    if args.images is None:
        try:
            return np.stack(list(crops(args.count, *spec.shape[1:3])))
        except MissingExtraError as error:
            raise MissingExtraError(
                "name a folder of images with --images DIR; taking crops of scikit-image's "
                "photographs instead",
                error.extra,
                error.install,
            ) from error
    if args.crop_fraction is not None:
        spec = replace(spec, crop_fraction=args.crop_fraction)
    folder = ImageFolder.open(args.images).sample(args.count)
    skip = say if args.skip_damaged else None
    (batch,) = islice(folder.batches(spec, len(folder), skip), 1)
    return batch.images


def _command(pair: Pair, findings: Findings) -> str | None:
    """The command that converts the bundle's model again with the layers found in float too.

    None for files without a bundle, where nothing need return to float, and where the bundle's
    target runs no float operators beside int8.
    """
    if pair.bundle is None or not findings.layers or not _mixes(pair.bundle.manifest.target):
        return None
    manifest = pair.bundle.manifest
    source = manifest.source
    # What was handed over in memory has a name, but no file.
    model = str(source.get("variant") or source.get("file") or "MODEL")
    layers = ",".join(dict.fromkeys((*_floats(manifest, pair.format), *findings.layers)))
    return shlex.join(["edgenet", "convert", model, "--int8", "--keep-float", layers])


def _mixes(target: Mapping[str, Any] | None) -> bool:
    """Whether a target of a manifest, as far as it is known, runs int8 with operators in float."""
    from converters.targets import TARGETS

    if target is None:
        return True
    known = TARGETS.get(target["name"])
    return known is not None and "int8-mixed" in known.precisions


def _floats(manifest: Manifest, format: str) -> list[str]:
    """The layers that are in float already, without the "/..." of what rewrites added to them."""
    from converters.scheme.recipe import Recipe

    if manifest.recipe is None:
        return []
    names = Recipe.from_json(manifest.recipe).of(format).float_operators
    return sorted({name.partition("/")[0] for name in names})
