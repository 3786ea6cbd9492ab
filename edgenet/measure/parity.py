"""Whether the files of a bundle still answer as the fp32 reference does, image by image."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from edgenet.bundle import REGRESSION
from edgenet.errors import AccuracyError, UsageError
from edgenet.images import Batch, Pixels
from edgenet.measure import accuracy, latency
from edgenet.measure.damage import Damage, find, find_in_values
from edgenet.measure.fidelity import Fidelity, Labels, Logits
from edgenet.measure.limits import Limits, computed
from edgenet.report.cells import counted

if TYPE_CHECKING:
    from edgenet.runtime import Session, SessionInfo


# The top-1 above chance that is taken for chance too, on the few hundred images of a check; where
# there are many classes, no more than chance itself.
_ABOVE_CHANCE = 0.05


@dataclass(frozen=True)
class Answers:
    """A session's logits or values, one row an image, and the median ms of one call.

    `void` counts the images answered with NaN or infinity, as half floats that overflow are.
    """

    logits: Logits
    p50_ms: float
    void: int

    @classmethod
    def of(cls, logits: Logits, nanoseconds: Sequence[int]) -> Answers:
        """All that was answered, and what the calls took."""
        void = len(logits) - int(accuracy.answered(logits).sum())
        return cls(logits, float(np.median(nanoseconds)) / 1e6, void)

    @property
    def failures(self) -> tuple[str, ...]:
        """That some images have no answer, in words."""
        told = f"{self.void} of {len(self.logits)} images answered with NaN or infinity"
        return (told,) if self.void else ()


@dataclass(frozen=True)
class Truth:
    """What should be answered: a class an image, or a regression's values; None if unknown."""

    labels: Labels | None
    values: Logits | None


@dataclass(frozen=True)
class PerImage:
    """What another run on the same images can be compared with, image by image.

    `answers` are top-1 classes (`accuracy.NO_ANSWER` for NaN or infinity), None of a regression.
    `energy` are sums over an image's logits: for the reference of their squares (the signal), for a
    file of their squared differences from the reference's (the noise); of a regression over its
    values, `accuracy.standardized`.
    """

    answers: Labels | None
    energy: NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """One file: fidelity, what it broke, median ms of a call, and the limits it did not keep.

    `beside_cpu` compares the device with the CPU on the same file; None for the CPU itself.
    """

    info: SessionInfo
    fidelity: Fidelity
    per_image: PerImage
    damage: Damage
    p50_ms: float
    failures: tuple[str, ...]
    beside_cpu: Fidelity | None = None

    @property
    def passed(self) -> bool:
        """Whether every limit was kept."""
        return not self.failures


@dataclass(frozen=True)
class CrossAgreement:
    """How alike two files answer: the share of equal top-1 classes, and the logits' cosine."""

    formats: tuple[str, str]
    agreement: float
    cosine: float


@dataclass(frozen=True)
class Parity:
    """Files against the reference on the same images.

    `reference_top1` and `reference_top5` are shares 0..1, None without labels, the latter also for
    up to five classes; `reference_mae` is a regression's mean absolute error, None where the true
    values are not known. `worst_value` is which of a regression's values a file keeps worst: the
    mean errors are of that one; None of a classifier. `reference_p50_ms` is the median of a call of
    the reference, on the CPU.
    """

    images: int
    labels: Labels | None
    reference: SessionInfo
    reference_top1: float | None
    reference_top5: float | None
    reference_mae: float | None
    worst_value: int | None
    reference_p50_ms: float
    reference_per_image: PerImage
    results: tuple[Result, ...]
    cross_agreement: tuple[CrossAgreement, ...]

    @property
    def doubt(self) -> str | None:
        """What makes a drop mean nothing: a float model that is right no more often than chance."""
        chance = 1 / self.reference.classes
        if self.reference_top1 is None or self.reference_top1 > chance + min(chance, _ABOVE_CHANCE):
            return None
        return (
            f"fp32 itself is right on {self.reference_top1:.1%} of the images, as by chance: if "
            "their labels are of other classes, no drop means anything"
        )

    @property
    def passed(self) -> bool:
        """Whether every file kept every limit."""
        return all(result.passed for result in self.results)

    def worst_value_name(self, labels: Sequence[str] | None) -> str | None:
        """The name of `worst_value`: its label or its index; None where there is but one value."""
        if self.worst_value is None or self.reference.classes == 1:
            return None
        return labels[self.worst_value] if labels else str(self.worst_value)

    def require_r2(self) -> None:
        """Refuses to judge by an R² that there is not.

        Raises:
            UsageError: They are a regression's, and the reference answers alike to all images.
        """
        regresses = self.reference.task == REGRESSION
        if regresses and any(result.fidelity.r2 is None for result in self.results):
            raise UsageError(
                "there is no R² to judge by: fp32's values do not vary over "
                f"{counted(self.images, 'image')}; take more of them, or others"
            )


