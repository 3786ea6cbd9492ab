"""`bench`'s measurement: every bundle, format and thread count in turns, as one JSON document."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from edgenet.bundle import summary
from edgenet.errors import EdgenetError
from edgenet.measure import extras, latency, sweep
from edgenet.measure.candidates import Candidate, Request, names, reopened, turns
from edgenet.measure.comparison import compare
from edgenet.measure.footprint import Footprint
from edgenet.measure.footprint import measure as footprint
from edgenet.measure.interference import Interference, Watch, spread_warnings
from edgenet.measure.intervals import Intervals, intervals
from edgenet.measure.latency import Samples, Timing
from edgenet.measure.machine import describe
from edgenet.measure.speeds import split_times
from edgenet.report.devices import elsewhere, slow
from edgenet.report.progress import OnProgress
from edgenet.runtime.loading import Reach
from edgenet.runtime.processors import processors

Document = dict[str, Any]
# The costs of a fresh process, and a line for each that is not known.
_Weighed = tuple[Footprint, list[str]]
_BINS = 40


def measure(request: Request, candidates: Sequence[Candidate], progress: OnProgress) -> Document:
    """Times the candidates in turns and gives the document of `bench --json`.

    Bundles that are compared on the CPU are opened anew between rounds, and their sessions closed.

    Raises:
        UsageError: The photo cannot be read.
        EdgenetError: An engine fails.
    """
    with ExitStack() as stack:
        samples, interference, candidates = _sample(stack, request, candidates, progress)
        return _document(request, candidates, samples, interference, progress)


def _document(
    request: Request,
    candidates: Sequence[Candidate],
    samples: Sequence[Samples],
    interference: Interference,
    progress: OnProgress,
) -> Document:
    prints = _footprints(request, candidates, progress)
    named = names([candidate.path for candidate in candidates])
    results = [
        _result(candidate, named[candidate.path], sampled, *weighed)
        for candidate, sampled, weighed in zip(candidates, samples, prints, strict=True)
    ]
    document = {
        "machine": describe(),
        "interference": {**asdict(interference), "warnings": list(interference.warnings())},
        "results": results,
        "comparisons": _comparisons(candidates, samples),
        "batches": sweep.batches(candidates, samples),
        "bundles": {each.path: summary(each.bundle.manifest) for each in candidates},
    }
    if request.end_to_end and request.image is not None:
        with _beside(results, "times from end to end"):
            extras.add_end_to_end(document, request.image, candidates)
    if request.streams is not None:
        with _beside(results, "streams"):
            extras.add_streams(document, request.streams, request.image, candidates, progress)
    if request.profile:
        extras.add_profiles(document, candidates, progress)
    return document


@contextmanager
def _beside(results: Sequence[Document], what: str) -> Iterator[None]:
    """Keeps what has been measured where something that is measured beside it fails."""
    try:
        yield
    except EdgenetError as error:
        for result in results:
            result["warnings"].append(f"no {what}: {error}")


def _sample(
    stack: ExitStack, request: Request, candidates: Sequence[Candidate], progress: OnProgress
) -> tuple[list[Samples], Interference, Sequence[Candidate]]:
    """The times, what may have spoiled them, and the candidates as they are open now."""
    images = [each.input(request.image) for each in candidates]
    order = turns(candidates)
    opened = {index: candidates[index] for index in order}

    def calls() -> list[latency.Call]:
        return [partial(opened[index].session.run, images[index]) for index in order]

    def renew() -> list[latency.Call]:
        nonlocal opened
        opened = reopened(stack, opened, request.reach)
        return calls()

    watch = Watch(processors())

    def after_round(done: int) -> None:
        watch.tick()
        progress("timing", done, min(latency.ROUNDS, request.runs), "rounds")

    sampled = latency.sample(
        calls(),
        runs=request.runs,
        min_time=request.min_time,
        progress=after_round,
        renew=renew if _compares_cpus(candidates) else None,
    )
    interference = watch.stop()
    found = dict(zip(order, sampled, strict=True))
    indices = range(len(candidates))
    return [found[i] for i in indices], interference, [opened[i] for i in indices]


def _compares_cpus(candidates: Sequence[Candidate]) -> bool:
    """Whether bundles are compared where it takes little to open them anew."""
    several = len({candidate.path for candidate in candidates}) > 1
    return several and all(each.session.info.device_used == "cpu" for each in candidates)


def _footprints(
    request: Request, candidates: Sequence[Candidate], progress: OnProgress
) -> list[_Weighed]:
    prints = []
    for done, candidate in enumerate(candidates):
        prints.append(_footprint(request, candidate))
        progress("loading in fresh processes", done + 1, len(candidates), "files")
    return prints


def _footprint(request: Request, candidate: Candidate) -> _Weighed:
    info = candidate.session.info
    try:
        found = footprint(
            candidate.path,
            info.format,
            info.device_used,
            info.threads,
            engine=info.engine,
            reach=_reach(request, candidate),
            batch=info.batch,
        )
    # A small device kills a second copy of the model for its memory; the times taken still hold.
    except EdgenetError as error:
        return Footprint(), [f"no load times or memory: {error}"]
    return found, ["no peak memory: this system does not tell it"] * (found.rss_mb is None)


def _reach(request: Request, candidate: Candidate) -> Reach:
    """The delegate that the candidate runs on, by name.

    Without the name the fresh process would choose again, and its time to load would include the
    delegates that refuse the file.
    """
    asked = request.reach or Reach()
    chosen = candidate.session.delegate
    return asked if chosen.device == "cpu" else replace(asked, delegate=chosen.name)


def _result(
    candidate: Candidate, name: str, samples: Samples, weight: Footprint, told: list[str]
) -> Document:
    info = candidate.session.info
    timing = latency.summarize(samples, info.batch)
    bounds = intervals(samples)
    low, high = bounds.p50_ms or (timing.p50_ms, timing.p50_ms)
    return {
        "bundle": candidate.path,
        "name": name,
        "format": info.format,
        "precision": info.precision,
        "engine": info.engine,
        "device": info.device,
        "device_used": info.device_used,
        "kind": info.kind,
        "device_name": info.device_name,
        "delegate": info.delegate,
        "delegated_fraction": info.delegated_fraction,
        "time_elsewhere": info.time_elsewhere,
        "threads": info.threads,
        "batch": info.batch,
        "bytes": candidate.artifact.bytes,
        "verified": asdict(candidate.artifact.verified),
        "rss_mb": weight.rss_mb,
        "steady_mb": weight.steady_mb,
        "runs": timing.runs,
        "warmup": asdict(samples.warmup),
        "warmup_runs": samples.warmup.runs,
        **split_times(info.kind, _times(samples, timing, weight, bounds)),
        "warnings": told + _warnings(candidate, samples, spread_warnings(low, high, timing.p50_ms)),
    }


def _times(samples: Samples, timing: Timing, weight: Footprint, bounds: Intervals) -> Document:
    untimed = ("rss_mb", "steady_mb", "runs")
    figures = {**asdict(weight), **asdict(timing)}
    return {
        **{name: value for name, value in figures.items() if name not in untimed},
        "intervals": {key: value and list(value) for key, value in asdict(bounds).items()},
        "rounds_p50_ms": samples.medians().tolist(),
        "histogram": _histogram(samples),
    }


def _warnings(candidate: Candidate, samples: Samples, found: list[str]) -> list[str]:
    info = candidate.session.info
    if info.threads > len(processors()):
        found.append(f"{info.threads} threads share {len(processors())} cores")
    if told := slow(info):
        found.append(told)
    if info.elsewhere:
        found.append(elsewhere(info))
    if not samples.warmup.steady:
        found.append(f"still getting faster after {samples.warmup.ms / 1e3:.0f} s of warm-up")
    return found


def _histogram(samples: Samples) -> Document:
    """Counts in bins of one width; the last bin also holds what is slower than twice the p50."""
    times = samples.milliseconds()
    low = float(times.min())
    high = min(float(times.max()), 2 * float(np.median(times)))
    counts, _ = np.histogram(np.minimum(times, high), _BINS, (low, max(high, low * 1.001)))
    return {"low_ms": low, "high_ms": max(high, low * 1.001), "counts": counts.tolist()}


def _comparisons(candidates: Sequence[Candidate], samples: Sequence[Samples]) -> list[Document]:
    """Every other bundle against the first, where their settings are the same."""
    bases = {
        candidate.setting: sampled
        for candidate, sampled in zip(candidates, samples, strict=True)
        if candidate.path == candidates[0].path
    }
    return [
        {
            "base": candidates[0].path,
            "other": candidate.path,
            "format": candidate.session.info.format,
            "threads": candidate.session.info.threads,
            "batch": candidate.session.info.batch,
            **extras.listed(compare(bases[candidate.setting], sampled)),
        }
        for candidate, sampled in zip(candidates, samples, strict=True)
        if candidate.path != candidates[0].path
        and candidate.session.info.tells_speed
        and candidate.setting in bases
    ]
