"""The first stage of `convert`: the model as a graph, images, and what Keras answers to them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from converters.description import Description
from converters.freeze import freeze
from converters.graph import INPUT, PROBABILITIES, Floats, Graph
from converters.head import ADDED, WITH_SIGMOID, function_of
from converters.image_sets import ImageSet, crop_sets, folder_sets
from converters.quantization.images import Images
from converters.quantization.layers import layers_of
from converters.reference import reference_answers
from converters.report import Report
from converters.request import Request
from converters.scheme.recipe import CALIBRATED
from converters.sources import Source, load_source
from edgenet.bundle import REGRESSION, InputSpec
from edgenet.errors import UsageError
from edgenet.images import Skip
from edgenet.measure.evaluation import judging
from edgenet.report.cells import counted

# Keras answers so many pixels at a time: 16 images of B0, 2 of B7.
_KERAS_PIXELS = 16 * 224 * 224
# Of fewer different images `convert` says that they are few.
_FEW = 32


@dataclass(frozen=True)
class Loaded:
    """The model as a graph, the images at hand, and what Keras answers to those that verify.

    `skip` is told of damaged images, where they are to be left out.
    """

    source: Source
    graph: Graph
    input: InputSpec
    calibration: ImageSet
    verification: Images
    answers: Floats
    skip: Skip | None


def load(request: Request, report: Report) -> Loaded:
    """Loads and freezes the model, prepares the images and asks Keras.

    Raises:
        UsageError: The model, its labels and the images do not fit each other or the request.
        UnsupportedModelError: The model is outside the family.
        ImageError: A damaged image, when it is reached.
    """
    source, graph = _model(request, report)
    _check_labels(source, graph)
    if request.evaluate is not None:
        judging(request.evaluate, request.task, source.labels, graph.shapes[graph.answer][1])
    spec = _input_spec(request, source, graph)
    description = Description(spec.crop_fraction, spec.interpolation, source.labels)
    graph = replace(graph, description=description)
    skip = _once(report) if request.skip_damaged else None
    calibration, verification = _image_sets(request, spec, report, skip)
    report(f"asking Keras about {verification.count} images")
    at_a_time = max(1, _KERAS_PIXELS // prod(spec.shape[1:3]))
    # Each file answers to the same ones.
    verification = verification.kept()
    batches = verification.batches(at_a_time)
    answers = reference_answers(source.model, batches, request.preprocess, request.task)
    return Loaded(source, graph, spec, calibration, verification, answers, skip)


def _model(request: Request, report: Report) -> tuple[Source, Graph]:
    """The Keras model and its graph; what is taken for granted of them is told."""
    report(f"loading {request.model}")
    source = load_source(
        request.model,
        weights=request.weights,
        download=request.download,
        labels=request.labels,
        head=request.head,
    )
    for line in source.assumed:
        report(line)
    graph = freeze(
        source.model,
        preprocess=request.preprocess,
        input_size=request.input_size,
        batch=request.batch,
        task=request.task,
    )
    if request.target is not None:
        graph = replace(graph, pixels=request.target.pixels)
    _tell_of_logits(graph, report)
    if request.method.floats:
        report(f"{counted(len(layers_of(graph, request.method.floats)), 'layer')} in float")
    return source, graph


def _tell_of_logits(graph: Graph, report: Report) -> None:
    """Other models end as a classifier does that was trained on its logits."""
    probable = graph.producers.get(PROBABILITIES)
    if probable is not None and probable.name == ADDED:
        classes = graph.shapes[graph.answer][1]
        function = function_of(graph.producers[graph.answer])
        report(
            f"the model ends in {classes} {function} values, which are taken for logits of "
            "classes, of which one is true: probabilities are their softmax. Where several may be "
            f"true, convert what {WITH_SIGMOID} writes; of a regression, add --task {REGRESSION}"
        )


def _check_labels(source: Source, graph: Graph) -> None:
    wanted = graph.shapes[graph.answer][1]
    if source.labels is not None and len(source.labels) != wanted:
        count = len(source.labels)
        has = counted(wanted, "value") if graph.regresses else f"{wanted} classes"
        if count == 1 and not graph.regresses:
            has += ": a single sigmoid is two; name first what 0 means, then what 1 means"
        raise UsageError(f"the labels file has {counted(count, 'name')}, the model {has}")


def _input_spec(request: Request, source: Source, graph: Graph) -> InputSpec:
    batch, height, width, channels = graph.input_shape
    return InputSpec(
        name=INPUT,
        shape=(batch, height, width, channels),
        dtype=graph.pixels,
        layout="NHWC",
        preprocessing=f"in the model{_named(request)}, which takes RGB 0..255",
        crop_fraction=source.crop_fraction
        if request.crop_fraction is None
        else request.crop_fraction,
        interpolation=request.interpolation or source.interpolation,
    )


def _named(request: Request) -> str:
    return "" if request.preprocess is None else f" ({request.preprocess.name})"


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
    count = request.method.images(request.calibration_images)
    calibrates = request.precision in CALIBRATED
    if request.calibration is None:
        if calibrates:
            report(
                f"calibrating on crops of five photographs{_too_few(request)}: int8 keeps more "
                "accuracy with --calibration DIR"
            )
        return crop_sets(spec, count)
    calibration, verification = folder_sets(
        request.calibration, spec, count, skip, needs_content=request.quantizes
    )
    found = calibration.description["images"]
    if calibrates and found < min(_FEW, count):
        report(
            f"calibrating on {counted(found, 'different image')} and crops{_too_few(request)}: "
            "int8 keeps more accuracy with 100 or more, and figures measured on these are "
            "optimistic"
        )
    elif not request.quantizes:
        report(f"{request.precision} needs no --calibration: take --int8 to calibrate on it")
    return calibration, verification


def _too_few(request: Request) -> str:
    """What few images cannot do, where that is asked of them."""
    judged_on_them = request.limited and request.evaluate is None
    return f", too few to hold {request.limit} by" if judged_on_them else ""