def default_limits(info: SessionInfo, crops: bool = False) -> Limits:
    """What a file must keep unless the user says otherwise: `Limits.of` what its device computes.

    Args:
        info: Of the file.
        crops: Whether the images are crops of a few photographs.
    """
    return Limits.of(computed(info.precision, info.device_used), crops)


def compare(
    reference: Session,
    sessions: Sequence[Session],
    batches: Iterable[Batch],
    limits: Callable[[SessionInfo], Limits] | None = None,
    progress: Callable[[int], None] | None = None,
    on_cpu: Sequence[Session | None] = (),
) -> Parity:
    """Runs the reference and every session over the images once and compares their logits.

    Of the images one batch is held at a time; of the answers, the logits.

    Args:
        reference: The float model.
        sessions: What to judge, with the reference's input size and classes.
        batches: The prepared images, with labels or without.
        limits: What a file must keep; None takes `default_limits`.
        progress: Told the number of images done after each batch.
        on_cpu: For each of `sessions` the same file on the CPU, or None; none at all by default.

    Raises:
        UsageError: The reference is of another network, or a label is not among the classes.
        AccuracyError: The reference answers NaN or infinity.
    """
    held = limits or default_limits
    for session in sessions:
        _require_alike(reference.info, session.info)
    others = [session for session in on_cpu if session is not None]
    (first, *answers), truth = collect((reference, *sessions, *others), batches, progress)
    if first.void:
        raise AccuracyError(f"nothing to compare with: the fp32 reference has {first.failures[0]}")
    worst_value = None
    if reference.info.task == REGRESSION:
        files = [accuracy.finite(those.logits) for those in answers[: len(sessions)]]
        worst_value = accuracy.kept_worst(first.logits, files)
    beside = iter(answers[len(sessions) :])
    of_cpu = [next(beside) if session else None for session in on_cpu] or [None] * len(sessions)
    return Parity(
        images=len(first.logits),
        labels=truth.labels,
        reference=reference.info,
        reference_top1=None if truth.labels is None else accuracy.top1(first.logits, truth.labels),
        reference_top5=None if truth.labels is None else accuracy.top5(first.logits, truth.labels),
        reference_mae=None
        if truth.values is None or worst_value is None
        else float(accuracy.absolute_errors(first.logits, truth.values, worst_value).mean()),
        worst_value=worst_value,
        reference_p50_ms=first.p50_ms,
        reference_per_image=_per_image(reference.info.task, first.logits),
        results=tuple(
            _result(session.info, answer, first.logits, truth, held(session.info), cpu, worst_value)
            for session, answer, cpu in zip(sessions, answers[: len(sessions)], of_cpu, strict=True)
        ),
        cross_agreement=()
        if reference.info.task == REGRESSION
        else _cross_agreement([s.info.format for s in sessions], answers[: len(sessions)]),
    )


def collect(
    sessions: Sequence[Session],
    batches: Iterable[Batch],
    progress: Callable[[int], None] | None = None,
) -> tuple[list[Answers], Truth]:
    """The answers of every session to the same images, and what they should be.

    Sessions take turns batch by batch, so that drift of the machine hits all alike.

    Raises:
        UsageError: A label is not among the classes.
    """
    logits: list[list[Logits]] = [[] for _ in sessions]
    times: list[list[int]] = [[] for _ in sessions]
    labels: list[int] = []
    values: list[tuple[float, ...]] = []
    done = 0
    for batch in batches:
        _require_known(batch, sessions[0].info.classes)
        for session, rows, spent in zip(sessions, logits, times, strict=True):
            _answer(session, batch.images, rows, spent)
        labels += batch.labels or ()
        values += batch.values or ()
        done += len(batch.images)
        if progress:
            progress(done)
    answers = [
        Answers.of(np.concatenate(rows), spent) for rows, spent in zip(logits, times, strict=True)
    ]
    return answers, Truth(
        labels=np.asarray(labels, np.int64) if labels else None,
        values=np.asarray(values, np.float32) if values else None,
    )


