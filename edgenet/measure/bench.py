"""`edgenet.bench`: what is to be timed, and for how long, before anything is opened."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from edgenet.arguments import several, whole
from edgenet.errors import UsageError
from edgenet.measure.candidates import Request, open_all
from edgenet.measure.defaults import MIN_TIME, RUNS
from edgenet.measure.latency import PERCENTILES, runs_for
from edgenet.measure.timing import measure
from edgenet.report.progress import OnProgress, silent
from edgenet.runtime.loading import Reach
from edgenet.runtime.processors import most_threads


def bench(
    *bundles: str | os.PathLike[str],
    formats: Sequence[str] | None = None,
    device: str = "cpu",
    delegate: str | None = None,
    delegate_options: Mapping[str, str] | None = None,
    allow_fallback: bool = False,
    threads: int | Sequence[int] | None = None,
    batch: int | Sequence[int] | None = None,
    image: str | os.PathLike[str] | None = None,
    end_to_end: bool = False,
    streams: int | None = None,
    profile: bool = False,
    runs: int | None = None,
    min_time: float = MIN_TIME,
    percentile: int | None = None,
    report: Callable[[str], None] = lambda line: None,
    progress: OnProgress = silent,
) -> dict[str, Any]:
    """Times bundles on this machine, all their files in turns.

    Args:
        bundles: The folders that `convert` wrote, or open `Bundle`s; the first is what the others
            are compared with.
        formats: Of "tflite", "onnx", "openvino"; None takes all that can run.
        device: As for `edgenet.load`.
        delegate: As for `edgenet.load`.
        delegate_options: As for `edgenet.load`.
        allow_fallback: As for `edgenet.load`.
        threads: As for `edgenet.load`, or several numbers to measure each.
        batch: Images a run, one number or several; None takes what `convert` fixed in the file.
        image: A photo to run on; None takes a made-up one.
        end_to_end: Whether to time the photo from its bytes to its label too.
        streams: Also measure images a second in so many streams of one thread.
        profile: Whether to time each operator too, and tell what limits the speed.
        runs: The fewest timed runs of each; None takes 100, or what `percentile` takes.
        min_time: The shortest time spent on each, in seconds.
        percentile: 50, 90, 95 or 99, which the runs must suffice for.
        report: Told of what is left out, line by line.
        progress: Called as each piece of the work goes on, with what it is, the steps done, the
            steps in all, and what a step is.

    Returns:
        What was measured, as `edgenet bench --json` prints it; see
        `edgenet/report/schema/bench.schema.json`.

    Raises:
        UsageError: An argument asks for something that cannot be.
        DeviceError: The device cannot be used, or not for all operators.
        EdgenetError: As its subclasses say.
    """
    if not bundles:
        raise UsageError("there is nothing to time: name one or more bundles")
    if not (math.isfinite(min_time) and min_time >= 0):
        raise UsageError(f"--min-time {min_time}: it is a number of seconds, from 0")
    if end_to_end and image is None:
        raise UsageError("--end-to-end begins with a photo: name it with --image FILE")
    _require_streams(streams, device)
    request = Request(
        bundles=tuple(os.fspath(bundle) for bundle in bundles),
        formats=None if formats is None else several(formats),
        device=device,
        reach=Reach(delegate, delegate_options or {}, allow_fallback),
        threads=_counts(threads),
        batches=_counts(batch),
        runs=_runs(runs, percentile),
        min_time=min_time,
        image=None if image is None else os.fspath(image),
        streams=None if streams is None else whole("streams", streams),
        profile=profile,
        end_to_end=end_to_end,
    )
    with ExitStack() as stack:
        return measure(request, open_all(stack, request, report), progress)


def _require_streams(streams: int | None, device: str) -> None:
    if streams is None:
        return
    if not 1 <= streams <= most_threads():
        raise UsageError(f"--streams {streams}: ask for 1 to {most_threads()}")
    if device in ("gpu", "npu"):
        raise UsageError(f"--streams measures the CPU only: leave --device {device} off")


def _counts(asked: int | Sequence[int] | None) -> tuple[int | None, ...]:
    """One measurement for each."""
    return tuple(asked or (None,)) if isinstance(asked, Sequence) else (asked,)


def _runs(runs: int | None, percentile: int | None) -> int:
    if percentile not in (None, *PERCENTILES):
        raise UsageError(f"--percentile {percentile}: bench reports p50, p90, p95 and p99")
    needed = runs_for(percentile) if percentile else 0
    wanted = max(RUNS, needed) if runs is None else runs
    if wanted < 1:
        raise UsageError(f"--runs {wanted}: at least one run is needed")
    if wanted < needed:
        raise UsageError(f"--runs {wanted} are too few for p{percentile}: it takes --runs {needed}")
    return wanted
