"""From a photo's bytes to its label: what the model's time leaves out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from edgenet.bundle import REGRESSION
from edgenet.errors import UsageError
from edgenet.images import Pixels, decode
from edgenet.measure import latency
from edgenet.runtime import Session
from edgenet.runtime.session import Floats

RUNS = 50

# Runs of one session in a row, before which threads that another left spinning come to rest.
_TURN = 5


@dataclass(frozen=True)
class EndToEnd:
    """Medians of single runs in milliseconds, and what the photo was taken for: class or values.

    `decode_ms` is bytes to pixels, `resize_ms` crop and resize to the model's input, `run_ms` the
    model, `rank_ms` the best classes of its probabilities or the names of its values, `all_ms` all
    four.
    """

    image: str
    bytes: int
    top: str
    decode_ms: float
    resize_ms: float
    run_ms: float
    rank_ms: float
    all_ms: float
    runs: int


def measure(sessions: Sequence[Session], image: str, runs: int = RUNS) -> list[EndToEnd]:
    """Classifies one photo `runs` times in each session, the sessions in turns.

    Raises:
        UsageError: The photo cannot be read, or a bundle has no probabilities output.
        ImageError: It is no image, or a damaged one.
    """
    try:
        data = Path(image).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read the image {image}: {error.strerror}") from error
    times: list[list[list[float]]] = [[] for _ in sessions]
    labels = [""] * len(sessions)
    for done in range(0, runs, _TURN):
        for index, session in enumerate(sessions):
            if len(sessions) > 1:
                latency.rest()
            _, labels[index] = _classify(session, data)
            turn = range(min(_TURN, runs - done))
            times[index] += [_classify(session, data)[0] for _ in turn]
    return [
        _summary(image, len(data), label, np.asarray(rows))
        for label, rows in zip(labels, times, strict=True)
    ]


def _classify(session: Session, data: bytes) -> tuple[list[float], str]:
    clock = [perf_counter_ns()]
    photo = decode(data)
    clock.append(perf_counter_ns())
    pixels = session.prepare(photo)
    clock.append(perf_counter_ns())
    answer = _answer(session, pixels)
    clock.append(perf_counter_ns())
    told = _told(session, answer[0])
    clock.append(perf_counter_ns())
    return [*(np.diff(clock) / 1e6), (clock[-1] - clock[0]) / 1e6], told


def _answer(session: Session, pixels: Pixels) -> Floats:
    return (session.run if session.info.task == REGRESSION else session.probabilities)(pixels)


def _told(session: Session, answer: Floats) -> str:
    if session.info.task == REGRESSION:
        return ", ".join(f"{found.label} {found.value:.4g}" for found in session.named(answer))
    return session.rank(answer, 5)[0].label


def _summary(image: str, size: int, label: str, times: NDArray[np.float64]) -> EndToEnd:
    decoded, resized, run, ranked, everything = (float(t) for t in np.median(times, axis=0))
    return EndToEnd(image, size, label, decoded, resized, run, ranked, everything, runs=len(times))
