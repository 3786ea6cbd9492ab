"""The accuracy gate: what a file must keep of the float model."""

from __future__ import annotations

from dataclasses import dataclass

from edgenet.measure.fidelity import Fidelity

# Either the weights or the activations have 8 bits in these, the others 16 or more.
_HALF_NARROW = ("bf16", "w8a16", "w8", "dynamic")
# By precision; "" stands for everything narrower.
_ON_PHOTOS = {"fp32": 0.999, "fp16": 0.99, **dict.fromkeys(_HALF_NARROW, 0.97), "": 0.95}
_ON_CROPS = {"fp32": 0.999, "fp16": 0.97, **dict.fromkeys(_HALF_NARROW, 0.92), "": 0.85}


@dataclass(frozen=True)
class Limits:
    """What a file must keep; None sets no limit.

    `max_drop` is in points of top-1 and binds where there are labels, `min_agreement` is a share
    0..1, `min_sqnr` in dB, `max_error` the largest absolute difference of a logit.
    """

    max_drop: float | None = None
    min_agreement: float | None = None
    min_sqnr: float | None = None
    max_error: float | None = None

    @classmethod
    def of(cls, precision: str, crops: bool = False) -> Limits:
        """The limits of a precision unless the user sets others.

        fp32 differs from the reference by the order of its sums alone: logits within 1e-3, and one
        tie in a thousand images decided otherwise. fp16 rounds each weight by at most 2^-11 of its
        size, which flipped 1 of 1,300 ImageNet photos for Lite0 and for B0; 0.99 leaves room for
        sets of a few hundred images. bf16, w8a16, w8 and dynamic kept 0.983 or more on 300 of them
        for Lite0 and for B0: 0.97. Everything narrower: 0.95, which TFLiteConverter's int8 keeps
        on the same photos for Lite0 (0.975) and misses by far for B0 (0.80).

        Crops of a few photographs are not independent: a near-tie in one photograph is a near-tie
        in all its crops. On 256 crops of five, fp16 has 0.992 (Lite0) and 0.988 (B0), w8 and
        dynamic at least 0.945, and the same int8 files 0.926 and 0.59. Their limits refuse a broken
        file, not a worn one.

        Args:
            precision: Of the file that is judged.
            crops: Whether the images are crops of a few photographs.
        """
        agreements = _ON_CROPS if crops else _ON_PHOTOS
        return cls(
            max_drop=1.0,
            min_agreement=agreements.get(precision, agreements[""]),
            max_error=1e-3 if precision == "fp32" else None,
        )

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
        held = computed(precision, device)
        if held == "fp32":
            return cls(min_sqnr=60.0)
        return cls(min_sqnr=30.0 if held in ("fp16", "bf16", "w8") else 10.0)

    def failures(self, fidelity: Fidelity) -> tuple[str, ...]:
        """For each limit that is not kept, which one, and by how much it is missed."""
        checks = (
            _over("the top-1 drop", fidelity.drop_points, self.max_drop, "{:.2f} points"),
            _under("the agreement", fidelity.agreement, self.min_agreement, "{:.4f}"),
            _under("the SQNR", fidelity.sqnr_db, self.min_sqnr, "{:.1f} dB"),
            _over("the largest error of a logit", fidelity.max_error, self.max_error, "{:.2g}"),
        )
        return tuple(check for check in checks if check)


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
