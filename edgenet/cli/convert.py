"""`edgenet convert`: from a Keras EfficientNet to a bundle of verified files."""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from edgenet.bundle import CLASSIFICATION, FORMATS, PRECISIONS, TASKS, Bundle
from edgenet.cli.console import say
from edgenet.cli.lists import values
from edgenet.errors import MissingExtraError

if TYPE_CHECKING:
    from edgenet.runtime import Session

HELP = "write a verified bundle from a Keras EfficientNet"
EXAMPLES = """\
  edgenet convert --int8                                   Lite0 with its published weights
  edgenet convert my.keras --int8 --calibration photos/ --labels classes.txt -o my-int8
  edgenet convert my.keras --int8 --evaluate test/ --max-drop 0.5
  edgenet convert my.keras --int8 --keep-float stem_conv,'block1a_*'
  edgenet convert my.keras --target ethos-u85-256 --calibration photos/
  edgenet convert b0 --weights efficientnetb0.weights.h5 --precision fp16 --to onnx
"""

_BENCH_RUNS = 50
_BENCH_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        nargs="?",
        default="lite0",
        help="a variant (b0..b7, lite0..lite4), a .keras or .h5 file or the folder of Keras 2's "
        "SavedModel (default: lite0)",
    )
    parser.add_argument(
        "-o", "--output", metavar="BUNDLE", help="the folder to write (default: MODEL-PRECISION)"
    )
    precision = parser.add_mutually_exclusive_group()
    precision.add_argument(
        "--int8",
        dest="precision",
        action="store_const",
        const="int8",
        help="short for --precision int8",
    )
    precision.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="how weights and activations are stored and computed (default: what --target "
        "takes, else fp32)",
    )
    parser.add_argument(
        "--target",
        metavar="T",
        help="where it will run, which chooses precision, formats and arrangement and calls the "
        "compiler: cpu-x86, cpu-arm, gpu, intel-npu, qualcomm[:SM8450|SM8550|SM8650|SM8750], "
        "ethos-u55-{32..256}, ethos-u65-{256,512} or ethos-u85-{128..2048}",
    )
    parser.add_argument(
        "--to",
        type=values,
        metavar="F,...",
        help=f"{', '.join(FORMATS)}, or several separated by commas (default: all that have the "
        "precision)",
    )
    _add_model(parser.add_argument_group("the model"))
    _add_images(parser.add_argument_group("images"))
    _add_method(parser.add_argument_group("int8"))
    parser.add_argument("--json", action="store_true", help="print one JSON document")


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--weights", metavar="FILE", help="an .h5 file of weights for a variant")
    group.add_argument(
        "--download", action="store_true", help="let keras.applications fetch a variant's weights"
    )
    group.add_argument(
        "--head",
        metavar="NAME",
        help="the output to convert, of a model that has several: its name, or its number from 0",
    )
    group.add_argument(
        "--task",
        choices=TASKS,
        default=CLASSIFICATION,
        help="regression where the outputs are values, not classes (default: %(default)s)",
    )
    group.add_argument(
        "--labels", metavar="FILE", help="a file of the names of the classes, or values, one a line"
    )
    group.add_argument(
        "--preprocess",
        metavar="NAME",
        help="how pixels were prepared for training, for a model that does not do it itself: raw, "
        "unit, tf, torch or lite",
    )
    group.add_argument(
        "--input-size",
        type=int,
        metavar="N",
        help="height and width in pixels, for a model that leaves them open",
    )
    group.add_argument(
        "--batch", type=int, default=1, metavar="N", help="images a run (default: 1)"
    )


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--calibration",
        metavar="DIR",
        help="a folder of images that set the ranges (default: crops of scikit-image's "
        "photographs)",
    )
    group.add_argument(
        "--calibration-images",
        type=int,
        metavar="N",
        help="how many of them (default: 128; 27 with --effort fast)",
    )
    group.add_argument("--skip-damaged", action="store_true", help="leave damaged images out")
    group.add_argument(
        "--evaluate", metavar="DIR", help="a folder of labelled images to judge the result on"
    )
    group.add_argument(
        "--crop-fraction",
        type=float,
        metavar="F",
        help="the central part of a photo that is used; 1.0 = no crop (default: the variant's own, "
        "1.0 for a file)",
    )
    group.add_argument(
        "--interpolation",
        metavar="NAME",
        help="how photos are resized, as in training: tf-bilinear (tf.image.resize and "
        "image_dataset_from_directory), bilinear or bicubic (antialiased, as in Pillow and "
        "torchvision) (default: the variant's own, tf-bilinear for a file)",
    )


