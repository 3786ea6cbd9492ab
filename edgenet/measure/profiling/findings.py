"""Why a file is no faster: what its profile and the processor show, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edgenet.measure.machine import INT8_X86, adds_in_16_bits
from edgenet.measure.profiling.operators import Operator, Profile, speed
from edgenet.report.devices import outside

_WORTH_TELLING = 0.05
_SLOW_DEPTHWISE = 0.10
_NAMED = 3
# Without these, or x86's, an 8-bit product takes several instructions.
_INT8_ARM = frozenset({"asimddp", "i8mm"})


def explain(
    profile: Profile,
    precision: str,
    isa: Sequence[str],
    delegated_fraction: float | None,
    peak: float | None,
) -> list[str]:
    """What keeps a file from being faster, the costliest first.

    Args:
        profile: Where its time goes.
        precision: The file's.
        isa: The processor's instructions, as `machine.describe` names them.
        delegated_fraction: The share of operators that the engine's fast kernels run, 0..1.
        peak: 10^9 multiply-accumulates a second that this machine reaches in this precision.
    """
    found = [_instructions(precision, isa), outside(delegated_fraction)]
    parts: list[tuple[str, Callable[[Operator], bool]]] = [
        ("changes of layout or type", lambda operator: operator.moves)
    ]
    if profile.complete:
        without = "operators without MACs (activations, gates, sums, pooling)"
        parts.insert(0, (without, _elementwise))
    if precision.startswith("int8"):
        parts.append(("operators left in float", _left_in_float))
    shares = sorted(((_share(profile, test), what, test) for what, test in parts), key=_first)
    found += [
        f"{what} take {share:.0%} of the time: {_named(profile, test)}"
        for share, what, test in reversed(shares)
        if share >= _WORTH_TELLING
    ]
    # A product that was not recognised would count as an operator without one.
    found += (
        [_depthwise(profile), _reached(profile, precision, peak)]
        if profile.complete
        else ["not all products of the file were recognised: some multiply-accumulates are unknown"]
    )
    return [line for line in found if line]


def _instructions(precision: str, isa: Sequence[str]) -> str | None:
    known = set(isa)
    if not precision.startswith("int8") or not known or known & (INT8_X86 | _INT8_ARM):
        return None
    lacking = "VNNI or AMX" if adds_in_16_bits(isa) else "dot products (asimddp) or i8mm"
    return f"this processor has no {lacking}: an 8-bit product takes several instructions"


def _depthwise(profile: Profile) -> str | None:
    """Depthwise convolutions use each value few times: no precision makes them fast."""
    depthwise = [operator for operator in profile.operators if "dwconv" in operator.layer]
    dense = [op for op in profile.operators if op.macs and "dwconv" not in op.layer]
    share = _share(profile, lambda operator: operator in depthwise)
    ours, theirs = _speed(depthwise), _speed(dense)
    if share < _SLOW_DEPTHWISE or ours is None or theirs is None:
        return None
    return (
        f"depthwise convolutions take {share:.0%} of the time at {ours:.0f} GMAC/s, "
        f"the other products reach {theirs:.0f}"
    )


def _reached(profile: Profile, precision: str, peak: float | None) -> str | None:
    reached = _speed(list(profile.operators))
    if peak is None or reached is None:
        return None
    kind = "int8" if precision.startswith("int8") else "fp32"
    return (
        f"{reached:.0f} GMAC/s over all: {reached / peak:.0%} of the {peak:.0f} that this machine "
        f"reaches in a large {kind} matrix product"
    )


def _elementwise(operator: Operator) -> bool:
    return not operator.macs and not operator.moves


def _left_in_float(operator: Operator) -> bool:
    return not operator.integer and not operator.moves


def _share(profile: Profile, test: Callable[[Operator], bool]) -> float:
    total = sum(operator.ms for operator in profile.operators)
    return sum(operator.ms for operator in profile.operators if test(operator)) / total


def _named(profile: Profile, test: Callable[[Operator], bool]) -> str:
    slowest = sorted(filter(test, profile.operators), key=lambda operator: -operator.ms)
    return ", ".join(f"{op.layer} ({op.kernel}) {op.ms:.2f} ms" for op in slowest[:_NAMED])


def _speed(operators: Sequence[Operator]) -> float | None:
    return speed(sum(op.macs for op in operators), sum(op.ms for op in operators))


def _first(part: tuple[float, str, Callable[[Operator], bool]]) -> float:
    return part[0]
