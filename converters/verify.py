"""The proof: each file answers in its engine, and what it answers is compared with Keras."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np

from converters.graph import Floats
from converters.quantization.search import decibels
from converters.quantization.simulate import noise
from converters.report import Report
from converters.scheme.recipe import INT8
from edgenet.bundle import REGRESSION, Artifact, Bundle, FileRecord, Verification
from edgenet.errors import AccuracyError
from edgenet.images import Pixels, Skip
from edgenet.measure import parity
from edgenet.measure.accuracy import energies, standardized
from edgenet.measure.evaluation import folder_of
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.limits import NO_LIMITS, Limits
from edgenet.report.cells import drop, error, growth, number, percent
from edgenet.runtime.loading import load_artifact
from edgenet.runtime.processors import cpu_name

# A rounded file that keeps less than this is of next to no use: min-max ranges keep 10 dB of B0.
_USELESS_DB = 10.0
# Kernels round ties their own way, which moves the noise by a decibel or two. Twice its amplitude
# is other arithmetic: sums that saturate, say, as 16-bit ones do on x86 without VNNI.
_OTHERWISE_DB = 6.0
# Of a file that is nearly all in float there is no noise to compare: this far below the answers is
# what sums in another order come to.
_SILENT_DB = 50.0
# What an artifact says before its check: nothing that a limit would let through.
_UNVERIFIED = Verification(images=0, agreement=0.0, sqnr_db=None, max_error=float("inf"))


class PrecisionError(AccuracyError):
    """A precision costs more accuracy than it may; another may not (exit code 3)."""


def verify(
    bundle: Bundle,
    format: str,
    precision: str,
    files: tuple[FileRecord, ...],
    images: Iterable[Pixels],
    answers: Floats,
    simulated: Floats | None = None,
    limits: Limits = NO_LIMITS,
    report: Report = lambda line: None,
) -> Artifact:
    """Runs a new file of a bundle and compares its answers with Keras's to the same images.

    Args:
        bundle: The bundle as far as it is written.
        format: Of the file.
        precision: Of the file.
        files: What an engine needs of the bundle, the one to open first.
        images: Batches of the model's size.
        answers: What Keras answers, images × classes or images × values.
        simulated: The logits that int8 should give for the first of the images, up to ties.
        limits: What the file has to keep beside what every file of its precision must; its SQNR is
            of what tells images apart (`converters.quantization.simulate.noise`).
        report: Told where rounding has left next to nothing of what tells images apart.

    Raises:
        PrecisionError: A file does not give Keras's answers for what its precision costs.
        AccuracyError: It does not for another reason.
    """
    artifact = Artifact(format, precision, files, _UNVERIFIED)
    with load_artifact(bundle, artifact) as session:
        found = np.concatenate([session.run(batch) for batch in images])
        engine = session.info.engine
    if not np.isfinite(found).all():
        raise PrecisionError(
            f"the {precision} {format} file answers with nan or infinity: the model's numbers are "
            f"beyond what {precision} holds; take another precision"
        )
    fidelity = Fidelity.by(bundle.manifest.task, answers, found)
    failures = Limits.at_conversion(precision).failures(fidelity)
    if failures:
        told = f"the {precision} {format} file is not the Keras model: {failures[0]}"
        raise AccuracyError(told) if precision == "fp32" else PrecisionError(told)
    regresses = bundle.manifest.task == REGRESSION
    kept = decibels(noise(found, answers, regresses))
    if missed := limits.failures(replace(fidelity, sqnr_db=kept)):
        raise PrecisionError(f"{precision} in {format}: {missed[0]}")
    if simulated is not None:
        first = slice(len(simulated))
        compared = [answers[first], found[first], simulated]
        if regresses:
            # What tells images apart, whatever a value's unit and mean are.
            compared = [standardized(values, compared[0]) for values in compared]
        _require_arithmetic(artifact, engine, *compared)
    if kept < _USELESS_DB:
        option = "--min-r2" if regresses else "--max-drop"
        returned = f"with {option} operators return to float"
        report(
            f"{precision} in {format} keeps only {kept:.1f} dB of what tells images apart: "
            f"{returned if precision in INT8 else 'take another precision'}"
        )
    verified = Verification(len(answers), fidelity.agreement, fidelity.sqnr_db, fidelity.max_error)
    return replace(artifact, verified=verified)


def _require_arithmetic(
    artifact: Artifact, engine: str, answers: Floats, found: Floats, simulated: Floats
) -> None:
    """Refuses a file whose engine does not compute int8 as it is defined."""
    kept, wanted = (_db_of_most(answers, those) for those in (found, simulated))
    if kept >= min(wanted - _OTHERWISE_DB, _SILENT_DB):
        return
    raise AccuracyError(
        f"on this CPU ({cpu_name()}) {engine} answers with {kept:.1f} dB of Keras's answers where "
        f"the arithmetic of the {artifact.precision} {artifact.format} file gives {wanted:.1f}: "
        f"its kernels err here. Leave {artifact.format} out with --to, or take another version of "
        "the engine"
    )


def _db_of_most(answers: Floats, found: Floats) -> float:
    """The SQNR without the worst image: a network may amplify the tie of one."""
    errors = np.sort(energies(answers - found))
    most = errors[: max(len(errors) - 1, 1)]
    return decibels(float(most.mean() / max(energies(answers).mean(), np.finfo(float).tiny)))


def judge(
    bundle: Bundle,
    folder: str | os.PathLike[str],
    limits: Limits,
    report: Report,
    skip: Skip | None = None,
) -> dict[str, Any]:
    """Evaluates a bundle on labelled images before it takes its place.

    Args:
        bundle: All of it, its place apart.
        folder: See `edgenet.images.ImageFolder`.
        limits: What each file has to keep.
        report: Told what is being done and what was found.
        skip: Told of a damaged image, which is left out; where it is None, one stops the work.

    Returns:
        What was found, as `Manifest.evaluation`.

    Raises:
        PrecisionError: A file does not keep the limits.
        UsageError: There is no R² to judge by.
        ImageError: A damaged image, when it is reached; or all are.
    """
    report(f"evaluating on {os.fspath(folder)}")
    images = folder_of(bundle, bundle.manifest.input, os.fspath(folder), skip=skip)
    float_model = bundle.manifest.float_model
    assert float_model is not None, "convert writes one"
    with ExitStack() as stack:
        reference, *sessions = (
            stack.enter_context(load_artifact(bundle, artifact))
            for artifact in (float_model, *bundle.manifest.artifacts)
        )
        compared = parity.compare(reference, sessions, images.recorded(), lambda info: limits)
    if limits.min_r2 is not None:
        compared.require_r2()
    value = compared.worst_value_name(bundle.labels())
    of_value = "" if value is None else f" of {value}"
    for line in _of_fp32(compared, of_value):
        report(line)
    for result in compared.results:
        report(f"{result.info.format}: {_kept(result.fidelity, of_value)}")
        if not result.passed:
            file = f"{result.info.precision} in {result.info.format}"
            raise PrecisionError(f"{file}: {result.failures[0]}")
    return {
        "images": compared.images,
        "sha256": images.digest.hexdigest(),
        "reference_top1": compared.reference_top1,
        "reference_mae": compared.reference_mae,
        "worst_value": value,
        "results": [_measured(result) for result in compared.results],
    }


def _of_fp32(compared: parity.Parity, of_value: str) -> Iterator[str]:
    """How good the float model is itself, and what makes a comparison with it mean nothing."""
    if compared.reference_top1 is not None:
        yield f"fp32 is right on {percent(compared.reference_top1)} of {compared.images} images"
    if compared.reference_mae is not None:
        mae = f"an MAE{of_value} of {error(compared.reference_mae)}"
        yield f"fp32 has {mae} on {compared.images} images"
    if compared.doubt:
        yield compared.doubt


def _kept(found: Fidelity, of_value: str) -> str:
    """How near a file's answers are, in words and numbers; errors with what they are of."""
    if found.agreement is None:
        told = f"R² {number(found.r2, 4)}, mean error{of_value} {error(found.mean_error)}"
        if found.growth is None:
            return told
        more = growth(found.growth.amount, found.growth.interval)
        return f"{told}, MAE {error(found.mae)}, {more} of fp32's"
    lost = f", drop {drop(found.drop.points, found.drop.interval)} points" if found.drop else ""
    return f"agreement {found.agreement:.4f}{lost}"


def _measured(result: parity.Result) -> dict[str, Any]:
    found = result.fidelity
    return {
        "format": result.info.format,
        "top1": found.top1,
        "drop_points": found.drop_points,
        "drop_interval": found.drop_interval,
        "mcnemar_p": found.mcnemar_p,
        "agreement": found.agreement,
        "sqnr_db": found.sqnr_db,
        "r2": found.r2,
        "mean_error": found.mean_error,
        "mae": found.mae,
        "mae_growth": found.mae_growth,
        "mae_growth_interval": found.mae_growth_interval,
    }
