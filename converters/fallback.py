"""int8 first, and the precisions to fall back on where it costs more accuracy than is allowed.

Without labels the drop is not known, but its cause is: the noise of the logits, measured on
calibration images that set no ranges. With labels every attempt is judged on its drop as well. A
regression's R² needs none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass

from converters.formats import alike
from converters.graph import Graph
from converters.quantization.quantize import Quantized, by_format
from converters.quantization.search import decibels, kept, measure, return_to_float
from converters.report import Report
from edgenet.errors import AccuracyError
from edgenet.measure.limits import NO_LIMITS, Limits

# The SQNR of a typical image's logits, in dB, that is wanted where half a point may be lost; half
# of that asks for half the noise's amplitude. With so much on calibration photos B0 keeps 21 dB and
# .98 of its answers on 1,300 others.
_WANTED_DB, DEFAULT_DROP = 23.2, 0.5
# The error is a tenth of the standard deviation of a value then.
DEFAULT_R2 = 0.99
# A mixed network that kept to the noise and lost too much all the same gets one more try.
_TIGHTENED = 0.5


@dataclass(frozen=True, eq=False)
class Attempt:
    """A precision to try, with its network where that is quantized.

    `limits` bind its files where no measurement has vouched for the precision before they are
    written.
    """

    precision: str
    quantized: Quantized | None
    limits: Limits = NO_LIMITS

    @classmethod
    def of_int8(cls, quantized: Quantized) -> Attempt:
        """A network in int8, or in int8-mixed where a format has operators in float."""
        return cls("int8-mixed" if quantized.mixed else "int8", quantized)

    def precision_of(self, format: str) -> str:
        """A format's precision: int8 where a mixed network has no operator in float there."""
        if self.precision == "int8-mixed" and self.quantized is not None:
            return "int8-mixed" if self.quantized.recipe.of(format).float_operators else "int8"
        return self.precision


@dataclass(frozen=True)
class NoiseLimit:
    """The most noise that a file may have, as `converters.quantization.search.measure` measures it.

    `reason` says in words why no more, and `option` is the command's that sets the limit.
    """

    noise: float
    reason: str
    option: str

    @classmethod
    def of_drop(cls, points: float) -> NoiseLimit:
        """For a classifier that may lose so many points of top-1."""
        return cls(noise_allowed(points), f" for a drop of {points:g} points", "--max-drop")

    @classmethod
    def of_r2(cls, least: float) -> NoiseLimit:
        """For a regression whose values have to keep this R² of the float model's."""
        return cls(1 - least, "", "--min-r2")

    def limits(self, graph: Graph) -> Limits:
        """The same limit for files whose noise is measured once they are written."""
        if graph.regresses:
            return Limits(min_r2=1 - self.noise)
        return Limits(min_sqnr=decibels(self.noise))


def noise_allowed(max_drop: float) -> float:
    """The share of the logits' energy that noise may have for a drop of so many points."""
    wanted: float = 10 ** (-_WANTED_DB / 10) * (max(max_drop, 0.0) / DEFAULT_DROP) ** 2
    return wanted


def attempts(
    quantized: Quantized,
    limit: NoiseLimit,
    *,
    others: Collection[str],
    strict: bool,
    weights_alone: Callable[[], Quantized],
    report: Report,
) -> Iterator[Attempt]:
    """The precisions to try, in order; the next is worked out when the one before has failed.

    Each format has to keep to the limit, by operators in float of its own: what another format
    rounds adds no noise to it.

    Args:
        quantized: In int8, throughout or with operators that stay in float in any case.
        limit: The noise that is allowed.
        others: The precisions that may be tried after int8: those that all formats asked for and
            the target have.
        strict: int8 throughout or nothing.
        weights_alone: Makes the network of w8.
        report: Told what is tried and why.

    Raises:
        AccuracyError: `strict`, and int8 is too noisy.
    """
    allowed, graph = limit.noise, quantized.graph
    wanted = f"{_wanted(allowed, graph)}{limit.reason}"
    groups = alike(quantized.lowered)
    found = [measure(quantized, group[0]) for group in groups]
    told = ", ".join(
        f"{kept(noise, graph)}{_in(group, groups)}"
        for group, noise in zip(groups, found, strict=True)
    )
    quiet = max(found) <= allowed
    if quiet:
        first = Attempt.of_int8(quantized)
        report(f"{first.precision} keeps {told} of the {wanted}")
        yield first
    elif strict:
        raise AccuracyError(
            f"int8 keeps {told} of the {wanted}: allow more with {limit.option}, or "
            "leave out --strict to let some operators return to float"
        )
    if strict:
        return
    # Int8 that kept the limit comes here only if it lost too much on labels: less noise is wanted.
    tightened = allowed * _TIGHTENED
    tries = (tightened,) if quiet else (allowed, tightened)
    for noise in tries if "int8-mixed" in others else ():
        mixed = _mixed(quantized, groups, noise, report)
        if mixed is None:
            break
        if mixed is not quantized:
            yield Attempt("int8-mixed", mixed)
    if "bf16" in others and _has_bf16():
        yield Attempt("bf16", None, limit.limits(graph))
    if "w8" in others:
        yield Attempt("w8", weights_alone(), limit.limits(graph))
    # Nothing that is smaller than float loses less.
    if "fp16" in others:
        yield Attempt("fp16", None)


def _mixed(
    quantized: Quantized,
    groups: Sequence[Sequence[str]],
    allowed: float,
    report: Report,
) -> Quantized | None:
    """With so much in float that all formats are quiet enough; None where one cannot be."""
    graph, chosen = quantized.graph, dict[str, Quantized]()
    for group in groups:
        for format, found in return_to_float(quantized, allowed, group, report).items():
            where = _in((format,), quantized.lowered)
            told = f"{kept(found.noise, graph)}{where} of the {_wanted(allowed, graph)}"
            if found.noise > allowed:
                report(f"int8-mixed stays at {told}")
                return None
            chosen[format] = found.quantized
            share = f", with {found.float_share:.0%} of the MACs in float"
            floats = found.quantized.recipe.of(format).float_operators
            report(f"int8-mixed keeps {told}{share}" if floats else f"int8 keeps {told}")
    return by_format(quantized, chosen)


def _wanted(noise: float, graph: Graph) -> str:
    return f"{kept(noise, graph)} wanted"


def _in(formats: Sequence[str], all_of_them: Collection[object]) -> str:
    """Names formats, where there are others."""
    return f" in {' and '.join(formats)}" if len(all_of_them) > 1 else ""


def _has_bf16() -> bool:
    """Whether this machine, for which OpenVINO compiles, computes in bf16."""
    import openvino

    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
