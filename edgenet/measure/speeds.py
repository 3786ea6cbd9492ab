"""Which times tell how fast something is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def split_times(kind: str, times: Mapping[str, Any]) -> dict[str, Any]:
    """Times that tell a speed stay as they are; others move to "emulated" and leave None behind.

    A software driver or an emulator computes on the CPU what hardware would compute: that it
    answers is a check of function, how long it took says nothing of the device. The two are never
    under one key, so that nobody compares them by mistake.

    Args:
        kind: Of the device: "hardware", or any other.
        times: Figures by name, in any unit.

    Returns:
        The same names, and "emulated": None, or the figures of what is no hardware.
    """
    if kind == "hardware":
        return {**times, "emulated": None}
    return {**dict.fromkeys(times), "emulated": dict(times)}
