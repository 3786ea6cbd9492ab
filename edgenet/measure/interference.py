"""What spoils a measurement: other processes, a stolen or throttled processor, a drifting clock.

A `Watch` reads the kernel's counters before and after, and times a fixed piece of arithmetic once a
round: where that drifts, the machine does, whatever the model.
"""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

from edgenet.runtime.cgroups import text_of, times_throttled

ROOT = Path("/")

_OTHER_LOAD = 0.05
_STEAL = 0.01
# Threads of the engines themselves wait for one another at times.
_PRESSURE = 0.20
_DRIFT = 0.10
_SPREAD = 0.10
_YARDSTICK = 20_000


@dataclass(frozen=True)
class Counters:
    """What the kernel has counted so far, in seconds; None where this system does not count it.

    `busy` and `steal` are summed over the processors watched, `own` is this process's, `stalled` is
    the time in which some process waited for a processor. `throttled` counts how often a core was
    too hot to go on as fast, `held_back` how often a quota was used up.
    """

    wall: float
    own: float
    busy: float | None
    steal: float | None
    stalled: float | None
    throttled: int | None
    held_back: int | None


@dataclass(frozen=True)
class Interference:
    """What disturbed the measurement; shares are of the processors watched, None is unknown.

    `clock_drift` is how much slower the slowest round's arithmetic was than the median round's.
    """

    other_load: float | None
    steal: float | None
    cpu_pressure: float | None
    throttled: int | None
    held_back: int | None
    clock_drift: float | None

    def warnings(self) -> tuple[str, ...]:
        """One line for each thing that spoils the figures."""
        checks = (
            _above(self.other_load, _OTHER_LOAD, "other processes took {:.0%} of the processors"),
            _above(self.steal, _STEAL, "the hypervisor withheld {:.0%} of the processors' time"),
            _above(self.cpu_pressure, _PRESSURE, "work waited for a processor {:.0%} of the time"),
            _above(self.clock_drift, _DRIFT, "the processor was up to {:.0%} slower in a round"),
            _above(self.throttled, 0, "the processor was throttled {} times"),
            _above(self.held_back, 0, "the quota held this process back {} times"),
        )
        return tuple(check for check in checks if check)


class Watch:
    """Watches processors, by their numbers, from its making to `stop`; call `tick` once a round."""

    def __init__(self, processors: Collection[int]) -> None:
        self._processors = processors
        self._ticks = [yardstick()]
        self._before = read(processors)

    def tick(self) -> None:
        """Times the fixed arithmetic."""
        self._ticks.append(yardstick())

    def stop(self) -> Interference:
        """What went on since the beginning."""
        after = read(self._processors)
        return between(self._before, after, len(self._processors), self._ticks)


def between(
    before: Counters, after: Counters, processors: int, ticks: Iterable[int] = ()
) -> Interference:
    """The interference from one reading to another, with the yardstick's nanoseconds."""
    capacity = (after.wall - before.wall) * processors
    busy = _difference(before.busy, after.busy)
    others = None if busy is None else max(0.0, busy - (after.own - before.own))
    return Interference(
        other_load=_share(others, capacity),
        steal=_share(_difference(before.steal, after.steal), capacity),
        cpu_pressure=_share(_difference(before.stalled, after.stalled), after.wall - before.wall),
        throttled=_events(before.throttled, after.throttled),
        held_back=_events(before.held_back, after.held_back),
        clock_drift=_drift(sorted(ticks)),
    )


def spread_warnings(low: float, high: float, middle: float) -> list[str]:
    """A warning where the median is known only roughly, else none.

    Args:
        low: Lower end of the interval of the median.
        high: Its upper end.
        middle: The median.
    """
    half = (high - low) / 2 / middle
    return [f"the p50 is known to ±{half:.0%} only"] if half > _SPREAD else []


def read(processors: Collection[int], root: Path = ROOT) -> Counters:
    """Reads Linux's counters: /proc/stat, /proc/pressure/cpu, throttled cores and quotas used up.

    Args:
        processors: The numbers of those that this process may use; work on others disturbs nothing.
        root: Where the system's files are.

    Sources: proc_stat(5); the kernel's Documentation/accounting/psi.rst and
        arch/x86/kernel/cpu/mce/therm_throt.c; for quotas see `edgenet.runtime.cgroups`.
    """
    busy, steal = _stat(root / "proc/stat", processors)
    return Counters(
        wall=time.monotonic(),
        own=time.process_time(),
        busy=busy,
        steal=steal,
        stalled=_pressure(root / "proc/pressure/cpu"),
        throttled=_throttled(root / "sys/devices/system/cpu", processors),
        held_back=times_throttled(root),
    )


def yardstick() -> int:
    """The nanoseconds that a fixed piece of integer arithmetic takes: the best of three."""
    return min(_arithmetic() for _ in range(3))


def _arithmetic() -> int:
    started = perf_counter_ns()
    sum(range(_YARDSTICK))
    return perf_counter_ns() - started


def _stat(path: Path, processors: Collection[int]) -> tuple[float | None, float | None]:
    """Busy and stolen seconds; idle and iowait are not busy."""
    names = {f"cpu{number}" for number in processors}
    split = [line.split() for line in text_of(path).splitlines()]
    lines = [fields for fields in split if fields and fields[0] in names]
    if not lines:
        return None, None
    counts = [[int(field) for field in fields[1:9]] for fields in lines]
    user, nice, system, _, _, irq, softirq, steal = map(sum, zip(*counts, strict=True))
    tick = os.sysconf("SC_CLK_TCK")
    return (user + nice + system + irq + softirq) / tick, steal / tick


def _pressure(path: Path) -> float | None:
    line = _first_line(path)
    _, found, total = line.rpartition("total=")
    return int(total) / 1e6 if found else None


def _throttled(folder: Path, processors: Collection[int]) -> int | None:
    counts = [folder / f"cpu{n}/thermal_throttle/core_throttle_count" for n in sorted(processors)]
    cores = [int(_first_line(path) or 0) for path in counts if path.is_file()]
    return sum(cores) if cores else None


def _first_line(path: Path) -> str:
    return text_of(path).partition("\n")[0]


def _difference(before: float | None, after: float | None) -> float | None:
    return None if before is None or after is None else after - before


def _events(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def _share(part: float | None, whole: float) -> float | None:
    """At most 1: the kernel adds up in steps, and one may end here that began before."""
    return None if part is None else min(1.0, part / max(1e-9, whole))


def _drift(ticks: list[int]) -> float | None:
    return None if not ticks else ticks[-1] / ticks[len(ticks) // 2] - 1


def _above(value: float | None, limit: float, text: str) -> str | None:
    return text.format(value) if value is not None and value > limit else None
