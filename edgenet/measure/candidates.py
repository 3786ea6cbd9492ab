"""What `bench` times: the request, and each file that it comes to, open in its engine."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from edgenet.bundle import Artifact, Bundle
from edgenet.images import Pixels
from edgenet.measure.defaults import MIN_TIME, RUNS
from edgenet.measure.opening import open_formats
from edgenet.runtime import Session
from edgenet.runtime.loading import FixedBatchError, Reach, load_artifact

Setting = tuple[str, str, int, int, tuple[str, str]]

_SEED = 20


@dataclass(frozen=True)
class Request:
    """What to time, and how.

    Attributes:
        bundles: Folders that `convert` wrote, the first of them the base of comparisons.
        formats: None takes all whose engine is installed.
        device: As for `edgenet.load`.
        reach: As for `edgenet.load`.
        threads: One measurement for each; None is the engine's default here.
        batches: One measurement for each; None is a file's own batch here.
        runs: The fewest timed runs of each.
        min_time: The shortest time spent on each, in seconds.
        image: A photo to run on; None takes a made-up one.
        streams: Also measure images a second in so many streams of one thread.
        profile: Whether to ask the engines where the time goes.
        end_to_end: Whether to time `image` from its bytes to its label too.
    """

    bundles: tuple[str, ...]
    formats: tuple[str, ...] | None = None
    device: str = "cpu"
    reach: Reach | None = None
    threads: tuple[int | None, ...] = (None,)
    batches: tuple[int | None, ...] = (None,)
    runs: int = RUNS
    min_time: float = MIN_TIME
    image: str | None = None
    streams: int | None = None
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

    @property
    def setting(self) -> Setting:
        """What two files must share to be compared: format, engine, threads, batch and place."""
        info = self.session.info
        return info.format, info.engine, info.threads, info.batch, info.place

    @property
    def resized(self) -> bool:
        """Whether it runs with another batch than the file's own."""
        return self.session.info.batch != self.bundle.manifest.input.shape[0]

    def input(self, image: str | None) -> Pixels:
        """One full batch of a photo, or of a made-up one: smooth blobs of colour."""
        blobs = np.random.default_rng(_SEED).integers(0, 256, (8, 8, 3), np.uint8)
        pixels = self.session.prepare(blobs if image is None else image)
        return np.repeat(pixels[None], self.session.info.batch, axis=0)


def names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each bundle: its folder's, with as many folders above it as tell it from others.

    One bundle under several paths has one name.
    """
    parts = {path: Path(path).resolve().parts for path in paths}
    return {
        path: str(Path(*_tail(own, set(parts.values()) - {own}))) for path, own in parts.items()
    }


def _tail(own: tuple[str, ...], others: Collection[tuple[str, ...]]) -> tuple[str, ...]:
    """The shortest end of `own` that is none of the others'."""
    tails = (own[-length:] for length in range(1, len(own)))
    return next((t for t in tails if all(o[-len(t) :] != t for o in others)), own)


def turns(candidates: Sequence[Candidate]) -> list[int]:
    """The order in which candidates take turns, as indices: what is compared stands together."""
    settings: dict[Setting, list[int]] = {}
    for index, candidate in enumerate(candidates):
        settings.setdefault(candidate.setting, []).append(index)
    return [index for alike in settings.values() for index in alike]


def open_all(
    stack: ExitStack, request: Request, say: Callable[[str], None] | None = None
) -> list[Candidate]:
    """Opens all that a request names; the stack closes the sessions.

    Args:
        stack: What owns the sessions.
        request: What to open.
        say: Told of a format that is left out, as `open_formats` tells it, and of one that takes
            fewer threads than were asked for.

    Raises:
        FixedBatchError: No file runs with any of the batches asked for.
        EdgenetError: As `open_formats`.
    """
    found: list[Candidate] = []
    refused: FixedBatchError | None = None
    for path in dict.fromkeys(request.bundles):
        bundle = Bundle.open(path)
        for batch, threads in product(request.batches, request.threads):
            try:
                sessions = open_formats(
                    stack,
                    bundle,
                    request.formats,
                    request.device,
                    threads,
                    on_missing=say,
                    reach=request.reach,
                    batch=batch,
                )
            except FixedBatchError as error:
                refused = error
                continue
            found += [Candidate(path, bundle, session) for session in sessions]
    if refused and not found:
        raise refused
    return _once_each(found, say or (lambda line: None))


def reopened(
    stack: ExitStack, candidates: Mapping[int, Candidate], reach: Reach | None
) -> dict[int, Candidate]:
    """Candidates on the CPU in sessions anew, opened in the opposite order.

    What is opened first may get the better memory.

    Args:
        stack: What owns the new sessions; the old ones are closed.
        candidates: By index, in the order in which they were opened.
        reach: As they were opened with.

    Raises:
        EdgenetError: As `edgenet.load`.
    """
    for candidate in candidates.values():
        candidate.session.close()
    found = {}
    for index, candidate in reversed([*candidates.items()]):
        info = candidate.session.info
        session = load_artifact(
            candidate.bundle,
            candidate.artifact,
            info.device_used,
            info.threads,
            reach=reach,
            batch=info.batch,
        )
        found[index] = replace(candidate, session=stack.enter_context(session))
    return found


def _once_each(candidates: Sequence[Candidate], say: Callable[[str], None]) -> list[Candidate]:
    """Leaves out candidates that run exactly as an earlier one does.

    OpenVINO takes no more threads than there are cores, so that two numbers of threads may come to
    the same. Sessions left out stay open; they cost no time while nobody calls them.
    """
    found: dict[tuple[Any, ...], Candidate] = {}
    for candidate in candidates:
        place = (candidate.path, *candidate.setting)
        if found.setdefault(place, candidate) is not candidate:
            threads = candidate.session.info.threads
            say(f"{candidate.session.info.format} takes {threads} threads at most: measured once")
    return list(found.values())
