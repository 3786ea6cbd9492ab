"""Where the operators of a model run, when not all of them go to the device that was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


class RefusedError(DeviceError):
    """A device that can be used refuses a file whole, or fails on it (exit code 4)."""


class PartialError(DeviceError):
    """A device would run a part of the model only; `details` is the table of what would run where.

    Args:
        device: What was asked for.
        delegate: Its name.
        placements: All that is known of who runs what.
        elsewhere: How many operators the device does not run, and of how many; None if not told.
    """

    def __init__(
        self,
        device: str,
        delegate: str,
        placements: Sequence[Placement],
        elsewhere: tuple[int, int] | None = None,
    ) -> None:
        refused = [p for p in placements if p.device != device]
        names = list(dict.fromkeys(p.operator for p in refused))
        told = ", ".join(names[:_NAMED]) + (
            f" and {more} more" if (more := len(names[_NAMED:])) else ""
        )
        share = "{} of {} operators".format(*elsewhere) if elsewhere else "some operators"
        super().__init__(
            f"the {device} ({delegate}) does not run {share}: {told or 'it names none'}; use "
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
