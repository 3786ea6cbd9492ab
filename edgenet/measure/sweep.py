"""What larger batches gain: each file with every batch, compared with its smallest."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgenet.measure.candidates import Candidate
from edgenet.measure.comparison import compare
from edgenet.measure.latency import Samples, summarize

Document = dict[str, Any]
_Timed = tuple[Candidate, Samples]


def batches(candidates: Sequence[Candidate], samples: Sequence[Samples]) -> list[Document]:
    """Every file that ran on one device, of hardware, with several batches, the smallest first.

    `speedup` is the throughput over that at the smallest batch, from turns taken in the same
    rounds; `interval` is its 95 % interval.
    """
    files: dict[tuple[Any, ...], list[_Timed]] = {}
    for candidate, sampled in zip(candidates, samples, strict=True):
        info = candidate.session.info
        if info.tells_speed:
            key = candidate.path, info.format, info.engine, info.threads, info.place
            files.setdefault(key, []).append((candidate, sampled))
    return [row for timed in files.values() if len(timed) > 1 for row in _rows(timed)]


def _rows(timed: list[_Timed]) -> list[Document]:
    ordered = sorted(timed, key=lambda each: each[0].session.info.batch)
    return [_row(ordered[0], each) for each in ordered]


def _row(base: _Timed, other: _Timed) -> Document:
    candidate, samples = other
    info = candidate.session.info
    timing = summarize(samples, info.batch)
    more = info.batch / base[0].session.info.batch
    found = compare(base[1], samples)
    return {
        "bundle": candidate.path,
        "format": info.format,
        "threads": info.threads,
        "batch": info.batch,
        "ms_per_batch": timing.p50_ms,
        "ms_per_image": timing.p50_ms / info.batch,
        "images_per_s": timing.throughput_per_s,
        "speedup": more / found.ratio,
        "interval": found.interval and [more / bound for bound in reversed(found.interval)],
    }
