"""The accuracy gate: a bundle's files beside its fp32 reference, and beside an earlier check."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from edgenet.arguments import several
from edgenet.bundle import REGRESSION, Bundle
from edgenet.errors import UsageError
from edgenet.images import Skip
from edgenet.measure import baseline as earlier
from edgenet.measure import baseline_file, check_document
from edgenet.measure.defaults import CROPS
from edgenet.measure.evaluation import Images, crops_of, folder_of
from edgenet.measure.limits import MAX_DROP, Limits
from edgenet.measure.opening import open_formats, open_reference, reference_bytes
from edgenet.measure.parity import compare, default_limits
from edgenet.preparing import require_way
from edgenet.report.cells import counted
from edgenet.report.progress import OnProgress, silent
from edgenet.runtime import Session, SessionInfo, load
from edgenet.runtime.loading import Reach

_Path = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check found.

    Attributes:
        document: All of it, as `edgenet check --json` prints it; see
            `edgenet/report/schema/check.schema.json`.
        images: Those that were answered.
        unsure: What may be worse than the baseline, one line each: too few images to tell.
    """

    document: dict[str, Any]
    images: Images
    unsure: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether every file kept every limit, and none is worse than the baseline."""
        return bool(self.document["passed"])


def check(
    bundle: str | os.PathLike[str],
    *,
    evaluate: str | os.PathLike[str] | None = None,
    images: int | None = None,
    crop_fraction: float | None = None,
    skip_damaged: bool = False,
    formats: Sequence[str] | None = None,
    device: str = "cpu",
    delegate: str | None = None,
    delegate_options: Mapping[str, str] | None = None,
    allow_fallback: bool = False,
    threads: int | None = None,
    reference: str | os.PathLike[str] | None = None,
    max_drop: float | None = None,
    min_agreement: float | None = None,
    min_sqnr: float | None = None,
    min_r2: float | None = None,
    baseline: str | os.PathLike[str] | None = None,
    report: Callable[[str], None] = lambda line: None,
    progress: OnProgress = silent,
) -> Checked:
    """Compares a bundle with its fp32 reference, and says whether it lost too much.

    Args:
        bundle: The folder that `convert` wrote, or an open `Bundle`.
        evaluate: A folder of images, of class folders, or with a labels.csv; None takes crops of
            scikit-image's photographs.
        images: How many of them; None takes all of the folder, or 256 crops.
        crop_fraction: Of the photo's short side; 1.0 = no crop; None takes the bundle's.
        skip_damaged: Leave damaged images out instead of stopping.
        formats: Of "tflite", "onnx", "openvino"; None takes all that can run.
        device: As for `edgenet.load`.
        delegate: As for `edgenet.load`.
        delegate_options: As for `edgenet.load`.
        allow_fallback: As for `edgenet.load`.
        threads: As for `edgenet.load`.
        reference: Another bundle that holds the fp32 model; None takes the bundle's own.
        max_drop: How many points of top-1 a file may lose; needs labels.
        min_agreement: The share 0..1 of images with fp32's first answer that it must keep.
        min_sqnr: The SQNR over the logits or values, in dB, that it must keep.
        min_r2: Of a regression: the R² by fp32's values that the value kept worst must have.
        baseline: A file with an earlier document, to be no worse than.
        report: Told of what is left out or too few, line by line.
        progress: Called after each batch of images, as for `edgenet.bench`.

    Returns:
        What was found; a limit that is None has the default of the file's precision.

    Raises:
        UsageError: An argument asks for something that cannot be.
        AccuracyError: The reference answers with no numbers.
        DeviceError: The device cannot be used, or not for all operators.
        EdgenetError: As its subclasses say.
    """
    asked = Limits(max_drop, min_agreement, min_sqnr, min_r2=min_r2)
    asked.require()
    _require_images(evaluate, images, crop_fraction, skip_damaged)
    opened = Bundle.open(bundle)
    holder = opened if reference is None else Bundle.open(reference)
    _require_of_task(asked, opened.manifest.task)
    wanted = None if formats is None else several(formats)
    before = _read_baseline(baseline, opened, wanted)
    skip = report if skip_damaged else None
    compared = _images(opened, evaluate, images, crop_fraction, skip)
    _require_labels(asked, compared)
    _tell_coarse(asked, compared, report)
    held = partial(_limits, asked, crops=evaluate is None, baseline=before)
    with ExitStack() as stack:
        sessions = open_formats(
            stack,
            opened,
            wanted,
            device,
            threads,
            on_missing=report,
            reach=Reach(delegate, delegate_options or {}, allow_fallback),
        )
        float_model = open_reference(stack, holder, threads)
        on_cpu = [_on_cpu(stack, opened, session, threads) for session in sessions]

        def update(done: int) -> None:
            progress("checking", done, compared.count, "images")

        parity = compare(float_model, sessions, compared.recorded(), held, update, on_cpu)
    parity.require_r2()
    size = reference_bytes(holder, float_model)
    document = check_document.document(os.fspath(bundle), opened, parity, compared, size)
    unsure = check_document.judge(document, before, wanted).unsure if before is not None else ()
    return Checked(document, compared, unsure)


def _require_images(
    evaluate: _Path | None, count: int | None, crop_fraction: float | None, skip_damaged: bool
) -> None:
    """Refuses arguments about images that are out of range, or that need a folder and have none."""
    require_way(crop_fraction)
    if count is not None and count < 1:
        raise UsageError(f"--images {count}: at least one image is needed")
    of_folders = {"--crop-fraction": crop_fraction is not None, "--skip-damaged": skip_damaged}
    for option, given in of_folders.items():
        if given and evaluate is None:
            raise UsageError(f"{option} is for the images of --evaluate DIR: name the folder too")


def _images(
    bundle: Bundle,
    evaluate: _Path | None,
    count: int | None,
    crop_fraction: float | None,
    skip: Skip | None,
) -> Images:
    """The images of a folder, or crops of the photographs at hand where none is named."""
    spec = bundle.manifest.input
    if evaluate is None:
        return crops_of(spec, count or CROPS)
    if crop_fraction is not None:
        spec = replace(spec, crop_fraction=crop_fraction)
    return folder_of(bundle, spec, os.fspath(evaluate), count, skip)


def _read_baseline(
    path: _Path | None, bundle: Bundle, formats: Sequence[str] | None
) -> Mapping[str, Any] | None:
    """An earlier document, once it is known to be comparable with a check of the bundle."""
    if path is None:
        return None
    found = baseline_file.read(os.fspath(path))
    earlier.require_comparable(found, bundle.manifest.task, formats)
    return found


def _require_of_task(asked: Limits, task: str) -> None:
    """Refuses limits of what the bundle has not."""
    of_classes = {"--max-drop": asked.max_drop, "--min-agreement": asked.min_agreement}
    foreign, instead = (
        {"--min-r2": asked.min_r2},
        "a classifier: take --max-drop or --min-agreement",
    )
    if task == REGRESSION:
        foreign, instead = of_classes, "a regression: take --min-r2"
    for option, value in foreign.items():
        if value is not None:
            raise UsageError(f"there is nothing for {option} to limit, as the bundle is {instead}")


def _require_labels(asked: Limits, images: Images) -> None:
    if asked.max_drop is not None and not images.labelled:
        raise UsageError(
            f"--max-drop needs labels, and {images.source} have none: name a folder of class "
            "folders, or one with a labels.csv, with --evaluate, or leave --max-drop off"
        )


def _tell_coarse(asked: Limits, images: Images, report: Callable[[str], None]) -> None:
    """Tells that there are so few images that a single one is more than may be lost."""
    allowed = MAX_DROP if asked.max_drop is None else asked.max_drop
    points = 100 / images.count
    if images.labelled and 0 < allowed < points:
        report(
            f"of {counted(images.count, 'image')} one is {points:.1f} points of top-1, and "
            f"{allowed:g} may be lost: a single answer decides; take more images, or allow more "
            "with --max-drop"
        )


def _limits(
    asked: Limits, info: SessionInfo, *, crops: bool, baseline: Mapping[str, Any] | None
) -> Limits:
    defaults = default_limits(info, crops)
    if baseline is None:
        return defaults.overridden_by(asked)
    missed = earlier.missed(baseline, info.format, info.device_used, defaults)
    return defaults.overridden_by(asked, missed)


def _on_cpu(
    stack: ExitStack, bundle: Bundle, session: Session, threads: int | None
) -> Session | None:
    """The same file in the same engine on the CPU; None where it runs there already."""
    info = session.info
    if info.device_used == "cpu":
        return None
    return stack.enter_context(load(bundle, info.format, "cpu", threads, engine=info.engine))