def _add_method(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max-drop",
        type=float,
        metavar="POINTS",
        help="points of top-1 that may be lost: where int8 loses more, operators return to float, "
        "or all becomes w8 or fp16 (for OpenVINO alone, bf16); other precisions fail",
    )
    group.add_argument(
        "--min-r2",
        type=float,
        metavar="R",
        help="with --task regression, in place of --max-drop: the least R² by fp32's values",
    )
    group.add_argument(
        "--strict",
        action="store_true",
        help="with --max-drop or --min-r2: int8 throughout, or fail",
    )
    group.add_argument(
        "--keep-float",
        type=values,
        metavar="LAYER,...",
        default=[],
        help="layers that stay in float, in every format, by the names that bisect tells or "
        "patterns as in 'block2a_*'; int8 becomes int8-mixed",
    )
    group.add_argument(
        "--effort",
        metavar="NAME",
        help="how long to search: fast, in about a third of the time, or thorough (the default)",
    )
    group.add_argument(
        "--recipe", metavar="FILE", help="replay the recipe of an earlier bundle's manifest"
    )
    group.add_argument(
        "--range-rule",
        metavar="NAME",
        help="how ranges are chosen: by-role, min-max, per-image, percentile, least-squares or "
        "entropy (default: by-role; w8a16: min-max)",
    )
    group.add_argument(
        "--rounding",
        metavar="NAME",
        help="how weights are rounded: least-squares, as GPTQ does, or nearest (default: "
        "least-squares)",
    )
    group.add_argument(
        "--without",
        type=values,
        metavar="STEP,...",
        default=[],
        help="steps to leave out: outliers, streams, silu, lifting, splitting, piecewise, "
        "correction",
    )


def run(args: argparse.Namespace) -> int:
    """Converts, times the files in turns, and prints the report."""
    from edgenet.report import convert as report
    from edgenet.report.document import dumps

    bundle = _convert(args)
    times = _times(bundle)
    print(dumps(report.document(bundle, times)) if args.json else report.text(bundle, times))
    return 0


def _convert(args: argparse.Namespace) -> Bundle:
    try:
        from converters.pipeline import convert
    except ModuleNotFoundError as error:
        raise MissingExtraError.of_host("converting", error) from error
    return convert(
        args.model,
        args.output,
        precision=args.precision,
        target=args.target,
        formats=args.to,
        calibration=args.calibration,
        calibration_images=args.calibration_images,
        skip_damaged=args.skip_damaged,
        evaluate=args.evaluate,
        max_drop=args.max_drop,
        min_r2=args.min_r2,
        crop_fraction=args.crop_fraction,
        interpolation=args.interpolation,
        preprocess=args.preprocess,
        labels=args.labels,
        weights=args.weights,
        download=args.download,
        input_size=args.input_size,
        batch=args.batch,
        head=args.head,
        task=args.task,
        range_rule=args.range_rule,
        rounding=args.rounding,
        without=[step for step in args.without if step],
        effort=args.effort,
        recipe=args.recipe,
        strict=args.strict,
        keep_float=[layer for layer in args.keep_float if layer],
        report=say,
    )


def _times(bundle: Bundle) -> dict[str, float]:
    """The median time of one call, in milliseconds, by format."""
    import numpy as np

    from edgenet.measure.latency import interleaved
    from edgenet.runtime import load

    images = np.random.default_rng(0).integers(0, 256, bundle.manifest.input.shape, np.uint8)
    with ExitStack() as stack:
        sessions = [stack.enter_context(load(bundle, format)) for format in bundle.formats]
        say("timing")
        timings = interleaved(
            [_call(session, images) for session in sessions],
            runs=_BENCH_RUNS,
            min_time=_BENCH_SECONDS,
        )
    return {format: timing.p50_ms for format, timing in zip(bundle.formats, timings, strict=True)}


def _call(session: Session, images: Any) -> Any:
    return lambda: session.run(images)
