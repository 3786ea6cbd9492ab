"""The comparison that `check` makes, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from edgenet.bundle import Bundle, summary
from edgenet.measure.accuracy import NO_ANSWER
from edgenet.measure.baseline import Change, Comparison, compare
from edgenet.measure.damage import Answer, Damage
from edgenet.measure.evaluation import Images
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.machine import describe
from edgenet.measure.paired import Energies, Evidence
from edgenet.measure.parity import Parity, PerImage, Result
from edgenet.measure.speeds import split_times
from edgenet.report.devices import where

Document = dict[str, Any]

_EVIDENCE = tuple(field.name for field in fields(Evidence))


def document(
    path: str, bundle: Bundle, parity: Parity, images: Images, reference_bytes: int
) -> Document:
    """The document of `check --json`; `reference_bytes` is the size of the reference's file."""
    manifest, labels = bundle.manifest, bundle.labels()
    return {
        "bundle": path,
        "task": manifest.task,
        "reference": _reference(parity, reference_bytes),
        "images": parity.images,
        "images_source": images.source,
        "images_sha256": images.digest.hexdigest(),
        "labels": None if parity.labels is None else parity.labels.tolist(),
        "worst_value": parity.worst_value_name(labels),
        "results": [_entry(result, images, bundle, labels) for result in parity.results],
        "cross_agreement": [
            {**asdict(pair), "formats": list(pair.formats)} for pair in parity.cross_agreement
        ],
        "passed": parity.passed,
        "doubt": parity.doubt,
        "baseline": None,
        "regressions": [],
        "recipe": {"name": bundle.path.resolve().name, **summary(manifest)},
        "machine": describe(),
    }


def _reference(parity: Parity, size: int) -> Document:
    info = parity.reference
    return {
        "format": info.format,
        "precision": info.precision,
        "device_used": info.device_used,
        "engine": info.engine,
        "bytes": size,
        "top1": parity.reference_top1,
        "top5": parity.reference_top5,
        "mae": parity.reference_mae,
        "p50_ms": parity.reference_p50_ms,
        "answers": _classes(parity.reference_per_image),
        "signal": _rounded(parity.reference_per_image.energy),
    }


def judge(
    document: Document, baseline: Mapping[str, Any], formats: Collection[str] | None = None
) -> Comparison:
    """Compares with an earlier document, and enters into this one what came of it.

    `formats` are as for `baseline.compare`.
    """
    found = compare(document, baseline, formats)
    document["baseline"] = {
        "rule": found.rule,
        "paired": found.paired,
        "changes": [_change(change) for change in found.changes],
    }
    document["regressions"] = found.regressions
    document["passed"] = document["passed"] and not found.regressions
    return found


def _change(change: Change) -> Document:
    evidence = asdict(change.evidence) if change.evidence else dict.fromkeys(_EVIDENCE)
    return {**{k: v for k, v in asdict(change).items() if k != "evidence"}, **evidence}


def _rounded(energies: Energies) -> list[float]:
    """To four digits: an image is off by 0.002 dB at most, 10 log10(1 + 5e-4)."""
    return [float(f"{energy:.4g}") for energy in energies]


def _entry(
    result: Result, images: Images, bundle: Bundle, labels: Sequence[str] | None
) -> Document:
    info, fidelity = result.info, result.fidelity
    return {
        "format": info.format,
        "precision": info.precision,
        "device": info.device,
        "device_used": info.device_used,
        "engine": info.engine,
        "kind": info.kind,
        "device_name": info.device_name,
        "ran_on": where(info),
        "delegated_fraction": info.delegated_fraction,
        "time_elsewhere": info.time_elsewhere,
        "bytes": bundle.artifact(info.format).bytes,
        "top1": fidelity.top1,
        "top5": fidelity.top5,
        "drop_points": fidelity.drop_points,
        "drop_interval": fidelity.drop_interval,
        "mcnemar_p": fidelity.mcnemar_p,
        "agreement": fidelity.agreement,
        "sqnr_db": fidelity.sqnr_db,
        "max_error": fidelity.max_error,
        "cosine": fidelity.cosine,
        "kl": fidelity.kl,
        "r2": fidelity.r2,
        "mean_error": fidelity.mean_error,
        "mae": fidelity.mae,
        "mae_growth": fidelity.mae_growth,
        "mae_growth_interval": fidelity.mae_growth_interval,
        **split_times(info.kind, {"p50_ms": result.p50_ms}),
        "beside_cpu": _beside(result.beside_cpu),
        "passed": result.passed,
        "failures": list(result.failures),
        "damage": _damage(result.damage, images, labels),
        "answers": _classes(result.per_image),
        "noise": _rounded(result.per_image.energy),
    }


def _classes(images: PerImage) -> list[int | None] | None:
    """Each image's class, None where it has no answer; a regression has no classes at all."""
    if images.answers is None:
        return None
    return [None if a == NO_ANSWER else a for a in images.answers.tolist()]


def _beside(beside: Fidelity | None) -> Document | None:
    if beside is None:
        return None
    return {
        "agreement": beside.agreement,
        "sqnr_db": beside.sqnr_db,
        "max_error": beside.max_error,
    }


def _told(answer: Answer, named: Callable[[int], str]) -> str:
    """A class by its name; values by theirs, where there are several."""
    if answer.values is not None:
        told = [f"{value:.4g}" for value in answer.values]
        if len(told) == 1:
            return told[0]
        return ", ".join(f"{named(index)} {value}" for index, value in enumerate(told))
    return "no answer" if answer.index is None else named(answer.index)


def _damage(damage: Damage, images: Images, labels: Sequence[str] | None) -> Document:
    def named(index: int) -> str:
        return labels[index] if labels and index < len(labels) else str(index)

    def told(answer: Answer) -> Document:
        return {**asdict(answer), "name": _told(answer, named)}

    return {
        "changed": damage.changed,
        "worst": [
            {
                "image": images.name(image.number),
                "number": image.number,
                "kl": image.kl,
                "label": None if image.label is None else named(image.label),
                "reference": told(image.reference),
                "ours": told(image.ours),
            }
            for image in damage.worst
        ],
        "classes": [{**asdict(found), "name": named(found.index)} for found in damage.classes],
    }
