"""What `convert` is asked for, and what of it cannot be."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from converters.formats import LOWERINGS, require_formats
from converters.npu.compiling import require_compiler_of
from converters.preprocessing import Preprocessing
from converters.quantization.images import FEWEST_TO_SPLIT
from converters.quantization.quantize import Method
from converters.scheme.recipe import CALIBRATED, INT8, UNCALIBRATED
from converters.targets import Target
from edgenet.bundle import CLASSIFICATION, PRECISIONS, REGRESSION, TASKS
from edgenet.errors import UsageError
from edgenet.images import LABELS_CSV, ImageFolder
from edgenet.measure.limits import NO_LIMITS, Limits
from edgenet.preparing import require_way
from edgenet.report.cells import counted
from edgenet.runtime.engines import installed

_ROUNDED = (*CALIBRATED, *UNCALIBRATED)
# By option, the precisions in which it can decide something.
_DECIDED: Mapping[str, tuple[str, ...]] = {
    "--calibration-images": _ROUNDED,
    "--range-rule": CALIBRATED,
    "--rounding": _ROUNDED,
    "--without": INT8,
    "--effort": _ROUNDED,
    "--recipe": _ROUNDED,
    "--strict": INT8,
    "--keep-float": INT8,
}

# The options whose outcome a recipe holds.
_HELD = {"--range-rule", "--rounding", "--keep-float"}


@dataclass(frozen=True)
class Request:
    """What `convert` is asked for; the fields are `convert`'s arguments.

    `given` has those of the options that only some precisions use and that the caller gave, even
    where it is the default's value.
    """

    model: str | os.PathLike[str]
    output: Path
    precision: str
    formats: tuple[str, ...]
    calibration: str | os.PathLike[str] | None
    calibration_images: int | None
    skip_damaged: bool
    evaluate: str | os.PathLike[str] | None
    max_drop: float | None
    min_r2: float | None
    crop_fraction: float | None
    interpolation: str | None
    preprocess: Preprocessing | None
    labels: str | os.PathLike[str] | None
    weights: str | os.PathLike[str] | None
    download: bool
    input_size: int | None
    batch: int
    method: Method
    strict: bool
    target: Target | None = None
    head: str | int | None = None
    task: str = CLASSIFICATION
    given: frozenset[str] = frozenset()

    @property
    def rounds(self) -> bool:
        """Whether the weights of a precision without ranges are rounded on images of the user's."""
        return self.precision in UNCALIBRATED and self.calibration is not None

    @property
    def quantizes(self) -> bool:
        """Whether images decide how activations or weights are quantized."""
        return self.precision in CALIBRATED or self.rounds

    @property
    def limits(self) -> Limits:
        """What each file has to keep where the result is judged."""
        return Limits(max_drop=self.max_drop, min_r2=self.min_r2)

    @property
    def limit(self) -> str:
        """The option that limits what int8 may cost in this task."""
        return "--min-r2" if self.task == REGRESSION else "--max-drop"

    @property
    def limited(self) -> bool:
        """Whether it was given."""
        return self.limits != NO_LIMITS

    @property
    def lowerings(self) -> Mapping[str, str]:
        """The modules that write the target's formats, where those are not the formats' own."""
        return {} if self.target is None else self.target.lowerings

    def require(self) -> None:
        """Refuses what cannot be, before any work.

        Raises:
            UsageError: An argument is out of its range, or contradicts another.
            MissingExtraError: An engine or a compiler that it needs is not installed.
        """
        _check(self)


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
    if request.target is not None:
        _check_target(request, request.target)
    require_formats(request.precision, request.formats)
    for format in request.formats:
        installed((format,))  # Each file is verified in its engine.
    if request.batch < 1:
        raise UsageError(f"a batch has 1 image or more, not {request.batch}")
    require_way(request.crop_fraction, request.interpolation)
    if request.calibration is not None:
        ImageFolder.open(request.calibration)
    if request.skip_damaged and request.calibration is None and request.evaluate is None:
        raise UsageError(
            "--skip-damaged is for photos of a folder: add --calibration DIR or --evaluate DIR"
        )
    _check_task(request)
    _check_evaluation(request)
    _check_given(request)


