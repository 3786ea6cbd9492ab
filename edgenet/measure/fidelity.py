"""How near one network's logits are to another's on the same images, in one record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgenet.measure import accuracy
from edgenet.measure.accuracy import PairedDrop

Logits = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Fidelity:
    """How near a network's logits are to the reference's on the same images.

    `top1`, `top5` and `drop` (points) are None without labels, `top5` also for up to five classes;
    `sqnr_db` (dB) is None where all logits are equal to the bit. `agreement` is a share 0..1,
    `max_error` the largest absolute difference of a logit, `cosine` and `kl` (nats) are means over
    images. Images that are answered with NaN or infinity are never right; the last four take zeros
    for their logits.
    """

    top1: float | None
    top5: float | None
    drop: PairedDrop | None
    agreement: float
    sqnr_db: float | None
    max_error: float
    cosine: float
    kl: float

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

    @property
    def drop_points(self) -> float | None:
        """The reference's top-1 minus ours in points, or None without labels."""
        return self.drop.points if self.drop else None

    @property
    def drop_interval(self) -> list[float] | None:
        """The 95 % interval of the drop, in points, low and high."""
        return None if self.drop is None else list(self.drop.interval)

    @property
    def mcnemar_p(self) -> float | None:
        """The p-value of the drop."""
        return None if self.drop is None else self.drop.mcnemar_p
