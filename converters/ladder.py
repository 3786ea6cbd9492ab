"""The ladder: int8 first, and what comes instead where it costs more accuracy than is allowed.

Without labels the drop is not known, but what causes it is: the noise of the logits, measured on
calibration images that set nothing. With them every rung is judged on its drop as well.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from converters.formats import alike
from converters.quantization.quantize import Quantized
from converters.quantization.search import decibels, measure, return_to_float
from converters.report import Report
from edgenet.errors import AccuracyError

# The SQNR of a typical image's logits, in dB, that is wanted where half a point may be lost; half
# of that asks for half the noise's amplitude. With so much on calibration photos B0 keeps 21 dB and
# .98 of its answers on 1,300 others.
_WANTED_DB, DEFAULT_DROP = 23.4, 0.5
# A mixed network that kept to the noise and lost too much all the same gets one more try.
_TIGHTENED = 0.5


@dataclass(frozen=True, eq=False)
class Rung:
    """A precision to try, with its network where it is calibrated.

    `wanted_db` is the SQNR that its files have to keep, where nothing told it before.
    """

    precision: str
    quantized: Quantized | None
    wanted_db: float | None = None

    def precision_of(self, format: str) -> str:
        """Of a format's file: of a mixed network, one that needs nothing in float is int8."""
        if self.precision == "int8-mixed" and self.quantized is not None:
            return "int8-mixed" if self.quantized.recipe.of(format).float_operators else "int8"
        return self.precision


def noise_allowed(max_drop: float) -> float:
    """The share of the logits' energy that noise may have for a drop of so many points."""
    wanted: float = 10 ** (-_WANTED_DB / 10) * (max(max_drop, 0.0) / DEFAULT_DROP) ** 2
    return wanted


def rungs(
    quantized: Quantized,
    max_drop: float,
    *,
    others: Collection[str],
    strict: bool,
    weights_alone: Callable[[], Quantized],
    report: Report,
) -> Iterator[Rung]:
    """The precisions to try, in order; the next is worked out when the one before has failed.

    Every format that is lowered has to keep to the noise, and none has more in float for what
    another one rounds.

    Args:
        quantized: In int8 throughout.
        max_drop: Points of top-1 that may be lost.
        others: The precisions that may be tried after int8: those that all formats asked for and
            the target have.
        strict: int8 throughout or nothing.
        weights_alone: Makes the network of w8.
        report: Told what is tried and why.

    Raises:
        AccuracyError: `strict`, and int8 is too noisy.
    """
    allowed = noise_allowed(max_drop)
    wanted = f"{_wanted(allowed)} for a drop of {max_drop:g} points"
    groups = alike(quantized.lowered)
    found = [measure(quantized, group[0]) for group in groups]
    told = ", ".join(
        f"{decibels(noise):.1f} dB{_in(group, groups)}"
        for group, noise in zip(groups, found, strict=True)
    )
    quiet = max(found) <= allowed
    if quiet:
        report(f"int8 keeps {told} of the {wanted}")
        yield Rung("int8", quantized)
    elif strict:
        raise AccuracyError(
            f"int8 keeps {told} of the {wanted}: allow more with --max-drop, or "
            "leave out --strict to let some operators return to float"
        )
    if strict:
        return
    # Where int8 is quiet enough and lost too much all the same, only more will do.
    tightened = allowed * _TIGHTENED
    goals = (tightened,) if quiet else (allowed, tightened)
    for goal in goals if "int8-mixed" in others else ():
        mixed = _mixed(quantized, groups, goal, report)
        if mixed is None:
            break
        if mixed is not quantized:
            yield Rung("int8-mixed", mixed)
    if "bf16" in others and _has_bf16():
        yield Rung("bf16", None, decibels(allowed))
    if "w8" in others:
        yield Rung("w8", weights_alone(), decibels(allowed))
    # Nothing that is smaller than float loses less.
    if "fp16" in others:
        yield Rung("fp16", None)


def _mixed(
    quantized: Quantized,
    groups: Sequence[Sequence[str]],
    goal: float,
    report: Report,
) -> Quantized | None:
    """With so much in float that all groups of formats meet the goal; None where one cannot."""
    for group in groups:
        found = return_to_float(quantized, goal, group, report)
        kept = f"{decibels(found.noise):.1f} dB{_in(group, groups)} of the {_wanted(goal)}"
        if found.noise > goal:
            report(f"int8-mixed stays at {kept}")
            return None
        share = f", with {found.float_share:.0%} of the products in float"
        report(f"int8-mixed keeps {kept}{share}" if found.float_share else f"int8 keeps {kept}")
        quantized = found.quantized
    return quantized


def _wanted(noise: float) -> str:
    return f"{decibels(noise):.1f} dB wanted"


def _in(group: Sequence[str], groups: Sequence[Sequence[str]]) -> str:
    """Names the formats of a group, where there are others."""
    return f" in {' and '.join(group)}" if len(groups) > 1 else ""


def _has_bf16() -> bool:
    """Whether this machine, for which OpenVINO compiles, computes in bf16."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