def _check_target(request: Request, target: Target) -> None:
    """What contradicts the target, and what it needs that is not here."""
    target.require_precision(request.precision)
    target.require_formats(request.formats)
    if target.integers and request.limited and request.evaluate is None:
        raise UsageError(
            f"{target.name} runs integers alone, so {request.limit} can return nothing to float: "
            "add --evaluate DIR to judge the result, or leave it off"
        )
    if request.method.floats and "int8-mixed" not in target.precisions:
        raise UsageError(
            f"{target.name} does not run int8-mixed, which --keep-float makes of int8: leave "
            "--keep-float off"
        )
    require_compiler_of(target)


def _check_given(request: Request) -> None:
    """Refuses what would change nothing."""
    precision = request.precision
    if request.method.recipe is not None and (held := sorted(request.given & _HELD)):
        raise UsageError(f"--recipe says what {held[0]} would: leave {held[0]} off")
    for option in sorted(request.given):
        if precision not in _DECIDED[option]:
            instead = "take --int8"
        elif precision in UNCALIBRATED and not request.rounds:
            instead = "add --calibration DIR to round on, or take --int8"
        else:
            continue
        raise UsageError(
            f"there is nothing for {option} to decide in {precision}: {instead}, or leave it off"
        )


def _check_task(request: Request) -> None:
    if request.task not in TASKS:
        raise UsageError(f"no task is called {request.task!r}: take one of {', '.join(TASKS)}")
    if request.task == REGRESSION and request.max_drop is not None:
        raise UsageError(
            "--max-drop is in points of top-1, and a regression has no classes: take --min-r2"
        )
    if request.task != REGRESSION and request.min_r2 is not None:
        raise UsageError(
            "--min-r2 is for values, and a classifier has none: take --max-drop, or add --task "
            f"{REGRESSION}"
        )


def _check_evaluation(request: Request) -> None:
    """Before the work, not after it: that there is what the result is to be judged on."""
    request.limits.require()
    if request.evaluate is not None:
        labelled = ImageFolder.open(request.evaluate).labels is not None
        if request.max_drop is not None and not labelled:
            raise UsageError(
                f"--max-drop needs labels, and {os.fspath(request.evaluate)} has none: put its "
                f"images in one folder a class, or list them in a {LABELS_CSV}"
            )
    elif request.limited and request.precision not in INT8:
        judged = "labelled images" if request.max_drop is not None else "images"
        raise UsageError(
            f"{request.limit} of {request.precision} is judged on {judged}: add --evaluate DIR, or "
            "--int8"
        )
    elif request.limited:
        _check_images(request)
    if request.strict and not request.limited:
        raise UsageError(f"--strict is about what may be lost: add {request.limit}")
    if request.strict and request.method.floats:
        raise UsageError(
            "--strict is int8 throughout, which --keep-float is not: leave one of them off"
        )
    if request.method.recipe is not None and request.limited:
        _check_replay(request)


def _check_images(request: Request) -> None:
    """Images that set ranges flatter them: some have to be held out to judge by."""
    count = request.method.images(request.calibration_images)
    if count < FEWEST_TO_SPLIT:
        raise UsageError(
            f"{request.limit} is judged on images that set no ranges, and of "
            f"{counted(count, 'image')} none is left for that: take {FEWEST_TO_SPLIT} or more, as "
            "in --calibration-images 128, or add --evaluate DIR"
        )


def _check_replay(request: Request) -> None:
    """A replayed recipe is not searched: what it must keep can only be judged, on labels."""
    if request.evaluate is None:
        raise UsageError(
            f"--recipe replays a decision, so {request.limit} can only be judged: add --evaluate "
            "DIR"
        )
    if request.strict:
        raise UsageError("--recipe says what is in float: leave --strict off")
