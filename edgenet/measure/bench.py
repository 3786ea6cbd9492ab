"""`bench`'s measurement: every bundle, format and thread count in turns, as one JSON document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from edgenet.bundle import Artifact, Bundle, summary
from edgenet.errors import EdgenetError, UsageError
from edgenet.images import Pixels
from edgenet.measure import latency
from edgenet.measure.bootstrap import intervals
from edgenet.measure.comparison import compare
from edgenet.measure.footprint import Footprint
from edgenet.measure.footprint import measure as footprint
from edgenet.measure.interference import Interference, Watch, spread_warnings
from edgenet.measure.latency import Samples
from edgenet.measure.machine import cores, describe
from edgenet.measure.opening import open_formats
from edgenet.runtime import Session

Document = dict[str, Any]
Progress = Callable[[str, int, int, str], None]
"""Told what is done, how far it is, of how much, and in which unit."""

_SEED = 20
_BINS = 40


@dataclass(frozen=True)
class Request:
    """What to time, and how.

    Attributes:
        bundles: Folders that `convert` wrote, the first of them the base of comparisons.
        formats: None takes all whose engine is installed.
        device: As for `edgenet.load`.
        threads: One measurement for each; None is the engine's default here.
        batches: Only files of these batch sizes; None takes all. A file's batch is fixed.
        runs: The fewest timed runs of each.
        min_time: The shortest time spent on each, in seconds.
        image: A photo to run on; None takes a made-up one.
        profile: Whether to ask the engines where the time goes.
        end_to_end: Whether to time `image` from its bytes to its label too.
    """

    bundles: tuple[str, ...]
    formats: tuple[str, ...] | None = None
    device: str = "cpu"
    threads: tuple[int | None, ...] = (None,)
    batches: tuple[int, ...] | None = None
    runs: int = 100
    min_time: float = 2.0
    image: str | None = None
    profile: bool = False
    end_to_end: bool = False


@dataclass(frozen=True)
class Candidate:
    """One file, open in its engine with one number of threads."""

    path: str
    bundle: Bundle
    session: Session

    @property
    def model(self) -> Path:
        """The file that the engine has open."""
        return self.bundle.path / self.artifact.files[0].path

    @property
    def artifact(self) -> Artifact:
        """What the manifest says of the file."""
        return self.bundle.artifact(self.session.info.format)

    def input(self, image: str | None) -> Pixels:
        """One full batch of a photo, or of a made-up one: smooth blobs of colour."""
        blobs = np.random.default_rng(_SEED).integers(0, 256, (8, 8, 3), np.uint8)
        pixels = self.session.prepare(blobs if image is None else image)
        return np.repeat(pixels[None], self.session.info.batch, axis=0)


def open_all(
    stack: ExitStack, request: Request, say: Callable[[str], None] | None = None
) -> list[Candidate]:
    """Opens all that a request names; the stack closes the sessions.

    Raises:
        UsageError: No file has one of the batch sizes asked for.
        EdgenetError: As `open_formats`.
    """
    found = []
    for path in dict.fromkeys(request.bundles):
        bundle = Bundle.open(path)
        if request.batches and bundle.manifest.input.shape[0] not in request.batches:
            continue
        for threads in request.threads:
            sessions = open_formats(
                stack, bundle, request.formats, request.device, threads, on_missing=say
            )
            found += [Candidate(path, bundle, session) for session in sessions]
    if not found:
        raise UsageError(
            "no bundle named has one of the batch sizes asked for, and a file's is fixed: "
            "edgenet convert --batch N makes another"
        )
    return found


def measure(request: Request, candidates: Sequence[Candidate], progress: Progress) -> Document:
    """Times the candidates in turns and gives the document of `bench --json`.

    Raises:
        UsageError: The photo cannot be read.
        EdgenetError: An engine fails.
    """
    samples, interference = _sample(request, candidates, progress)
    prints = _footprints(candidates, progress)
    results = [
        _result(candidate, sampled, weight)
        for candidate, sampled, weight in zip(candidates, samples, prints, strict=True)
    ]
    document = {
        "machine": describe(),
        "interference": {**asdict(interference), "warnings": list(interference.warnings())},
        "results": results,
        "comparisons": _comparisons(candidates, samples),
        "bundles": {each.path: summary(each.bundle.manifest) for each in candidates},
    }
    if request.end_to_end and request.image is not None:
        _add_end_to_end(document, request.image, candidates)
    if request.profile:
        _add_profiles(document, candidates, progress)
    return document


def _add_end_to_end(document: Document, image: str, candidates: Sequence[Candidate]) -> None:
    from edgenet.measure.end_to_end import measure as end_to_end

    found = end_to_end([candidate.session for candidate in candidates], image)
    for result, times in zip(document["results"], found, strict=True):
        result["end_to_end"] = asdict(times)


def _add_profiles(document: Document, candidates: Sequence[Candidate], progress: Progress) -> None:
    """Adds the machine's peaks, and to each result its profile or why there is none."""
    from edgenet.measure.profiling import peak, run

    isa = document["machine"]["isa"]
    threads = sorted({candidate.session.info.threads for candidate in candidates})
    peaks = [found for count in threads for found in peak.measure(count)]
    document["peaks"] = run.documents(peaks)
    for done, (candidate, result) in enumerate(zip(candidates, document["results"], strict=True)):
        info = candidate.session.info
        try:
            found = run.profile(candidate.model, info)
            result["profile"] = run.document(found, info, isa, peaks)
        except EdgenetError as error:
            result["profile"] = None
            result["warnings"].append(f"no profile: {error}")
        progress("profiling", done + 1, len(candidates), "files")


