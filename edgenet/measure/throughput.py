"""Images a second with several requests under way, which is another question than latency.

OpenVINO has a queue of its own for that. The others get sessions of one thread, each called from a
thread of Python's that waits in the engine, without the interpreter's lock: LiteRT has no queue for
the CPU, and ONNX Runtime's `run_async` is slower than such sessions, since each call occupies a
thread of the pool that the operators need.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from time import perf_counter

import numpy as np

from edgenet.images import Pixels
from edgenet.measure import async_queue
from edgenet.measure.candidates import Candidate
from edgenet.measure.intervals import Interval, median_interval
from edgenet.runtime import Session, load

ROUNDS = 10

_SECONDS = 0.3
_THREADS = "threads"

Serve = Callable[[Pixels, float], int]
"""Runs batches until a time on `perf_counter`'s clock and counts them."""


@dataclass(frozen=True)
class Streams:
    """Images a second in `count` streams of one thread: the median over rounds, its interval.

    `method` is what keeps them busy: "threads" that call a session each, or the engine's own queue,
    which may have taken fewer than were asked for.
    """

    count: int
    method: str
    images_per_s: float
    interval: Interval | None


def measure(
    candidates: Sequence[Candidate],
    images: Sequence[Pixels],
    count: int,
    progress: Callable[[int], None] | None = None,
) -> list[Streams]:
    """Measures files in turns, each in `count` streams on the CPU.

    Args:
        candidates: What to measure, open in its engine; streams are opened beside that.
        images: One full batch for each.
        count: Streams, 1 or more.
        progress: Told the number of rounds done after each of `ROUNDS`, and 0 after the warm-up.

    Raises:
        EdgenetError: As `edgenet.load`.
    """
    speeds: list[list[float]] = [[] for _ in candidates]
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(count))
        opened = [_open(stack, pool, candidate, count) for candidate in candidates]
        # The first round is the warm-up.
        for done in range(ROUNDS + 1):
            for (_, serve), batch, found in zip(opened, images, speeds, strict=True):
                found.append(_round(serve, batch))
            if progress:
                progress(done)
    return [
        Streams(way.count, way.method, float(np.median(found[1:])), median_interval(found[1:]))
        for (way, _), found in zip(opened, map(np.asarray, speeds), strict=True)
    ]


@dataclass(frozen=True)
class _Way:
    method: str
    count: int


def _open(
    stack: ExitStack, pool: ThreadPoolExecutor, candidate: Candidate, count: int
) -> tuple[_Way, Serve]:
    info = candidate.session.info
    if info.engine == "openvino":
        queue = async_queue.AsyncQueue(candidate, count)
        return _Way(async_queue.NAME, queue.count), queue.serve
    open_one = partial(load, candidate.bundle, info.format, threads=1, engine=info.engine)
    sessions = [stack.enter_context(open_one(batch=info.batch)) for _ in range(count)]
    return _Way(_THREADS, count), partial(_serve, pool, sessions)


def _serve(
    pool: ThreadPoolExecutor, sessions: Sequence[Session], images: Pixels, ends: float
) -> int:
    return sum(pool.map(lambda session: _stream(session, images, ends), sessions))


def _stream(session: Session, images: Pixels, ends: float) -> int:
    runs = 0
    while perf_counter() < ends:
        session.run(images)
        runs += 1
    return runs


def _round(serve: Serve, images: Pixels) -> float:
    """Images a second of all streams in one round; a run that began in time counts in full."""
    started = perf_counter()
    runs = serve(images, started + _SECONDS)
    return runs * len(images) / (perf_counter() - started)
