"""The accuracy gate: what a file must keep of the float model."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from math import isfinite

from edgenet.errors import UsageError
from edgenet.measure.fidelity import Fidelity

_DROP, _AGREEMENT, _SQNR, _R2 = "the top-1 drop", "the agreement", "the SQNR", "the R²"
MAX_DROP = 1.0
"""Points of top-1 that a file may lose unless the user sets another limit."""

SETTABLE = (_DROP, _AGREEMENT, _SQNR, _R2)
"""How the failures of limits begin that a user sets."""


@dataclass(frozen=True)
class _Kept:
    """What a sound file of a precision keeps: `Limits` tells why.

    Attributes:
        on_photos: Its agreement on photos, 0..1; of a regression, its R².
        on_crops: The same on crops of a few photographs.
        of_keras: Its SQNR beside the Keras model at conversion, in dB, and fp32's at any time; None
            where that is judged by other means.
        of_cpu: A device's SQNR beside the CPU's answers to the same file, in dB.
    """

    on_photos: float
    on_crops: float
    of_keras: float | None
    of_cpu: float


_KEPT = {
    "fp32": _Kept(0.999, 0.999, of_keras=80, of_cpu=60),
    "fp16": _Kept(0.99, 0.97, of_keras=30, of_cpu=30),
    "bf16": _Kept(0.97, 0.92, of_keras=15, of_cpu=30),
    "w8a16": _Kept(0.97, 0.92, of_keras=15, of_cpu=10),
    "w8": _Kept(0.97, 0.92, of_keras=10, of_cpu=30),
    "dynamic": _Kept(0.97, 0.92, of_keras=10, of_cpu=10),
    "int8-mixed": _Kept(0.95, 0.85, of_keras=None, of_cpu=10),
    "int8": _Kept(0.95, 0.85, of_keras=None, of_cpu=10),
}


@dataclass(frozen=True)
class Limits:
    """What a file must keep; None sets no limit.

    `max_drop` is in points of top-1 and binds where there are labels, `min_agreement` is a share
    0..1, `min_sqnr` in dB. `min_r2` binds a regression, to which the drop and the agreement do not
    apply.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    min_sqnr: float | None = None
    min_r2: float | None = None

    @classmethod
    def of(cls, precision: str, crops: bool = False) -> Limits:
        """The limits of a precision unless the user sets others.

        fp32 differs from the reference by the order of its sums alone: 80 dB, a ten-thousandth of
        the logits whatever their size, and one tie in a thousand images decided otherwise. fp16
        rounds each weight by at most 2^-11 of its size, which flipped 1 of 1,300 ImageNet photos
        for Lite0 and for B0; 0.99 leaves room for sets of a few hundred images. bf16, w8a16, w8 and
        dynamic, where either the weights or the activations have more than 8 bits, kept 0.983 or
        more on 300 of them for Lite0 and for B0: 0.97. int8: 0.95, which TFLiteConverter's keeps on
        the same photos for Lite0 (0.975) and misses by far for B0 (0.80).

        Crops of a few photographs are not independent: a near-tie in one photograph is a near-tie
        in all its crops. On 256 crops of five, fp16 has 0.992 (Lite0) and 0.988 (B0), w8 and
        dynamic at least 0.945, and the same int8 files 0.926 and 0.59. Their limits refuse a broken
        file, not a worn one.

        A regression's R² has the agreement's limits: at 0.999, 0.99, 0.97 and 0.95 the error is
        3, 10, 17 and 22 % of the standard deviation of its values.

        Args:
            precision: Of the file that is judged.
            crops: Whether the images are crops of a few photographs.
        """
        kept = _KEPT[precision]
        share = kept.on_crops if crops else kept.on_photos
        return cls(
            max_drop=MAX_DROP,
            min_agreement=share,
            min_sqnr=kept.of_keras if precision == "fp32" else None,
            min_r2=share,
        )

    @classmethod
    def at_conversion(cls, precision: str) -> Limits:
        """What a new file must keep of the Keras model on the few images that verify it.

        SQNR alone: on so few one near-tie is more than a share of 0.99 lets pass, and an untrained
        head has nothing but ties. fp32 computes what Keras does up to the order of sums, fp16 with
        weights rounded by at most 2^-11 of their size. On photos Lite0 and B0 keep 27 and 30 dB in
        bf16, 31 and 32 in w8a16, and at least 20 in w8 and dynamic, whose weights may be rounded
        without images; what falls so far below is broken. How much int8 must keep is the user's to
        say.
        """
        return cls(min_sqnr=_KEPT[precision].of_keras)

    @classmethod
    def beside_cpu(cls, precision: str, device: str) -> Limits:
        """What a device must keep of the CPU's answers to the same file: SQNR alone, in dB.

        A device that is broken, or computes another network, is far from the CPU on every image;
        top-1 adds nothing to that but near-ties. By what the device computes with:

        - float32 (fp32 files on a GPU): the sums' order is all that differs; 60 dB is an error of a
          thousandth, and SwiftShader keeps 113 or more (Lite0, B0, both engines).
        - half floats (16-bit and weight-only files on a GPU; every float file on an NPU): products
          round at 2^-11, which over some fifty layers leaves more than 30 dB.
        - eight bits: the same numbers, of which a few fall on the other side of a rounding. On 24
          photos LiteRT's GPU keeps 26.9 dB (Lite0) and 21.8 dB (B0) of its CPU; 10 dB, what a bad
          int8 file keeps of the float model, refuses a broken device, not another rounding.
        """
        return cls(min_sqnr=_KEPT[computed(precision, device)].of_cpu)

    def require(self) -> None:
        """Refuses what can be no limit.

        Raises:
            UsageError: A number is out of its range; the message names its option.
        """
        if self.max_drop is not None and not (isfinite(self.max_drop) and self.max_drop >= 0):
            raise UsageError(
                f"--max-drop {self.max_drop}: it is a number of points, 0 or more, as in 0.5"
            )
        if self.min_agreement is not None and not 0 <= self.min_agreement <= 1:
            raise UsageError(
                f"--min-agreement {self.min_agreement}: a share lies between 0 and 1, as in 0.97"
            )
        if self.min_sqnr is not None and not isfinite(self.min_sqnr):
            raise UsageError(f"--min-sqnr {self.min_sqnr}: it is a number of decibels, as in 20")
        # It has no lower end: below 0 the mean would be the better answer.
        if self.min_r2 is not None and not self.min_r2 <= 1:
            raise UsageError(f"--min-r2 {self.min_r2}: it is at most 1, as in 0.97")

    def overridden_by(self, asked: Limits, missed: Collection[str] = ()) -> Limits:
        """These limits as defaults: each holds unless the user sets another or it is waived.

        The default agreement is waived where the user bounds the drop. It only stands in for the
        drop where no labels tell that: some answers that change were wrong before, so that a file
        may change one in twenty and lose nothing. Beside a bound on the drop it would refuse such a
        file. A default that the baseline's own file misses is waived too: that run was good enough
        to be compared with.

        Args:
            asked: The user's own limits; all of them hold.
            missed: The defaults that the baseline's file misses, as `baseline.missed` tells them.
        """
        bounded = asked.max_drop is not None or "agreement" in missed
        defaults = replace(
            self,
            max_drop=None if "top1" in missed else self.max_drop,
            min_agreement=None if bounded else self.min_agreement,
            min_r2=None if "r2" in missed else self.min_r2,
        )
        own = {name: value for name, value in asdict(asked).items() if value is not None}
        return replace(defaults, **own)

    def failures(self, fidelity: Fidelity) -> tuple[str, ...]:
        """For each limit that is not kept, which one, and by how much it is missed."""
        checks = (
            _over(_DROP, fidelity.drop_points, self.max_drop, "{:.2f} points"),
            _under(_AGREEMENT, fidelity.agreement, self.min_agreement, "{:.4f}"),
            _under(_SQNR, fidelity.sqnr_db, self.min_sqnr, "{:.1f} dB"),
            _under(_R2, fidelity.r2, self.min_r2, "{:.4f}"),
        )
        return tuple(check for check in checks if check)


NO_LIMITS = Limits()
"""What lets every file pass."""


def computed(precision: str, device: str) -> str:
    """The precision whose limits hold on a device: an NPU computes float32 files in half floats."""
    return "fp16" if (precision, device) == ("fp32", "npu") else precision


def _over(what: str, value: float | None, limit: float | None, unit: str) -> str | None:
    if value is None or limit is None or value <= limit:
        return None
    return _missed(what, value, limit, unit, "more than", "allowed")


def _under(what: str, value: float | None, limit: float | None, unit: str) -> str | None:
    if value is None or limit is None or value >= limit:
        return None
    return _missed(what, value, limit, unit, "less than", "required")


def _missed(what: str, value: float, limit: float, unit: str, side: str, verb: str) -> str:
    found, bound, by = (unit.format(x) for x in (value, limit, abs(value - limit)))
    return f"{what} is {found}, {by} {side} the {bound} {verb}"
