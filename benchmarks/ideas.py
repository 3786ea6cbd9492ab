"""The log of ideas: what each step of our int8 is worth, and what was tried in its place.

    python -m benchmarks.ideas [MODEL] --calibration DIR [--evaluate DIR] [--json]

Each row changes one thing of the whole method; "what the field does" leaves all of it out. 128
photos of the calibration folder choose everything, and others of the same folder, which set
nothing, are answered in each engine and compared with fp32. Seconds are of the quantization alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from benchmarks._common import bounded, end
from benchmarks._quantized import answers, input_spec
from converters.fallback import DEFAULT_DROP, Attempt, NoiseLimit, attempts
from converters.formats import LOWERINGS
from converters.freeze import freeze
from converters.graph import Floats, Graph
from converters.quantization.images import Images
from converters.quantization.quantize import (
    DEFAULT_EFFORT,
    DEFAULT_ROUNDING,
    EFFORTS,
    ROUNDINGS,
    STEPS,
    Method,
    quantize,
)
from converters.quantization.ranges import DEFAULT_RULE, RULES
from converters.sources import load_source
from edgenet.bundle import CLASSIFICATION, InputSpec
from edgenet.errors import UsageError
from edgenet.images import ImageFolder, Pixels
from edgenet.measure.evaluation import judging
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.machine import describe
from edgenet.report.cells import number, percent
from edgenet.report.document import dumps
from edgenet.report.table import render
from edgenet.sampling import stratified

WHOLE = "the whole method"
FIELD = "what the field does"

_UNSEEN = 256
_BATCH = 32


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos to judge on, in batches, and the fp32 network's answers, images × classes."""

    batches: Sequence[Pixels]
    labels: NDArray[np.int64] | None
    truth: Floats


@dataclass(frozen=True, eq=False)
class Job:
    """The network, what calibrates it, and by name the photos that judge it."""

    graph: Graph
    spec: InputSpec
    calibration: Sequence[Pixels]
    judges: Mapping[str, Photos]

    def images(self, effort: str = DEFAULT_EFFORT) -> Images:
        """As many of those that calibrate as an effort looks at, from all parts of their order."""
        places = stratified(len(self.calibration), EFFORTS[effort].images)
        chosen = [self.calibration[place] for place in places]
        return Images(lambda: iter(chosen), len(chosen))


@dataclass(frozen=True)
class Result:
    """One idea, the seconds that it took, and by photos and format how near it comes to fp32."""

    idea: str
    seconds: float
    found: Mapping[str, Mapping[str, Fidelity]]


def methods() -> dict[str, Method]:
    """The whole method, and what changes one thing of it."""
    return {
        WHOLE: Method(),
        **{f"without {step}": Method(without=frozenset([step])) for step in STEPS},
        **{f"{n} rounding": Method(rounding=n) for n in ROUNDINGS if n != DEFAULT_ROUNDING},
        **{f"{name} ranges": Method(rule=name) for name in RULES if name != DEFAULT_RULE},
        **{f"{name} effort": Method(effort=name) for name in EFFORTS if name != DEFAULT_EFFORT},
        FIELD: Method("min-max", "nearest", without=frozenset(STEPS)),
    }


def main() -> int:
    args = _parser().parse_args()
    job = _job(args)
    results = list(_results(job))
    print(_json(args.model, job, results) if args.json else _text(args.model, job, results))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ideas")
    parser.add_argument("model", metavar="MODEL", nargs="?", default="b0")
    parser.add_argument("--weights", metavar="FILE", help="of a variant without published ones")
    parser.add_argument("--calibration", metavar="DIR", required=True)
    parser.add_argument("--evaluate", metavar="DIR", help="labelled photos, for agreement and drop")
    parser.add_argument(
        "--crop-fraction", type=float, metavar="F", help="of photos (default: the variant's)"
    )
    parser.add_argument("--images", type=bounded(int, 1), metavar="N", help="evaluate on N photos")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser


def _job(args: argparse.Namespace) -> Job:
    chosen, unseen = _split(ImageFolder.open(args.calibration))
    source = load_source(args.model, weights=args.weights)
    graph = freeze(source.model)
    evaluation = None
    if args.evaluate is not None:
        classes = graph.shapes[graph.answer][1]
        evaluation = judging(args.evaluate, CLASSIFICATION, source.labels, classes)
    crop_fraction = source.crop_fraction if args.crop_fraction is None else args.crop_fraction
    spec = input_spec(graph, crop_fraction, source.interpolation)
    held = [image[None] for batch in chosen.batches(spec, _BATCH) for image in batch.images]
    judges = {"calibration photos that set nothing": _photos(graph, spec, unseen)}
    if evaluation is not None:
        if args.images is not None:
            evaluation = evaluation.sample(args.images)
        judges["evaluation photos"] = _photos(graph, spec, evaluation)
    return Job(graph, spec, held, judges)


