"""Where the operators of a model run, when not all of them go to the device that was asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edgenet.errors import DeviceError

_NAMED = 3


@dataclass(frozen=True)
class Placement:
    """Operators of one type that run in one place.

    Attributes:
        operator: Their type, in the format's own word.
        device: Where they run: "cpu", "gpu" or "npu".
        count: How many they are; None where the engine does not tell.
        reason: Why the device that was asked for refuses them, in the engine's words; "" if it runs
            them or does not tell.
    """

    operator: str
    device: str
    count: int | None
    reason: str = ""


def tally(operators: Iterable[tuple[str, str]]) -> tuple[Placement, ...]:
    """The placements of operators that are told one by one, each by its type and device."""
    return tuple(Placement(*place, count) for place, count in sorted(Counter(operators).items()))


def counts(placements: Collection[Placement], device: str) -> tuple[int, int] | None:
    """How many operators a device runs and how many it does not; None unless all are counted."""
    if not placements or any(p.count is None for p in placements):
        return None
    there = sum(p.count or 0 for p in placements if p.device == device)
    return there, sum(p.count or 0 for p in placements) - there


def share(told: tuple[int, int] | None) -> float | None:
    """The share of operators that a device runs, 0..1, of what `counts` tells."""
    return told[0] / sum(told) if told else None


class RefusedError(DeviceError):
    """A device that can be used refuses a file whole, or fails on it (exit code 4)."""


class PartialError(DeviceError):
    """A device would run a part of the model only; `details` is the table of what would run where.

    Args:
        device: What was asked for.
        delegate: Its name.
        placements: All that is known of who runs what.
        told: How many operators the device runs and how many it does not, where the engine tells
            that and no count for each placement; None takes `counts` of the placements.
    """

    def __init__(
        self,
        device: str,
        delegate: str,
        placements: Sequence[Placement],
        told: tuple[int, int] | None = None,
    ) -> None:
        refused = [p for p in placements if p.device != device]
        names = list(dict.fromkeys(p.operator for p in refused))
        named = ", ".join(names[:_NAMED]) + (
            f" and {more} more" if (more := len(names[_NAMED:])) else ""
        )
        numbers = told or counts(placements, device)
        lost = f"{numbers[1]} of {sum(numbers)} operators" if numbers else "some operators"
        super().__init__(
            f"the {device} ({delegate}) does not run {lost}: {named or 'it names none'}; use "
            "--device cpu, another --format or --precision, or let them run on the cpu with "
            "--allow-fallback"
        )
        self.placements = tuple(placements)
        self.details = table(placements)


def table(placements: Iterable[Placement]) -> str:
    """The placements as a table for people."""
    from edgenet.report.table import render

    rows = [
        [p.operator, "?" if p.count is None else str(p.count), p.device, p.reason]
        for p in placements
    ]
    return render(["operator", "count", "would run on", "because"], rows, "<><<")
