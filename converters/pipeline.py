"""`convert`, stage by stage: load, freeze, calibrate and quantize, lower, verify, bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.formats import LOWERINGS, lower
from converters.freeze import freeze
from converters.graph import FEATURES, INPUT, LOGITS, PROBABILITIES, Floats, Graph
from converters.preprocessing import Preprocessing
from converters.quantization.calibrate import calibrate
from converters.quantization.quantize import (
    DEFAULT_ROUNDING,
    Quantized,
    quantize,
    require_rounding,
)
from converters.quantization.ranges import DEFAULT_RULE, require_rule
from converters.reference import keras_logits
from converters.sources import ImageSet, Source, crop_sets, folder_sets, load_source
from converters.verify import Report, judge, verify
from converters.versions import versions
from edgenet.bundle import (
    MANIFEST,
    PRECISIONS,
    Artifact,
    Bundle,
    FileRecord,
    InputSpec,
    Manifest,
    OutputSpec,
    record_of,
    writing,
)
from edgenet.errors import UsageError
from edgenet.images import LABELS_CSV, ImageError, ImageFolder

_KERAS_BATCH = 16


@dataclass(frozen=True)
class Request:
    """What `convert` is asked for; the fields are `convert`'s arguments."""

    model: str | os.PathLike[str]
    output: Path
    precision: str
    formats: tuple[str, ...]
    calibration: str | os.PathLike[str] | None
    calibration_images: int | None
    skip_damaged: bool
    evaluate: str | os.PathLike[str] | None
    max_drop: float | None
    crop_fraction: float | None
    preprocess: Preprocessing | None
    labels: str | os.PathLike[str] | None
    weights: str | os.PathLike[str] | None
    download: bool
    input_size: int | None
    batch: int
    range_rule: str
    rounding: str


@dataclass(frozen=True)
class Frozen:
    """The model as a graph, the images at hand, and what Keras answers to those that verify."""

    source: Source
    graph: Graph
    input: InputSpec
    calibration: ImageSet
    verification: ImageSet
    logits: Floats


@dataclass(frozen=True)
class Calibrated:
    """What int8 needs: the quantized graph, and what the manifest says of the images behind it."""

    quantized: Quantized
    description: Mapping[str, Any]


def convert(
    model: str | os.PathLike[str] = "lite0",
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str = "fp32",
    formats: Sequence[str] = tuple(LOWERINGS),
    calibration: str | os.PathLike[str] | None = None,
    calibration_images: int | None = None,
    skip_damaged: bool = False,
    evaluate: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    crop_fraction: float | None = None,
    preprocess: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    input_size: int | None = None,
    batch: int = 1,
    range_rule: str = DEFAULT_RULE,
    rounding: str = DEFAULT_ROUNDING,
    report: Report = lambda line: None,
) -> Bundle:
    """Converts a Keras EfficientNet into a bundle of verified files.

    Args:
        model: A variant (b0..b7, lite0..lite4) or a .keras or .h5 file.
        output: The bundle's folder; None makes one here, named after model and precision.
        precision: "fp32", "fp16" or "int8".
        formats: Of "tflite", "onnx", "openvino".
        calibration: A folder of images that set the ranges; None takes crops of scikit-image's
            photographs.
        calibration_images: How many of them; None takes 128 of a folder, or 64 crops.
        skip_damaged: Leave damaged images of `calibration` out instead of stopping.
        evaluate: A folder of labelled images to judge the result on.
        max_drop: How many points of top-1 it may lose there.
        crop_fraction: Of the photo's short side; 1.0 = no crop; None takes the variant's, or 1.0.
        preprocess: A name of `Preprocessing`, for a model without layers of its own for it.
        labels: A file of class names, one a line.
        weights: A weights file, for a variant.
        download: Let keras.applications fetch a variant's weights.
        input_size: Height and width, for a model that leaves them open.
        batch: Images a run.
        range_rule: A name of `converters.quantization.ranges.RULES`.
        rounding: A name of `converters.quantization.quantize.ROUNDINGS`.
        report: Told what is being done, line by line.

    Returns:
        The bundle, in its place.

    Raises:
        UsageError: An argument or the model asks for something that cannot be.
        UnsupportedModelError: The model is outside the family.
        AccuracyError: A float file does not give Keras's answers, or `max_drop` is not kept.
        EdgenetError: As its subclasses say. In every case nothing is left behind.
    """
    request = Request(
        model=model,
        output=Path(output) if output is not None else Path(f"{Path(model).stem}-{precision}"),
        precision=precision,
        formats=tuple(dict.fromkeys(formats)),
        calibration=calibration,
        calibration_images=calibration_images,
        skip_damaged=skip_damaged,
        evaluate=evaluate,
        max_drop=max_drop,
        crop_fraction=crop_fraction,
        preprocess=None if preprocess is None else Preprocessing.named(preprocess),
        labels=labels,
        weights=weights,
        download=download,
        input_size=input_size,
        batch=batch,
        range_rule=range_rule,
        rounding=rounding,
    )
    _check(request)
    with writing(request.output) as folder:
        frozen = _freeze(request, report)
        calibrated = _quantize(request, frozen, report)
        manifest = _write(request, frozen, calibrated, folder, report)
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
        if request.evaluate is not None:
            judge(Bundle(folder, manifest), request.evaluate, request.max_drop, report)
    return Bundle.open(request.output)


