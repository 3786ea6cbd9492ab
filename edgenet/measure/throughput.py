"""Images a second with several requests under way, which is another question than latency.

Every engine gets the same: so many sessions of one thread, each called from a thread of Python's
that waits in the engine, without the interpreter's lock.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from edgenet.bundle import Bundle
from edgenet.images import Pixels
from edgenet.measure.bootstrap import Interval, median_interval
from edgenet.runtime import Session, load

ROUNDS = 10

_SECONDS = 0.3


@dataclass(frozen=True)
class Streams:
    """Images a second of `count` sessions of one thread: the median over rounds, its interval."""

    count: int
    images_per_s: float
    interval: Interval | None


def measure(
    files: Sequence[tuple[Bundle, str, str]], images: Sequence[Pixels], count: int
) -> list[Streams]:
    """Measures files in turns, each in `count` streams on the CPU.

    Args:
        files: Bundle, format and engine of each.
        images: One full batch for each.
        count: Streams, 1 or more.

    Raises:
        EdgenetError: As `edgenet.load`.
    """
    opened = [
        [load(bundle, format, threads=1, engine=engine) for _ in range(count)]
        for bundle, format, engine in files
    ]
    speeds: list[list[float]] = [[] for _ in files]
    try:
        with ThreadPoolExecutor(count) as pool:
            for _ in range(ROUNDS + 1):
                for sessions, batch, found in zip(opened, images, speeds, strict=True):
                    found.append(_round(pool, sessions, batch))
    finally:
        for session in (session for sessions in opened for session in sessions):
            session.close()
    # The first round is the warm-up.
    return [_summary(count, np.asarray(found[1:])) for found in speeds]


def _round(pool: ThreadPoolExecutor, sessions: Sequence[Session], images: Pixels) -> float:
    """Images a second of all sessions in one round; each counts what it began in time."""
    started = perf_counter()
    ends = started + _SECONDS
    runs = sum(pool.map(lambda session: _stream(session, images, ends), sessions))
    return runs * len(images) / (perf_counter() - started)


def _stream(session: Session, images: Pixels, ends: float) -> int:
    runs = 0
    while perf_counter() < ends:
        session.run(images)
        runs += 1
    return runs


def _summary(count: int, speeds: NDArray[np.float64]) -> Streams:
    return Streams(count, float(np.median(speeds)), median_interval(speeds))
