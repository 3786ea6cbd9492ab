"""What `bench` measures beside latency when asked: from photo to label, streams, profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from edgenet.errors import EdgenetError
from edgenet.measure import throughput
from edgenet.measure.candidates import Candidate
from edgenet.measure.comparison import Comparison
from edgenet.measure.end_to_end import measure as end_to_end
from edgenet.measure.profiling import peak, run
from edgenet.measure.profiling.operators import Profile
from edgenet.report.progress import OnProgress

Document = dict[str, Any]


def listed(measured: Comparison | throughput.Streams) -> Document:
    """As the document has it, where an interval is a list: JSON knows no tuple."""
    found = asdict(measured)
    return {**found, "interval": found["interval"] and list(found["interval"])}


def add_end_to_end(document: Document, image: str, candidates: Sequence[Candidate]) -> None:
    """Adds, to each result on hardware, the times from a photo's bytes to its label.

    Of several batches only the smallest gets them: one photo leaves the rest of a batch empty.

    Raises:
        UsageError: The photo cannot be read.
    """
    least = min(result["batch"] for result in document["results"])
    pairs = [
        (candidate.session, result)
        for candidate, result in zip(candidates, document["results"], strict=True)
        if result["emulated"] is None and result["batch"] == least
    ]
    found = end_to_end([session for session, _ in pairs], image)
    for (_, result), times in zip(pairs, found, strict=True):
        result["end_to_end"] = asdict(times)


def add_streams(
    document: Document,
    count: int,
    image: str | None,
    candidates: Sequence[Candidate],
    progress: OnProgress,
) -> None:
    """Adds the speed in streams, once a file and batch: each stream has one thread in any case.

    A result that did not run on the CPU has none, and a warning says so.
    """
    for each, result in zip(candidates, document["results"], strict=True):
        device = each.session.info.device_used
        if device != "cpu":
            told = f"streams are measured on the cpu only, and this ran on the {device}"
            result["warnings"].append(told)
    single = {
        (each.path, each.session.info.format, each.session.info.batch): each
        for each in candidates
        if each.session.info.device_used == "cpu"
    }
    files = list(single.values())

    def after_round(done: int) -> None:
        progress("timing streams", done, throughput.ROUNDS, "rounds")

    found = throughput.measure(files, [each.input(image) for each in files], count, after_round)
    document["streams"] = [
        {"bundle": path, "format": format, "batch": batch, **listed(streams)}
        for (path, format, batch), streams in zip(single, found, strict=True)
    ]


def add_profiles(document: Document, candidates: Sequence[Candidate], progress: OnProgress) -> None:
    """Adds the machine's peaks, and to each result its profile or why there is none."""
    isa = document["machine"]["isa"]
    threads = sorted({candidate.session.info.threads for candidate in candidates})
    peaks = [found for count in threads for found in peak.measure(count)]
    document["peaks"] = [asdict(found) for found in peaks]
    for done, (candidate, result) in enumerate(zip(candidates, document["results"], strict=True)):
        info = candidate.session.info
        try:
            found = _profile(candidate)
            result["profile"] = run.document(found, info, isa, peaks)
        except EdgenetError as error:
            result["profile"] = None
            result["warnings"].append(f"no profile: {error}")
        progress("profiling", done + 1, len(candidates), "files")


def _profile(candidate: Candidate) -> Profile:
    info = candidate.session.info
    if candidate.resized:
        raise EdgenetError(
            f"engines profile the file as it is: edgenet convert --batch {info.batch} makes one "
            f"that takes {info.batch} images"
        )
    return run.profile(candidate.model, info)
