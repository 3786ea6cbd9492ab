"""What a file answers otherwise than the reference: the images worst hit, and the classes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenet.measure.accuracy import (
    NO_ANSWER,
    Floats,
    answered,
    answers,
    finite,
    log_softmax,
    right,
)

WORST = 12
"""Images that are kept."""

CLASSES = 20
"""Classes that are kept."""


@dataclass(frozen=True)
class Answer:
    """A top-1 class and its softmax probability; both None for NaN or infinity.

    A regression's answer is its `values` instead; None where they are no numbers.
    """

    index: int | None
    probability: float | None
    values: tuple[float, ...] | None = None


@dataclass(frozen=True)
class WorstImage:
    """An image by its number, from 0; `kl` is KL(reference ‖ ours) in nats, `label` its class.

    Both are None of a regression.
    """

    number: int
    kl: float | None
    reference: Answer
    ours: Answer
    label: int | None


@dataclass(frozen=True)
class ClassDamage:
    """A class of `images` images: how many only the reference had right, and how many only ours.

    The former are `lost`, the latter `gained`.
    """

    index: int
    images: int
    lost: int
    gained: int


@dataclass(frozen=True)
class Damage:
    """How many answers changed, the images worst hit and the classes that lost most."""

    changed: int
    worst: tuple[WorstImage, ...]
    classes: tuple[ClassDamage, ...]


def find(
    reference: Floats,
    ours: Floats,
    kl: NDArray[np.float64],
    labels: NDArray[np.int64] | None = None,
) -> Damage:
    """Compares logits, images × classes; of images, changed answers come first, then high KL.

    Args:
        reference: The reference's logits.
        ours: Those to judge.
        kl: Each image's `accuracy.divergences`.
        labels: Each image's class, if it is known.
    """
    changed = answers(reference) != answers(ours)
    order = np.lexsort((-kl, ~changed))[:WORST]
    return Damage(
        changed=int(changed.sum()),
        worst=tuple(
            WorstImage(
                number=int(number),
                kl=float(kl[number]),
                reference=_answer(reference[number]),
                ours=_answer(ours[number]),
                label=None if labels is None else int(labels[number]),
            )
            for number in order
        ),
        classes=() if labels is None else tuple(_classes(reference, ours, labels)),
    )


def find_in_values(reference: Floats, ours: Floats) -> Damage:
    """Compares a regression's values, images × values; the largest errors come first.

    An error is a share of its value's standard deviation over the images. No answer counts as
    changed, for each differs by something.
    """
    spread = reference.std(axis=0)
    errors = np.abs(finite(ours) - reference) / np.where(spread > 0, spread, 1)
    largest = np.where(answered(ours), errors.max(axis=1), np.inf)
    order = np.argsort(-largest, kind="stable")[:WORST]
    return Damage(
        changed=0,
        worst=tuple(
            WorstImage(int(n), None, _values(reference[n]), _values(ours[n]), None) for n in order
        ),
        classes=(),
    )


def _values(row: Floats) -> Answer:
    told = tuple(map(float, row)) if np.isfinite(row).all() else None
    return Answer(None, None, told)


def _answer(logits: Floats) -> Answer:
    index = int(answers(logits[None])[0])
    if index == NO_ANSWER:
        return Answer(None, None)
    return Answer(index, float(np.exp(log_softmax(logits[None])[0, index])))


def _classes(reference: Floats, ours: Floats, labels: NDArray[np.int64]) -> Iterable[ClassDamage]:
    before, after = right(reference, labels), right(ours, labels)
    size = int(labels.max()) + 1
    images, lost, gained = (
        np.bincount(labels[chosen], minlength=size)
        for chosen in (np.ones_like(before), before & ~after, ~before & after)
    )
    touched = np.flatnonzero(lost + gained)
    order = touched[np.lexsort((touched, -lost[touched], (gained - lost)[touched]))]
    for index in order[:CLASSES]:
        yield ClassDamage(int(index), int(images[index]), int(lost[index]), int(gained[index]))
