"""The stress test of int8: channels rescaled at random, which no float answer shows.

    python -m benchmarks.rescaled [MODEL] --calibration DIR --evaluate DIR [--json]

Each channel of each stream (residual sums, what projects into them and what reads them) is
multiplied by 2^-4…2^4 where it is made and divided where it is read. "min-max" takes the extremes
of the calibration images as ranges and rounds weights to the nearest level; "ours" is what
`convert` does; "ours, not equalized" leaves that step out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import numpy as np

from benchmarks._common import bounded, end
from benchmarks._quantized import answers, input_spec
from converters.formats import LOWERINGS
from converters.freeze import freeze
from converters.graph import Floats, Graph
from converters.image_sets import folder_sets
from converters.quantization.equalize import rescaled, streams
from converters.quantization.images import Images
from converters.quantization.quantize import (
    DEFAULT_EFFORT,
    EFFORTS,
    STEPS,
    Method,
    quantize,
)
from converters.scheme.recipe import Recipe
from converters.sources import load_source
from edgenet.bundle import InputSpec
from edgenet.images import Batch, ImageFolder
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.machine import describe
from edgenet.report.cells import number
from edgenet.report.document import dumps
from edgenet.report.table import render

OCTAVES = 4
"""Factors lie between 2^-OCTAVES and 2^OCTAVES."""

_BATCH = 32


@dataclass(frozen=True)
class Result:
    """One file against the fp32 network as it came; `seed` is None where nothing was rescaled."""

    seed: int | None
    method: str
    format: str
    agreement: float | None
    sqnr_db: float | None
    kl: float | None


@dataclass(frozen=True)
class Job:
    """The network, what it is calibrated and what it is judged on."""

    graph: Graph
    spec: InputSpec
    calibration: Images
    evaluation: ImageFolder
    effort: str

    def batches(self) -> Iterator[Batch]:
        """The evaluation photos."""
        return self.evaluation.batches(self.spec, _BATCH)


def main() -> int:
    args = _parser().parse_args()
    job = _job(args)
    truth = _answers(job, job.graph, None, "fp32", "onnx")
    seeds = [None, *range(1, args.seeds + 1)]
    results = [result for seed in seeds for result in _results(job, seed, truth)]
    if args.json:
        document = {
            "machine": describe(),
            "model": args.model,
            "images": len(job.evaluation),
            "results": [asdict(result) for result in results],
        }
        print(dumps(document))
    else:
        print(f"{args.model}, {len(job.evaluation)} photos against fp32")
        print(_table(results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rescaled")
    parser.add_argument("model", metavar="MODEL", nargs="?", default="lite0")
    parser.add_argument("--weights", metavar="FILE", help="of a variant without published ones")
    parser.add_argument("--calibration", metavar="DIR", required=True)
    parser.add_argument("--evaluate", metavar="DIR", required=True)
    parser.add_argument(
        "--crop-fraction", type=float, metavar="F", help="of photos (default: the variant's)"
    )
    parser.add_argument("--images", type=bounded(int, 1), metavar="N", help="evaluate on N photos")
    parser.add_argument("--effort", choices=EFFORTS, default=DEFAULT_EFFORT)
    parser.add_argument("--seeds", type=bounded(int, 1), default=1, metavar="N", help="rescalings")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _job(args: argparse.Namespace) -> Job:
    folder = ImageFolder.open(args.evaluate)
    source = load_source(args.model, weights=args.weights)
    graph = freeze(source.model)
    crop_fraction = source.crop_fraction if args.crop_fraction is None else args.crop_fraction
    spec = input_spec(graph, crop_fraction, source.interpolation)
    calibration, _ = folder_sets(args.calibration, spec, EFFORTS[args.effort].images, None)
    held = list(calibration.images.all())
    return Job(
        graph,
        spec,
        Images(lambda: iter(held), len(held)),
        folder if args.images is None else folder.sample(args.images),
        args.effort,
    )


def _results(job: Job, seed: int | None, truth: Floats) -> Iterator[Result]:
    graph = job.graph if seed is None else _rescaled(job.graph, seed)
    for name, method in METHODS.items():
        made = quantize(graph, job.calibration, replace(method, effort=job.effort))
        for format in LOWERINGS:
            print(f"seed {seed}: {name} in {format}", file=sys.stderr)
            found = Fidelity.of(truth, _answers(job, made.of(format), made.recipe, "int8", format))
            yield Result(seed, name, format, found.agreement, found.sqnr_db, found.kl)


def _rescaled(graph: Graph, seed: int) -> Graph:
    random = np.random.default_rng(seed)
    factors = {
        stream.name: np.exp2(random.uniform(-OCTAVES, OCTAVES, stream.channels)).astype(np.float32)
        for stream in streams(graph)
    }
    return rescaled(graph, factors)


METHODS = {
    "min-max": Method("min-max", "nearest", without=frozenset(STEPS)),
    "ours, not equalized": Method(without=frozenset(["streams"])),
    "ours": Method(),
}


def _answers(job: Job, graph: Graph, recipe: Recipe | None, precision: str, format: str) -> Floats:
    """The logits of the evaluation photos, by a file in its engine."""
    batches = (batch.images for batch in job.batches())
    return answers(graph, recipe, precision, format, job.spec, batches)


def _table(results: list[Result]) -> str:
    headers = ["channels", "method", "format", "agreement", "SQNR dB", "KL"]
    rows = [
        [
            "as they are" if result.seed is None else f"rescaled ({result.seed})",
            result.method,
            result.format,
            number(result.agreement, 4),
            number(result.sqnr_db, 1),
            number(result.kl, 4),
        ]
        for result in results
    ]
    return render(headers, rows, "<<<>>>")


if __name__ == "__main__":
    end(main)
