"""Where something ran, in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgenet.runtime import SessionInfo

BY = {"software": "a software driver", "emulator": "an emulator"}
"""Who computed, where it was no hardware, by the device's kind."""

_FEW = 0.1


def outside(fraction: float | None, tolerated: float = 0.0) -> str | None:
    """What of a model the CPU runs without the engine's fast kernels, in a few words.

    Args:
        fraction: The share of the operators that those kernels run, 0..1; None if unknown.
        tolerated: The share outside them of which nothing is said.
    """
    if fraction is None or 1 - fraction <= tolerated:
        return None
    # LiteRT and tflite-runtime alone have a second set of kernels on the CPU.
    return f"{1 - fraction:.0%} of the operators run outside XNNPACK (the engine's fast kernels)"


def slow(info: SessionInfo) -> str | None:
    """That a session on the CPU runs more than a few operators outside the fast kernels."""
    return outside(info.delegated_fraction, _FEW) if info.device_used == "cpu" else None


def where(info: SessionInfo) -> str:
    """Where a session runs: device, engine, what is no hardware, and what runs elsewhere."""
    notes = [info.engine]
    if not info.tells_speed:
        notes.append(f"{info.kind}: {info.device_name}")
    if info.elsewhere:
        notes.append(elsewhere(info))
    return f"{info.device_used} ({', '.join(notes)})"


def elsewhere(info: SessionInfo) -> str:
    """What of a model does not run on the device that was asked for, in a few words."""
    share = info.delegated_fraction
    told = "some" if share is None else f"{100 * (1 - share):.0f} %"
    time = info.time_elsewhere
    spent = "" if time is None else f", {100 * time:.0f} % of the time"
    return f"{told} of the operators{spent} on the cpu"
