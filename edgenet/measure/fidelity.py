"""How near one network's answers are to another's on the same images, in one record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenet.bundle import REGRESSION
from edgenet.measure import accuracy
from edgenet.measure.accuracy import Growth, PairedDrop

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Fidelity:
    """How near a network's logits, or a regression's values, are to the reference's.

    `top1`, `top5` and `drop` (points) are None without labels, `top5` also for up to five classes;
    `sqnr_db` (dB) is None where all answers are equal to the bit. `agreement` is a share 0..1,
    `max_error` the largest absolute difference of a logit or value, `cosine` and `kl` (nats) are
    means over images.

    A regression has `r2`, the coefficient of determination (`accuracy.r2`), and `mean_error`, the
    mean absolute difference of a value in its own unit, where a classifier has None; its `top1`,
    `top5`, `drop`, `agreement`, `cosine` and `kl` are None. Where the true values are known, `mae`
    is the mean absolute error by them, and `growth` how much that exceeds the reference's. Several
    values have no unit in common: `mean_error`, `mae` and `growth` are those of one of them.

    An image that is answered with NaN or infinity is never right and agrees with nothing; all other
    figures take zeros for its logits or values.
    """

    top1: float | None
    top5: float | None
    drop: PairedDrop | None
    agreement: float | None
    sqnr_db: float | None
    max_error: float
    cosine: float | None
    kl: float | None
    r2: float | None = None
    mean_error: float | None = None
    mae: float | None = None
    growth: Growth | None = None

    @classmethod
    def of(
        cls,
        reference: Logits,
        logits: Logits,
        labels: Labels | None = None,
        kl: NDArray[np.float64] | None = None,
    ) -> Fidelity:
        """Compares logits, images × classes, with the reference's on the same images.

        Args:
            reference: The reference's logits.
            logits: Those to judge.
            labels: Each image's class, if it is known.
            kl: Each image's `accuracy.divergences`, where they are computed already.
        """
        top1, top5, drop = None, None, None
        if labels is not None:
            ours = accuracy.right(logits, labels)
            top1 = float(np.mean(ours))
            top5 = accuracy.top5(logits, labels)
            drop = accuracy.paired_drop(accuracy.right(reference, labels), ours)
        kl = accuracy.divergences(reference, logits) if kl is None else kl
        numbers = accuracy.finite(reference), accuracy.finite(logits)
        return cls(
            top1=top1,
            top5=top5,
            drop=drop,
            agreement=accuracy.agreement(reference, logits),
            sqnr_db=accuracy.sqnr_db(*numbers),
            max_error=accuracy.max_error(*numbers),
            cosine=accuracy.cosine(*numbers),
            kl=float(np.mean(kl)),
        )

    @classmethod
    def of_values(
        cls,
        reference: Logits,
        values: Logits,
        truth: Logits | None = None,
        value: int | None = None,
    ) -> Fidelity:
        """Compares a regression's values, images × values, with the reference's.

        Args:
            reference: The reference's values.
            values: Those to judge.
            truth: What they should be, if it is known.
            value: Of which of them the mean errors are; None: of the one kept worst.
        """
        numbers = accuracy.finite(reference), accuracy.finite(values)
        if value is None:
            value = accuracy.kept_worst(numbers[0], numbers[1:])
        mae, growth = None, None
        if truth is not None:
            errors = accuracy.absolute_errors(values, truth, value)
            mae = float(errors.mean())
            before = accuracy.absolute_errors(reference, truth, value)
            growth = accuracy.paired_growth(before, errors)
        return cls(
            top1=None,
            top5=None,
            drop=None,
            agreement=None,
            sqnr_db=accuracy.sqnr_db(*numbers),
            max_error=accuracy.max_error(*numbers),
            cosine=None,
            kl=None,
            r2=accuracy.r2(*numbers),
            mean_error=accuracy.mean_error(*numbers, value),
            mae=mae,
            growth=growth,
        )

    @classmethod
    def by(cls, task: str, reference: Logits, answers: Logits) -> Fidelity:
        """Compares answers as a task, of `edgenet.bundle.TASKS`, wants them compared."""
        compare = cls.of_values if task == REGRESSION else cls.of
        return compare(reference, answers)

    @property
    def drop_points(self) -> float | None:
        """The reference's top-1 minus ours in points, or None without labels."""
        return self.drop.points if self.drop else None

    @property
    def drop_interval(self) -> list[float] | None:
        """The 95 % interval of the drop, in points, low and high."""
        return None if self.drop is None else list(self.drop.interval)

    @property
    def mae_growth(self) -> float | None:
        """By how much the mean absolute error is more than the reference's, if that is known."""
        return None if self.growth is None else self.growth.amount

    @property
    def mae_growth_interval(self) -> list[float] | None:
        """The 95 % interval of that, low and high."""
        return None if self.growth is None else list(self.growth.interval)

    @property
    def mcnemar_p(self) -> float | None:
        """The p-value of the drop."""
        return None if self.drop is None else self.drop.mcnemar_p
