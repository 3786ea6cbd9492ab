"""`convert`, stage by stage: load and freeze, calibrate and quantize, lower and verify, bundle."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from converters.fallback import DEFAULT_DROP, DEFAULT_R2, Attempt, NoiseLimit, attempts
from converters.formats import formats_of
from converters.image_sets import VERIFIED
from converters.in_memory import as_files
from converters.loading import Loaded, load
from converters.npu.compiling import prepared
from converters.preprocessing import Preprocessing
from converters.quantization.quantize import (
    DEFAULT_EFFORT,
    DEFAULT_ROUNDING,
    Method,
    Quantized,
    quantize,
)
from converters.report import Report
from converters.request import Request
from converters.scheme.recipe import INT8, Recipe, read_recipe
from converters.sources import other_weights
from converters.targets import Target, target_named
from converters.verify import PrecisionError
from converters.writing import write
from edgenet.arguments import several, whole
from edgenet.bundle import CLASSIFICATION, PRECISIONS, REGRESSION, Bundle
from edgenet.errors import AccuracyError
from edgenet.images import ImageFolder
from edgenet.staging import writing

if TYPE_CHECKING:
    from converters.in_memory import Calibration, Model


def convert(
    model: Model = "lite0",
    output: str | os.PathLike[str] | None = None,
    *,
    precision: str | None = None,
    formats: Sequence[str] | None = None,
    target: str | None = None,
    calibration: Calibration = None,
    calibration_images: int | None = None,
    skip_damaged: bool = False,
    evaluate: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    min_r2: float | None = None,
    crop_fraction: float | None = None,
    interpolation: str | None = None,
    preprocess: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    input_size: int | None = None,
    batch: int = 1,
    head: str | int | None = None,
    task: str = CLASSIFICATION,
    range_rule: str | None = None,
    rounding: str | None = None,
    without: Sequence[str] = (),
    effort: str | None = None,
    recipe: str | os.PathLike[str] | None = None,
    strict: bool = False,
    keep_float: Sequence[str] = (),
    report: Report = lambda line: None,
) -> Bundle:
    """Converts a Keras EfficientNet into a bundle of verified files.

    Args:
        model: A variant (b0..b7, lite0..lite4), a .keras or .h5 file, the folder of Keras 2's
            SavedModel, or a `keras.Model`, which the manifest knows by its name and the sha256 of
            its weights.
        output: The bundle's folder; None makes one here, named after model and precision.
        precision: A name of `edgenet.bundle.PRECISIONS`; None takes the target's, or "fp32".
        formats: Of "tflite", "onnx", "openvino"; None takes the target's, or all that have the
            precision.
        target: A name of `converters.targets.TARGETS`: what the files are arranged and, where it
            has a compiler, compiled for.
        calibration: What sets the ranges: a folder of images; N×H×W×3 pixels; or an iterable of
            H×W×3 pixels or PIL images of any size, of batches of pixels, or of tuples of either and
            labels, as a `tf.data.Dataset` is. Pixels are RGB as they are before any normalization,
            uint8 or floats of 0..255, which are rounded, and are prepared as photos are. So many
            are read as calibrate and verify, from all parts of their order or, of an iterator or
            batches, the first; meanwhile they lie uncompressed in the temporary folder. None takes
            crops of scikit-image's photographs.
        calibration_images: How many of them; None takes 128, or 27 where the effort is "fast".
        skip_damaged: Leave damaged images out instead of stopping.
        evaluate: A folder of labelled images to judge the result on.
        max_drop: How many points of top-1 it may lose. "int8" then becomes "int8-mixed", "w8" or
            "fp16" if it must; without `evaluate` the noise of the logits decides.
        min_r2: Of a regression in place of `max_drop`: the R² by the float model's values that the
            value kept worst must have.
        crop_fraction: Of the photo's short side; 1.0 = no crop; None takes the variant's, or 1.0.
        interpolation: A name of `edgenet.images.INTERPOLATIONS`, how photos are resized; None takes
            the variant's, or "tf-bilinear".
        preprocess: A name of `Preprocessing`, for a model without layers of its own for it.
        labels: A file of class names, one a line.
        weights: A weights file, for a variant.
        download: Let keras.applications fetch a variant's weights.
        input_size: Height and width, for a model that leaves them open.
        batch: Images a run.
        head: Of a model of several outputs the one to convert: its name, or its number from 0 on.
        task: "classification", or "regression" where the model's outputs are values, not classes.
        range_rule: A name of `converters.quantization.ranges.RULES`; None takes the precision's.
        rounding: A name of `converters.quantization.quantize.ROUNDINGS`; None takes
            "least-squares", which is GPTQ.
        without: Steps to leave out, of `converters.quantization.quantize.STEPS`.
        effort: A name of `converters.quantization.quantize.EFFORTS`; None takes "thorough".
        recipe: A file with the recipe of an earlier bundle, or its manifest, to replay.
        strict: Fail rather than take another precision to keep `max_drop` or `min_r2`.
        keep_float: Layers that stay in float in every format, by the names that `edgenet bisect`
            tells or patterns such as "block2a_*". "int8" then becomes "int8-mixed", and with a
            limit more may return to float, or "fp16" comes next.
        report: Told what is being done, line by line.

    Returns:
        The bundle, in its place.

    Raises:
        UsageError: An argument or the model asks for something that cannot be.
        UnsupportedModelError: The model is outside the family.
        AccuracyError: A float file does not give Keras's answers, or `max_drop` or `min_r2` is not
            kept.
        EdgenetError: As its subclasses say. In every case nothing is left behind.
    """
    place = None if target is None else target_named(target)
    wanted = precision or (place.precisions[0] if place else "fp32")
    choices = {
        "--calibration-images": calibration_images,
        "--range-rule": range_rule,
        "--rounding": rounding,
        "--without": without,
        "--effort": effort,
        "--recipe": recipe,
        "--strict": strict,
        "--keep-float": keep_float,
    }
    # numpy's numbers go into no manifest.
    batch = whole("batch", batch)
    if input_size is not None:
        input_size = whole("input_size", input_size)
    if calibration_images is not None:
        calibration_images = whole("calibration_images", calibration_images)
    method = Method(
        rule=range_rule,
        rounding=rounding or DEFAULT_ROUNDING,
        without=frozenset(several(without or ())),
        effort=effort or DEFAULT_EFFORT,
        recipe=None if recipe is None else read_recipe(recipe),
        floats=frozenset(several(keep_float or ())),
    )
    # Before images are read: how many depends on it.
    method.require()
    most = max(method.images(calibration_images), 0) + VERIFIED
    with as_files(model, calibration, most) as (source, images):
        request = Request(
            model=source,
            output=Path(output or _default_output(source, wanted, place)),
            precision=wanted,
            formats=_formats(formats, wanted, place),
            calibration=images,
            calibration_images=calibration_images,
            skip_damaged=skip_damaged,
            evaluate=evaluate,
            max_drop=max_drop,
            min_r2=min_r2,
            crop_fraction=None if crop_fraction is None else float(crop_fraction),
            interpolation=interpolation,
            preprocess=None if preprocess is None else Preprocessing.named(preprocess),
            labels=labels,
            weights=weights,
            download=download,
            input_size=input_size,
            batch=batch,
            method=method,
            strict=strict,
            target=place,
            head=head,
            task=task,
            given=frozenset(option for option, value in choices.items() if value),
        )
        request.require()
        return _converted(request, report, any_precision=precision is None)


def _converted(request: Request, report: Report, any_precision: bool) -> Bundle:
    """The bundle, in its place; a target has its own choice of any precision."""
    with writing(request.output) as folder:
        if request.output.exists():
            report(f"{request.output} is there: it is replaced when all is done")
        loaded, place = load(request, report), request.target
        _tell_of_other_weights(request.method.recipe, loaded, report)
        if place is not None and any_precision:
            request = replace(request, precision=place.precision_for(loaded.graph))
            report(f"{place.name}: {request.precision}, activations in {place.activations}")
            request.require()
        _tell_of_shared_images(request, loaded, report)
        _write_first_that_keeps(request, loaded, folder, report)
        # Not from its place, which another process may be about to replace.
        manifest = Bundle.open(folder).manifest
    return Bundle(request.output, manifest)


def _tell_of_other_weights(recipe: Recipe | None, loaded: Loaded, report: Report) -> None:
    """A network that was trained further since the recipe was made has other ranges by now."""
    if recipe is not None and other_weights(recipe.source, loaded.source.description):
        report("the recipe was made for other weights, and its ranges are theirs")


def _tell_of_shared_images(request: Request, loaded: Loaded, report: Report) -> None:
    """An evaluation on images that also set ranges finds too little lost, so it is pointed out."""
    if request.evaluate is None or loaded.calibration.files is None or not request.quantizes:
        return
    judged = ImageFolder.open(request.evaluate)
    shared = judged.shared(loaded.calibration.files)
    if shared:
        report(
            f"{shared} of {len(judged)} images of {os.fspath(request.evaluate)} also calibrate: "
            "figures measured on them are optimistic"
        )


def _write_first_that_keeps(request: Request, loaded: Loaded, folder: Path, report: Report) -> None:
    """Tries one precision after the other until one keeps what it must.

    Raises:
        AccuracyError: None does.
    """
    failed: PrecisionError | None = None
    for attempt in _attempts(request, loaded, report):
        if failed is not None:
            report(f"trying {attempt.precision}")
        try:
            write(request, loaded, attempt, folder, report)
        except PrecisionError as error:
            if request.limited:
                # At once: what comes next may take a minute to find.
                report(str(error))
            failed = error
            _clear(folder)
        else:
            return
    raise AccuracyError(f"{failed}; nothing was written") from failed


def _default_output(model: str | os.PathLike[str], precision: str, target: Target | None) -> str:
    # A folder may be given as ".", too.
    name = Path(model).absolute().stem
    return f"{name}-{target.name.replace(':', '-') if target else precision}"


def _formats(asked: Sequence[str] | None, precision: str, target: Target | None) -> tuple[str, ...]:
    if asked is not None:
        return several(asked)
    return formats_of(precision) if target is None else target.formats_for(precision)


def _attempts(request: Request, loaded: Loaded, report: Report) -> Iterator[Attempt]:
    """What to write: one precision, or with a limit int8 and those to fall back on."""
    if not request.quantizes:
        yield Attempt(request.precision, None)
        return
    quantized = _quantize(request, loaded, request.precision, report)
    if request.precision not in INT8:
        yield Attempt(request.precision, quantized)
    elif request.method.recipe is not None or (
        request.precision == "int8" and (not request.limited or _all_integers(request))
    ):
        yield Attempt.of_int8(quantized)
    else:
        yield from attempts(
            quantized,
            _noise_limit(request),
            others=_others(request),
            strict=request.strict,
            weights_alone=lambda: _quantize(request, loaded, "w8", report),
            report=report,
        )


def _noise_limit(request: Request) -> NoiseLimit:
    if request.task == REGRESSION:
        return NoiseLimit.of_r2(DEFAULT_R2 if request.min_r2 is None else request.min_r2)
    return NoiseLimit.of_drop(DEFAULT_DROP if request.max_drop is None else request.max_drop)


def _others(request: Request) -> frozenset[str]:
    """The precisions that every format that is written, and the target, has."""
    shared = {name for name in PRECISIONS if set(request.formats) <= set(formats_of(name))}
    if request.method.floats:
        # It rounds the weights of all layers.
        shared -= {"w8"}
    target = request.target
    return frozenset(name for name in shared if target is None or name in target.precisions)


def _all_integers(request: Request) -> bool:
    return request.target is not None and request.target.integers


def _quantize(request: Request, loaded: Loaded, precision: str, report: Report) -> Quantized:
    graph = loaded.graph if request.target is None else prepared(loaded.graph, request.target)
    return quantize(
        replace(graph, input_shape=(1, *graph.input_shape[1:])),
        loaded.calibration.images,
        replace(request.method, limited=request.limited or precision == "int8-mixed"),
        precision,
        report,
        request.formats,
    )


def _clear(folder: Path) -> None:
    """Removes what a failed attempt has written."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