def _split(folder: ImageFolder) -> tuple[ImageFolder, ImageFolder]:
    """Photos that choose everything, and others; class indices are of no use to either."""
    wanted = EFFORTS[DEFAULT_EFFORT].images
    chosen = folder.sample(wanted)
    others = tuple(sorted(set(folder.names) - set(chosen.names)))
    if not others:
        raise UsageError(
            f"all {len(folder)} photos of {folder.root} set ranges, and none is left to judge by: "
            f"give --calibration a folder of more than {wanted}"
        )
    return chosen, replace(folder, names=others, labels=None).sample(_UNSEEN)


def _photos(graph: Graph, spec: InputSpec, folder: ImageFolder) -> Photos:
    batches = [batch.images for batch in folder.batches(spec, _BATCH)]
    labels = None if folder.labels is None else np.asarray(folder.labels, np.int64)
    return Photos(batches, labels, answers(graph, None, "fp32", "onnx", spec, batches))


def _results(job: Job) -> Iterator[Result]:
    for idea, method in methods().items():
        start = perf_counter()
        made = quantize(job.graph, job.images(method.effort), method)
        seconds = perf_counter() - start
        yield _judged(job, idea, Attempt("int8", made), seconds)
    start = perf_counter()
    attempt = next(
        attempts(
            quantize(job.graph, job.images(), Method(limited=True)),
            NoiseLimit.of_drop(DEFAULT_DROP),
            others=("int8-mixed", "w8", "fp16"),
            strict=False,
            weights_alone=lambda: quantize(job.graph, job.images(), Method(), "w8"),
            report=lambda line: print(line, file=sys.stderr),
        )
    )
    seconds = perf_counter() - start
    yield _judged(job, f"{attempt.precision}, for a drop of {DEFAULT_DROP:g}", attempt, seconds)


def _judged(job: Job, idea: str, attempt: Attempt, seconds: float) -> Result:
    made = attempt.quantized
    assert made is not None, "weights alone are tried before half precision"

    def found(format: str, photos: Photos) -> Fidelity:
        graph, recipe = made.of(format), made.recipe.of(format)
        precision = attempt.precision_of(format)
        logits = answers(graph, recipe, precision, format, job.spec, photos.batches)
        return Fidelity.of(photos.truth, logits, photos.labels)

    result = Result(
        idea,
        seconds,
        {
            name: {format: found(format, photos) for format in LOWERINGS}
            for name, photos in job.judges.items()
        },
    )
    _tell(result)
    return result


def _tell(result: Result) -> None:
    """All of a row as it is done, so that a run that is stopped has shown something."""
    for name, found in result.found.items():
        told = "; ".join(
            f"{format} {number(f.sqnr_db, 1)} dB, KL {number(f.kl, 4)}, {percent(f.agreement)}"
            + ("" if f.drop_points is None else f", drop {f.drop_points:.2f}")
            for format, f in found.items()
        )
        print(f"{result.idea}, {result.seconds:.0f} s, {name}: {told}", file=sys.stderr)


def _json(model: str, job: Job, results: Sequence[Result]) -> str:
    document = {
        "machine": describe(),
        "model": model,
        "calibration_images": len(job.calibration),
        "images": {name: len(photos.truth) for name, photos in job.judges.items()},
        "results": [asdict(result) for result in results],
    }
    return dumps(document)


def _text(model: str, job: Job, results: Sequence[Result]) -> str:
    parts = [f"{model} int8, {len(job.calibration)} photos calibrate"]
    for name, photos in job.judges.items():
        labelled = photos.labels is not None
        columns = ("agreement", "drop") if labelled else ("dB", "KL", "agreement")
        headers = ["idea", "s", *(f"{f} {c}" for f in LOWERINGS for c in columns)]
        rows = [
            [
                result.idea,
                number(result.seconds, 0),
                *(c for found in result.found[name].values() for c in _cells(found, labelled)),
            ]
            for result in results
        ]
        table = render(headers, rows, "<" + ">" * (len(headers) - 1))
        parts.append(f"{len(photos.truth)} {name}, against fp32\n{table}")
    return "\n\n".join(parts)


def _cells(found: Fidelity, labelled: bool) -> list[str]:
    agreement = percent(found.agreement)
    if labelled:
        return [agreement, number(found.drop_points)]
    return [number(found.sqnr_db, 1), number(found.kl, 4), agreement]


if __name__ == "__main__":
    end(main)