def _answer(session: Session, images: Pixels, rows: list[Logits], spent: list[int]) -> None:
    """Answers a batch in calls of the model's own batch size, each of them timed."""
    size = session.info.batch
    for start in range(0, len(images), size):
        call = images[start : start + size]
        nanoseconds, logits = latency.timed(partial(session.run, call))
        spent.append(nanoseconds)
        rows.append(logits)


def _per_image(task: str, reference: Logits, answers: Logits | None = None) -> PerImage:
    """Of the reference or, where there are `answers`, of a file."""
    if task == REGRESSION:
        signal = accuracy.standardized(reference, reference)
        if answers is None:
            return PerImage(None, accuracy.energies(signal))
        found = accuracy.standardized(accuracy.finite(answers), reference)
        return PerImage(None, accuracy.energies(signal - found))
    if answers is None:
        return PerImage(accuracy.answers(reference), accuracy.energies(reference))
    noise = reference - accuracy.finite(answers)
    return PerImage(accuracy.answers(answers), accuracy.energies(noise))


def _result(
    info: SessionInfo,
    answers: Answers,
    reference: Logits,
    truth: Truth,
    limits: Limits,
    cpu: Answers | None,
    value: int | None,
) -> Result:
    found, damage = _judged(info.task, reference, answers.logits, truth, value)
    per_image = _per_image(info.task, reference, answers.logits)
    failures = answers.failures + limits.failures(found)
    beside = None
    if cpu is not None:
        beside = Fidelity.by(info.task, cpu.logits, answers.logits)
        told = Limits.beside_cpu(info.precision, info.device_used).failures(beside)
        failures += tuple(f"beside the cpu, {failure}" for failure in told)
    return Result(
        info=info,
        fidelity=found,
        per_image=per_image,
        damage=damage,
        p50_ms=answers.p50_ms,
        failures=failures,
        beside_cpu=beside,
    )


def _judged(
    task: str, reference: Logits, answers: Logits, truth: Truth, value: int | None
) -> tuple[Fidelity, Damage]:
    if task == REGRESSION:
        found = Fidelity.of_values(reference, answers, truth.values, value)
        return found, find_in_values(reference, answers)
    labels, kl = truth.labels, accuracy.divergences(reference, answers)
    return Fidelity.of(reference, answers, labels, kl), find(reference, answers, kl, labels)


def _cross_agreement(
    formats: Sequence[str], answers: Sequence[Answers]
) -> tuple[CrossAgreement, ...]:
    pairs = combinations(zip(formats, answers, strict=True), 2)
    return tuple(
        CrossAgreement(
            (a, b),
            accuracy.agreement(ours.logits, theirs.logits),
            accuracy.cosine(accuracy.finite(ours.logits), accuracy.finite(theirs.logits)),
        )
        for (a, ours), (b, theirs) in pairs
    )


def _require_alike(reference: SessionInfo, info: SessionInfo) -> None:
    """Batch sizes may differ; what an image and an answer are may not."""
    asked = (*reference.input_shape[1:], reference.classes, reference.task)
    found = (*info.input_shape[1:], info.classes, info.task)
    if asked != found:
        raise UsageError(
            f"the reference is another network: it takes {_network(reference)}, "
            f"the {info.format} file {_network(info)}; name the right one with --reference BUNDLE"
        )


def _network(info: SessionInfo) -> str:
    _, height, width, _ = info.input_shape
    answers = "values" if info.task == REGRESSION else "classes"
    return f"{height}×{width} images and knows {info.classes} {answers}"


def _require_known(batch: Batch, classes: int) -> None:
    highest = max(batch.labels or (0,))
    if highest >= classes:
        raise UsageError(
            f"an evaluation image has the class index {highest}, "
            f"but the model's end at {classes - 1}: correct the labels"
        )
