"""An earlier `check --json` as the bar: what got worse since."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edgenet.bundle import CLASSIFICATION, REGRESSION
from edgenet.errors import UsageError
from edgenet.measure import paired
from edgenet.measure.accuracy import Bools
from edgenet.measure.baseline_file import Document
from edgenet.measure.limits import Limits
from edgenet.measure.paired import CEILING_DB, Evidence

SHARE = 0.005
"""What may be lost of top-1, of agreement and of R²: 6 of 1,300 images; 7 are more."""

DECIBELS = 1.0
"""SQNR that may be lost: a quarter more noise."""

CHANCE = 0.01
"""A loss with this p-value or more may be chance; low, as three files have nine figures to lose."""

_LOSS = (
    "a loss of more than 0.5 points of top-1 or of agreement, or of 1 dB of SQNR (of a regression, "
    "of 0.005 of R²)"
)
RULE = (
    f"worse is {_LOSS}, which is too large for chance on these images: "
    f"p < {CHANCE}, one-sided, the two runs compared image by image "
    "(top-1 and agreement by McNemar's exact test, SQNR and R² by randomization)"
)
"""When a file is worse, if the two runs saw the same images."""

RULE_UNPAIRED = f"worse is {_LOSS}, be it by chance or not"
"""When a file is worse, if they did not."""

RELABELLED = (
    "the images' labels are others than the baseline's: its top-1 is that of its answers by the "
    "labels of this check"
)
"""What is told beside the rule where that is so."""

Verdict = Literal["kept", "unsure", "worse"]
_Key = tuple[str, str]

_NAMES = {"top1": "top-1", "agreement": "agreement", "sqnr_db": "SQNR", "r2": "R²"}
_OF_CLASSES, _OF_VALUES = ("top1", "agreement", "sqnr_db"), ("r2",)
# Why a figure that the baseline has may be missing now. Agreement never is, and an SQNR of None
# means that the two are equal to the bit.
_UNKNOWN = {
    "top1": "the images have no labels now",
    "r2": "fp32 answers alike to all images now",
}
_UNITS = {"top1": "{:.2%}", "agreement": "{:.4f}", "sqnr_db": "{:.1f} dB", "r2": "{:.4f}"}


@dataclass(frozen=True)
class Change:
    """One figure of one file, then and now.

    `precision_before` is another than `precision` where convert chose otherwise. `measure` is
    "top1", "agreement" (shares 0..1) or "sqnr_db" (None: equal to the bit), of a regression "r2",
    for the SQNR is that of the value with the largest unit. `verdict` is "kept" within the
    tolerance, "worse" beyond it, and "unsure" beyond it where that may be chance. `evidence` is
    None where images were not paired; of several values' R² it is of their mean.
    """

    format: str
    precision_before: str
    precision: str
    device_used: str
    measure: str
    before: float | None
    after: float | None
    evidence: Evidence | None
    verdict: Verdict

    def __str__(self) -> str:
        before, after = (
            "equal to the bit" if value is None else _UNITS[self.measure].format(value)
            for value in (self.before, self.after)
        )
        file = _file(self.format, self.precision_before, self.precision, self.device_used)
        return f"{file}: {_NAMES[self.measure]} fell from {before} to {after}{_told(self.evidence)}"


@dataclass(frozen=True)
class Comparison:
    """All that changed, and the rule that judged it.

    `gone` are files that were not checked now, `unknown` figures that were not measured now, each
    with the reason.
    """

    rule: str
    paired: bool
    changes: tuple[Change, ...]
    gone: tuple[str, ...]
    unknown: tuple[str, ...]

    @property
    def regressions(self) -> list[str]:
        """What got worse, one line each; none, if nothing did."""
        gone = [f"{name} was in the baseline and was not checked now" for name in self.gone]
        worse = [str(change) for change in self.changes if change.verdict == "worse"]
        return [*gone, *self.unknown, *worse]

    @property
    def unsure(self) -> list[str]:
        """What may have got worse, one line each."""
        return [str(change) for change in self.changes if change.verdict == "unsure"]


def require_comparable(
    baseline: Document, task: str, formats: Collection[str] | None = None
) -> None:
    """Refuses a baseline that has nothing in common with a check.

    Args:
        baseline: What `edgenet.measure.baseline_file.read` gave.
        task: Of the bundle that is checked.
        formats: Those that the check is asked for; None where it is asked for all.

    Raises:
        UsageError: The baseline is of another task, or has none of the formats.
    """
    results = baseline["results"]
    found = REGRESSION if results[0]["agreement"] is None else CLASSIFICATION
    if found != task:
        raise UsageError(
            f"the baseline's task is {found} and the bundle's {task}: give --baseline what an "
            "earlier edgenet check --json printed of such a bundle"
        )
    known = sorted({result["format"] for result in results})
    if formats is not None and not set(formats) & set(known):
        raise UsageError(
            f"the baseline has no {' or '.join(formats)} file to compare with: ask with --format "
            f"for what it has ({', '.join(known)}), or give --baseline a check of yours"
        )


def missed(baseline: Document, format: str, device_used: str, limits: Limits) -> frozenset[str]:
    """Which of these limits the baseline's own file misses: "top1", "agreement" or "r2".

    Empty where the baseline has no such file.
    """
    found = set[str]()
    for result in baseline["results"]:
        if _key(result) != (format, device_used):
            continue
        drop, agreement, r2 = (result.get(key) for key in ("drop_points", "agreement", "r2"))
        if limits.max_drop is not None and drop is not None and drop > limits.max_drop:
            found.add("top1")
        if _below(agreement, limits.min_agreement):
            found.add("agreement")
        if _below(r2, limits.min_r2):
            found.add("r2")
    return frozenset(found)


def _below(value: float | None, limit: float | None) -> bool:
    return value is not None and limit is not None and value < limit


def compare(
    document: Document, baseline: Document, formats: Collection[str] | None = None
) -> Comparison:
    """Compares each of the baseline's files with ours of the same format on the same device.

    Where both runs saw the same images, a loss beyond the tolerance (`SHARE`, `DECIBELS`) must also
    be surer than `CHANCE`; where they did not, or the baseline does not tell its answers image by
    image, the tolerance alone decides. A file that was not checked again has regressed, too, and so
    has one of which a figure can no longer be measured. Both runs are judged by the later one's
    labels, because a corrected label does not change the file.

    Args:
        document: The later run.
        baseline: The earlier one.
        formats: Those that the later run was asked for: the baseline's others are passed over; None
            where it was asked for all.
    """
    obstacle = _obstacle(document, baseline)
    ours = {_key(result): result for result in document["results"]}
    changes: list[Change] = []
    relabelled = not obstacle and document["labels"] not in (None, baseline["labels"])
    gone: list[str] = []
    unknown: list[str] = []
    for before in baseline["results"]:
        if formats is not None and before["format"] not in formats:
            continue
        after = ours.get(_key(before))
        if after is None:
            gone.append(" ".join(before[name] for name in ("format", "precision", "device_used")))
        else:
            if relabelled:
                before = {**before, "top1": float(np.mean(_equal(before, document["labels"])))}
            evidence = {} if obstacle else _evidence(document, after, baseline, before)
            changes += _changes(before, after, evidence)
            unknown += _unknown(before, after)
    rule = f"{obstacle}: {RULE_UNPAIRED}" if obstacle else RULE
    rule = f"{rule}; {RELABELLED}" if relabelled else rule
    return Comparison(rule, not obstacle, tuple(changes), tuple(gone), tuple(unknown))


def _obstacle(document: Document, baseline: Document) -> str | None:
    """Why the two cannot be compared image by image."""
    if document["images_sha256"] != baseline.get("images_sha256"):
        return (
            f"the baseline's {baseline['images']} images are not the {document['images']} "
            "of this check"
        )
    if "answers" not in baseline["reference"]:
        return "the baseline is of an older edgenet and does not tell its answers image by image"
    return None


def _evidence(
    document: Document, after: Document, baseline: Document, before: Document
) -> dict[str, Evidence]:
    runs = ((baseline, before), (document, after))
    energies = [
        paired.Energy(_floats(run["reference"]["signal"]), _floats(result["noise"]))
        for run, result in runs
    ]
    if any(result["answers"] is None for _, result in runs):  # Of a regression.
        return {"r2": paired.r2(*energies)}
    found = {"sqnr_db": paired.decibels(*energies)}
    agreed = [_equal(result, run["reference"]["answers"]) for run, result in runs]
    found["agreement"] = paired.shares(*agreed)
    if document["labels"] is not None:
        right = [_equal(result, document["labels"]) for _, result in runs]
        found["top1"] = paired.shares(*right)
    return found


def _floats(values: list[float]) -> paired.Energies:
    return np.asarray(values, np.float64)


def _equal(result: Document, classes: list[int]) -> Bools:
    return np.asarray(result["answers"]) == np.asarray(classes)


def _changes(
    before: Document, after: Document, evidence: Mapping[str, Evidence]
) -> Iterator[Change]:
    for measure in _OF_VALUES if before["agreement"] is None else _OF_CLASSES:
        old, new = (_figure(result, measure) for result in (before, after))
        if old is None or new is None:
            continue
        allowed = DECIBELS if measure == "sqnr_db" else SHARE
        # Five images of 1,000 may be lost, though as floats the shares differ by a bit more.
        lost = old - new > allowed + 1e-9
        sure = evidence.get(measure)
        yield Change(
            format=after["format"],
            precision_before=before["precision"],
            precision=after["precision"],
            device_used=after["device_used"],
            measure=measure,
            before=before[measure],
            after=after[measure],
            evidence=sure,
            verdict=_verdict(lost, sure),
        )


def _unknown(before: Document, after: Document) -> Iterator[str]:
    """What was known of a file and is not known now, one line each."""
    file = _file(after["format"], before["precision"], after["precision"], after["device_used"])
    for measure, reason in _UNKNOWN.items():
        if before.get(measure) is not None and after[measure] is None:
            told = f"{_NAMES[measure]} was in the baseline and could not be compared"
            yield f"{file}: {told}: {reason}"


def _file(format: str, precision_before: str, precision: str, device_used: str) -> str:
    """How a file is named: both of its precisions, where they differ."""
    precisions = " -> ".join(dict.fromkeys((precision_before, precision)))
    return f"{format} {precisions} {device_used}"


def _figure(result: Document, measure: str) -> float | None:
    """The figure as it is compared: what is equal to the bit has the highest SQNR there is."""
    value: float | None = result.get(measure)
    if measure != "sqnr_db":
        return value
    return CEILING_DB if value is None else min(CEILING_DB, value)


def _verdict(lost: bool, evidence: Evidence | None) -> Verdict:
    if not lost:
        return "kept"
    return "worse" if evidence is None or evidence.p < CHANCE else "unsure"


def _told(evidence: Evidence | None) -> str:
    if evidence is None:
        return ""
    counted = "" if evidence.lost is None else f"{evidence.lost} lost, {evidence.gained} gained, "
    return f" ({counted}p = {evidence.p:.2g})"


def _key(result: Document) -> _Key:
    return result["format"], result["device_used"]
