"""`convert`, stage by stage: load, freeze, calibrate and quantize, lower, verify, bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import prod
from pathlib import Path
from typing import Any

from converters.formats import (
    formats_of,
    lower,
)
from converters.freeze import freeze
from converters.graph import FEATURES, INPUT, LOGITS, PROBABILITIES, Floats, Graph
from converters.ladder import DEFAULT_DROP, Rung, rungs
from converters.npu.compiling import compiled_for, prepared
from converters.preprocessing import Preprocessing
from converters.quantization.arrangement import reckoned
from converters.quantization.images import Images
from converters.quantization.quantize import (
    DEFAULT_EFFORT,
    DEFAULT_ROUNDING,
    EFFORTS,
    Method,
    Quantized,
    Report,
    quantize,
)
from converters.reference import keras_logits
from converters.request import Request
from converters.scheme.recipe import CALIBRATED, SEARCHED, UNCALIBRATED, read_recipe
from converters.sources import (
    ImageSet,
    Source,
    crop_sets,
    folder_sets,
    load_source,
)
from converters.targets import Target, target_named
from converters.verify import PrecisionError, judge, verify
from converters.versions import versions
from edgenet.bundle import (
    MANIFEST,
    PRECISIONS,
    Artifact,
    Bundle,
    Compiled,
    FileRecord,
    InputSpec,
    Manifest,
    OutputSpec,
    record_of,
    writing,
)
from edgenet.errors import AccuracyError, UsageError
from edgenet.images import ImageFolder, Skip

# What Keras answers at a time: 16 images of B0, 2 of B7.
_KERAS_PIXELS = 16 * 224 * 224
# Images on which an engine's int8 is compared with its arithmetic.
_RECKONED = 16
# Fewer images than these are told to be few.
_ENOUGH = 32


@dataclass(frozen=True)
class Frozen:
    """The model as a graph, the images at hand, and what Keras answers to those that verify.

    `skip` is told of damaged images, where they are to be left out.
    """

    source: Source
    graph: Graph
    input: InputSpec
    calibration: ImageSet
    verification: Images
    logits: Floats
    skip: Skip | None


def convert(
    model: str | os.PathLike[str] = "lite0",
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str | None = None,
    formats: Sequence[str] | None = None,
    target: str | None = None,
    calibration: str | os.PathLike[str] | None = None,
    calibration_images: int | None = None,
    skip_damaged: bool = False,
    evaluate: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    preprocess: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    input_size: int | None = None,
    batch: int = 1,
    range_rule: str | None = None,
    rounding: str = DEFAULT_ROUNDING,
    without: Sequence[str] = (),
    effort: str = DEFAULT_EFFORT,
    recipe: str | os.PathLike[str] | None = None,
    strict: bool = False,
    report: Report = lambda line: None,
) -> Bundle:
    """Converts a Keras EfficientNet into a bundle of verified files.

    Args:
        model: A variant (b0..b7, lite0..lite4) or a .keras or .h5 file.
        output: The bundle's folder; None makes one here, named after model and precision.
        precision: A name of `edgenet.bundle.PRECISIONS`; None takes the target's, or "fp32".
        formats: Of "tflite", "onnx", "openvino"; None takes the target's, or all that have the
            precision.
        target: A name of `converters.targets.TARGETS`: what the files are arranged and, where it
            has a compiler, compiled for.
        calibration: A folder of images that set the ranges; None takes crops of scikit-image's
            photographs.
        calibration_images: How many of them; None takes 128, or 27 where the effort is "fast".
        skip_damaged: Leave damaged images out instead of stopping.
        evaluate: A folder of labelled images to judge the result on.
        max_drop: How many points of top-1 it may lose. "int8" then becomes "int8-mixed", "w8" or
            "fp16" if it must; without `evaluate` the noise of the logits decides.
        crop_fraction: Of the photo's short side; 1.0 = no crop; None takes the variant's, or 1.0.
        interpolation: A name of `edgenet.images.INTERPOLATIONS`, how photos are resized; None takes
            the variant's, or "tf-bilinear".
        preprocess: A name of `Preprocessing`, for a model without layers of its own for it.
        labels: A file of class names, one a line.
        weights: A weights file, for a variant.
        download: Let keras.applications fetch a variant's weights.
        input_size: Height and width, for a model that leaves them open.
        batch: Images a run.
        range_rule: A name of `converters.quantization.ranges.RULES`; None takes the precision's.
        rounding: A name of `converters.quantization.quantize.ROUNDINGS`.
        without: Steps to leave out, of `converters.quantization.quantize.STEPS`.
        effort: A name of `converters.quantization.quantize.EFFORTS`.
        recipe: A file with the recipe of an earlier bundle, or its manifest, to replay.
        strict: Fail rather than take another precision to keep `max_drop`.
        report: Told what is being done, line by line.

    Returns:
        The bundle, in its place.

    Raises:
        UsageError: An argument or the model asks for something that cannot be.
        UnsupportedModelError: The model is outside the family.
        AccuracyError: A float file does not give Keras's answers, or `max_drop` is not kept.
        EdgenetError: As its subclasses say. In every case nothing is left behind.
    """
    place = None if target is None else target_named(target)
    wanted = precision or (place.precisions[0] if place else "fp32")
    request = Request(
        model=model,
        output=Path(output or _default_output(model, wanted, place)),
        precision=wanted,
        formats=_formats(formats, wanted, place),
        calibration=calibration,
        calibration_images=calibration_images,
        skip_damaged=skip_damaged,
        evaluate=evaluate,
        max_drop=max_drop,
        crop_fraction=crop_fraction,
        interpolation=interpolation,
        preprocess=None if preprocess is None else Preprocessing.named(preprocess),
        labels=labels,
        weights=weights,
        download=download,
        input_size=input_size,
        batch=batch,
        method=Method(
            rule=range_rule,
            rounding=rounding,
            without=frozenset(without),
            effort=effort,
            recipe=None if recipe is None else read_recipe(recipe),
        ),
        strict=strict,
        target=place,
    )
    request.require()
    with writing(request.output) as folder:
        frozen = _freeze(request, report)
        if place is not None and precision is None:
            request = replace(request, precision=place.precision_for(frozen.graph))
            report(f"{place.name}: {request.precision}, activations in {place.activations}")
        failed: PrecisionError | None = None
        for rung in _rungs(request, frozen, report):
            if failed is not None:
                report(f"{failed}: trying {rung.precision}")
                _clear(folder)
            try:
                _write(request, frozen, rung, folder, report)
                failed = None
                break
            except PrecisionError as error:
                failed = error
        if failed is not None:
            raise AccuracyError(f"{failed}; nothing was written") from failed
    return Bundle.open(request.output)


def _default_output(model: str | os.PathLike[str], precision: str, target: Target | None) -> str:
    return f"{Path(model).stem}-{target.name.replace(':', '-') if target else precision}"


def _formats(asked: Sequence[str] | None, precision: str, target: Target | None) -> tuple[str, ...]:
    if asked is not None:
        return tuple(dict.fromkeys(asked))
    return formats_of(precision) if target is None else target.formats_for(precision)


def _freeze(request: Request, report: Report) -> Frozen:
    report(f"loading {os.fspath(request.model)}")
    source = load_source(
        request.model, weights=request.weights, download=request.download, labels=request.labels
    )
    graph = freeze(
        source.model,
        preprocess=request.preprocess,
        input_size=request.input_size,
        batch=request.batch,
    )
    if request.target is not None:
        graph = replace(graph, pixels=request.target.pixels)
    _check_labels(source, graph)
    if request.evaluate is not None:
        ImageFolder.open(request.evaluate).of_classes(source.labels, graph.shapes[LOGITS][1])
    spec = _input_spec(request, source, graph)
    skip = _once(report) if request.skip_damaged else None
    calibration, verification = _image_sets(request, spec, report, skip)
    report(f"asking Keras about {verification.count} images")
    at_a_time = max(1, _KERAS_PIXELS // prod(spec.shape[1:3]))
    logits = keras_logits(source.model, verification.batches(at_a_time), request.preprocess)
    return Frozen(source, graph, spec, calibration, verification, logits, skip)


def _check_labels(source: Source, graph: Graph) -> None:
    classes = graph.shapes[LOGITS][1]
    if source.labels is not None and len(source.labels) != classes:
        raise UsageError(
            f"the labels file has {len(source.labels)} names, the model {classes} classes"
        )


def _input_spec(request: Request, source: Source, graph: Graph) -> InputSpec:
    batch, height, width, channels = graph.input_shape
    return InputSpec(
        name=INPUT,
        shape=(batch, height, width, channels),
        dtype=graph.pixels,
        layout="NHWC",
        preprocessing="in the model" if request.preprocess is None else request.preprocess.name,
        crop_fraction=source.crop_fraction
        if request.crop_fraction is None
        else request.crop_fraction,
        interpolation=request.interpolation or source.interpolation,
    )


def _once(report: Report) -> Report:
    """Tells of a damaged image once, however often its folder is read."""
    told: set[str] = set()

    def tell(line: str) -> None:
        if line not in told:
            told.add(line)
            report(line)

    return tell


def _image_sets(
    request: Request, spec: InputSpec, report: Report, skip: Skip | None
) -> tuple[ImageSet, Images]:
    """The images to calibrate on, and the images to verify with."""
    count = request.calibration_images
    if count is None:
        count = EFFORTS[request.method.effort].images
    if request.calibration is None:
        if request.precision in CALIBRATED:
            report(
                f"calibrating on crops of five photographs{_few(request)} with --calibration DIR"
            )
        return crop_sets(spec, count)
    calibration, verification = folder_sets(request.calibration, spec, count, skip)
    found = calibration.description["images"]
    if found < _ENOUGH and request.precision in CALIBRATED:
        report(
            f"calibrating on {found} different images and crops of them{_few(request)} with 100 or "
            "more"
        )
    elif request.precision == "fp32":
        report("fp32 needs no --calibration: add --int8 to calibrate on it")
    return calibration, verification


def _few(request: Request) -> str:
    unheld = request.max_drop is not None and request.evaluate is None
    return f"{', too few to hold --max-drop by' if unheld else ''}: int8 keeps more"


def _rungs(request: Request, frozen: Frozen, report: Report) -> Iterator[Rung]:
    """What to write: one precision, or with `max_drop` the ladder from int8 down."""
    if request.precision not in CALIBRATED and not request.rounds:
        yield Rung(request.precision, None)
        return
    quantized = _quantize(request, frozen, request.precision, report)
    if request.method.recipe is not None and request.precision in SEARCHED:
        mixed = any(quantized.recipe.of(name).float_operators for name in request.formats)
        yield Rung("int8-mixed" if mixed else "int8", quantized)
    elif request.precision not in SEARCHED:
        yield Rung(request.precision, quantized)
    elif request.precision == "int8" and (request.max_drop is None or _all_integers(request)):
        yield Rung("int8", quantized)
    else:
        drop = DEFAULT_DROP if request.max_drop is None else request.max_drop
        yield from rungs(
            quantized,
            drop,
            others=_others(request),
            strict=request.strict,
            weights_alone=lambda: _quantize(request, frozen, "w8", report),
            report=report,
        )


def _others(request: Request) -> frozenset[str]:
    """The precisions that every format that is written, and the target, has."""
    shared = (name for name in PRECISIONS if set(request.formats) <= set(formats_of(name)))
    target = request.target
    return frozenset(name for name in shared if target is None or name in target.precisions)


def _all_integers(request: Request) -> bool:
    return request.target is not None and request.target.integers


def _quantize(request: Request, frozen: Frozen, precision: str, report: Report) -> Quantized:
    graph = frozen.graph if request.target is None else prepared(frozen.graph, request.target)
    return quantize(
        replace(graph, input_shape=(1, *graph.input_shape[1:])),
        frozen.calibration.images,
        request.method,
        precision,
        report,
        request.formats,
    )


def _write(request: Request, frozen: Frozen, rung: Rung, folder: Path, report: Report) -> None:
    """Writes and verifies one precision, with its manifest, and judges it where that is asked.

    Raises:
        PrecisionError: It does not keep what it must.
    """
    quantized = None if rung.quantized is None else rung.quantized.with_batch(request.batch)
    manifest = Manifest(
        source=frozen.source.description,
        precision=rung.precision,
        input=frozen.input,
        outputs=tuple(
            OutputSpec(name, frozen.graph.shapes[name]) for name in _outputs(frozen.graph)
        ),
        labels=_write_labels(frozen.source, folder),
        recipe=_recipe(rung),
        calibration=_calibration(frozen, rung),
        artifacts=(),
        reference=None,
        versions=versions(),
        target=None if request.target is None else request.target.to_json(rung.precision),
    )
    own = {} if request.target is None else request.target.lowerings
    by_arithmetic = _by_arithmetic(request, frozen, rung)

    def verified(format: str, precision: str, home: Path, made: Quantized | None) -> Artifact:
        report(f"lowering to {format} {precision} and verifying")
        if made is not None:
            graph, recipe = made.of(format), made.recipe.of(format)
            files = lower(graph, format, precision, recipe, home, own.get(format))
        else:
            files = lower(frozen.graph, format, precision, None, home)
        records = tuple(record_of(folder, file) for file in files)
        images = frozen.verification.batches(request.batch)
        wanted = None if made is None else by_arithmetic.get(format)
        return verify(
            Bundle(folder, manifest), format, precision, records, images, frozen.logits, wanted
        )

    artifacts = tuple(
        verified(format, rung.precision_of(format), folder, quantized) for format in request.formats
    )
    _require_quiet(rung, artifacts)
    reference = None
    if rung.precision != "fp32":
        home = folder / "reference"
        home.mkdir()
        reference = verified(request.formats[0], "fp32", home, None)
    compiled: tuple[Compiled, ...] = ()
    if request.target is not None and quantized is not None:
        compiled = compiled_for(request.target, folder, artifacts, quantized, report)
    manifest = replace(manifest, artifacts=artifacts, reference=reference, compiled=compiled)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    if request.evaluate is not None:
        bundle = Bundle(folder, manifest)
        judge(bundle, request.evaluate, request.max_drop, report, frozen.skip)


def _require_quiet(rung: Rung, artifacts: Sequence[Artifact]) -> None:
    if rung.wanted_db is None:
        return
    for artifact in artifacts:
        kept = artifact.verified.sqnr_db
        if kept is not None and kept < rung.wanted_db:
            raise PrecisionError(
                f"{rung.precision} keeps {kept:.1f} dB in {artifact.format} of the "
                f"{rung.wanted_db:.1f} dB wanted"
            )


def _by_arithmetic(request: Request, frozen: Frozen, rung: Rung) -> Mapping[str, Floats]:
    """What int8 has to answer to the first images that verify, by format."""
    if rung.quantized is None or rung.precision not in SEARCHED:
        return {}
    lowerings = {} if request.target is None else request.target.lowerings
    images = list(islice(frozen.verification.batches(1), _RECKONED))
    # Formats that are alike lower one graph.
    answers: dict[Graph, Floats] = {}
    found: dict[str, Floats] = {}
    for format in set(request.formats) - set(lowerings):
        graph, recipe = rung.quantized.of(format), rung.quantized.recipe.of(format)
        if graph not in answers:
            answers[graph] = reckoned(graph, recipe, format, images)
        found[format] = answers[graph]
    return found


def _recipe(rung: Rung) -> Mapping[str, Any] | None:
    if rung.quantized is not None:
        return rung.quantized.recipe.to_json()
    fixed = UNCALIBRATED.get(rung.precision)
    return None if fixed is None else fixed.to_json()


def _calibration(frozen: Frozen, rung: Rung) -> Mapping[str, Any] | None:
    if rung.quantized is None:
        return None
    return {**frozen.calibration.description, "images": rung.quantized.images}


def _clear(folder: Path) -> None:
    """Takes away what a rung that failed has written."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _outputs(graph: Graph) -> list[str]:
    return [name for name in (LOGITS, PROBABILITIES, FEATURES) if name in graph.outputs]


def _write_labels(source: Source, folder: Path) -> FileRecord | None:
    if source.labels is None:
        return None
    path = folder / "labels.txt"
    path.write_text("\n".join(source.labels) + "\n", encoding="utf-8")
    return record_of(folder, path)