def _check(request: Request) -> None:
    if request.precision not in PRECISIONS:
        raise UsageError(
            f"no precision is called {request.precision!r}: take one of {', '.join(PRECISIONS)}"
        )
    unknown = [format for format in request.formats if format not in LOWERINGS]
    if unknown or not request.formats:
        raise UsageError(
            f"no format is called {', '.join(unknown)!r}: take of {', '.join(LOWERINGS)}"
        )
    if request.batch < 1:
        raise UsageError(f"a batch has 1 image or more, not {request.batch}")
    if request.crop_fraction is not None and not 0 < request.crop_fraction <= 1:
        raise UsageError(
            f"the crop fraction must be above 0 and at most 1, not {request.crop_fraction}"
        )
    require_rule(request.range_rule)
    require_rounding(request.rounding)
    _check_evaluation(request)


def _check_evaluation(request: Request) -> None:
    """Before the work, not after it: that there is what the result is to be judged on."""
    if request.evaluate is not None:
        labelled = ImageFolder.open(request.evaluate).labels is not None
        if request.max_drop is not None and not labelled:
            raise UsageError(
                f"--max-drop needs labels, and {os.fspath(request.evaluate)} has none: put its "
                f"images in one folder a class, or list them in a {LABELS_CSV}"
            )
    elif request.max_drop is not None:
        raise UsageError("--max-drop is judged on labelled images: add --evaluate DIR")


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
    _check_labels(source, graph)
    spec = _input_spec(request, source, graph)
    calibration, verification = _image_sets(request, spec, report)
    report(f"asking Keras about {verification.count} images")
    logits = keras_logits(source.model, verification.batches(_KERAS_BATCH), request.preprocess)
    return Frozen(source, graph, spec, calibration, verification, logits)


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
        dtype="uint8",
        layout="NHWC",
        preprocessing="in the model" if request.preprocess is None else request.preprocess.name,
        crop_fraction=source.crop_fraction
        if request.crop_fraction is None
        else request.crop_fraction,
        interpolation=source.interpolation,
    )


def _image_sets(request: Request, spec: InputSpec, report: Report) -> tuple[ImageSet, ImageSet]:
    """The images to calibrate on and the images to verify with."""
    if request.calibration is None:
        return crop_sets(spec, request.calibration_images)

    told: set[str] = set()

    def skip(name: str, error: ImageError) -> None:
        if name not in told:
            told.add(name)
            report(f"left out {name}: {error}")

    on_damage = skip if request.skip_damaged else None
    return folder_sets(request.calibration, spec, request.calibration_images, on_damage)


def _quantize(request: Request, frozen: Frozen, report: Report) -> Calibrated | None:
    if request.precision != "int8":
        return None
    count = frozen.calibration.count
    single = replace(frozen.graph, input_shape=(1, *frozen.graph.input_shape[1:]))
    observations = calibrate(
        single,
        (image[None] for image in frozen.calibration.images()),
        lambda done: report(f"calibrating: {done} of {count} images") if done % 16 == 0 else None,
    )
    report("choosing ranges and rounding weights")
    quantized = quantize(frozen.graph, observations, request.range_rule, request.rounding)
    description = {**frozen.calibration.description, "images": observations.images}
    return Calibrated(quantized, description)


def _write(
    request: Request, frozen: Frozen, calibrated: Calibrated | None, folder: Path, report: Report
) -> Manifest:
    manifest = Manifest(
        source=frozen.source.description,
        precision=request.precision,
        input=frozen.input,
        outputs=tuple(
            OutputSpec(name, frozen.graph.shapes[name]) for name in _outputs(frozen.graph)
        ),
        labels=_write_labels(frozen.source, folder),
        recipe=None if calibrated is None else calibrated.quantized.recipe.to_json(),
        calibration=None if calibrated is None else calibrated.description,
        artifacts=(),
        reference=None,
        versions=versions(),
    )

    def verified(format: str, precision: str, home: Path) -> Artifact:
        report(f"lowering to {format} {precision} and verifying")
        if calibrated is not None and precision == "int8":
            quantized = calibrated.quantized
            files = lower(quantized.graph, format, precision, quantized.recipe, home)
        else:
            files = lower(frozen.graph, format, precision, None, home)
        records = tuple(record_of(folder, file) for file in files)
        images = frozen.verification.batches(request.batch)
        return verify(Bundle(folder, manifest), format, precision, records, images, frozen.logits)

    artifacts = tuple(verified(format, request.precision, folder) for format in request.formats)
    reference = None
    if request.precision != "fp32":
        home = folder / "reference"
        home.mkdir()
        reference = verified(request.formats[0], "fp32", home)
    return replace(manifest, artifacts=artifacts, reference=reference)


def _outputs(graph: Graph) -> list[str]:
    return [name for name in (LOGITS, PROBABILITIES, FEATURES) if name in graph.outputs]


def _write_labels(source: Source, folder: Path) -> FileRecord | None:
    if source.labels is None:
        return None
    path = folder / "labels.txt"
    path.write_text("\n".join(source.labels) + "\n", encoding="utf-8")
    return record_of(folder, path)