def _sample(
    request: Request, candidates: Sequence[Candidate], progress: Progress
) -> tuple[list[Samples], Interference]:
    calls = [partial(each.session.run, each.input(request.image)) for each in candidates]
    watch = Watch(cores())

    def after_round(done: int) -> None:
        watch.tick()
        progress("timing", done, min(latency.ROUNDS, request.runs), "rounds")

    sampled = latency.sample(
        calls, runs=request.runs, min_time=request.min_time, progress=after_round
    )
    return sampled, watch.stop()


def _footprints(candidates: Sequence[Candidate], progress: Progress) -> list[Footprint]:
    prints = []
    for done, candidate in enumerate(candidates):
        info = candidate.session.info
        prints.append(
            footprint(candidate.path, info.format, info.device, info.threads, engine=info.engine)
        )
        progress("loading in fresh processes", done + 1, len(candidates), "files")
    return prints


def _result(candidate: Candidate, samples: Samples, weight: Footprint) -> Document:
    info = candidate.session.info
    timing = latency.summarize(samples, info.batch)
    bounds = intervals(samples)
    low, high = bounds.p50_ms or (timing.p50_ms, timing.p50_ms)
    return {
        "bundle": candidate.path,
        "name": Path(candidate.path).resolve().name,
        "format": info.format,
        "precision": info.precision,
        "engine": info.engine,
        "device": info.device,
        "device_used": info.device_used,
        "delegate": info.delegate,
        "delegated_fraction": info.delegated_fraction,
        "threads": info.threads,
        "batch": info.batch,
        "bytes": candidate.artifact.bytes,
        "verified": asdict(candidate.artifact.verified),
        **asdict(weight),
        **asdict(timing),
        "intervals": {key: value and list(value) for key, value in asdict(bounds).items()},
        "warmup": asdict(samples.warmup),
        "warmup_runs": samples.warmup.runs,
        "rounds_p50_ms": samples.medians().tolist(),
        "histogram": _histogram(samples),
        "warnings": _warnings(candidate, samples, spread_warnings(low, high, timing.p50_ms)),
    }


def _warnings(candidate: Candidate, samples: Samples, found: list[str]) -> list[str]:
    threads = candidate.session.info.threads
    if threads > cores():
        found.append(f"{threads} threads share {cores()} cores")
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
    """Every other bundle against the first, in the same format with the same threads."""
    bases = {
        _key(candidate): sampled
        for candidate, sampled in zip(candidates, samples, strict=True)
        if candidate.path == candidates[0].path
    }
    return [
        {
            "base": candidates[0].path,
            "other": candidate.path,
            "format": candidate.session.info.format,
            "threads": candidate.session.info.threads,
            **asdict(compare(bases[_key(candidate)], sampled)),
        }
        for candidate, sampled in zip(candidates, samples, strict=True)
        if candidate.path != candidates[0].path and _key(candidate) in bases
    ]


def _key(candidate: Candidate) -> tuple[str, str, int, int]:
    info = candidate.session.info
    return info.format, info.engine, info.threads, info.batch
