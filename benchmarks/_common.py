"""What the benchmarks share: ratios with their uncertainty, and errors told in one line."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from edgenet.cli.console import fail
from edgenet.errors import EdgenetError
from edgenet.images import Pixels
from edgenet.measure.intervals import median_interval
from edgenet.measure.latency import Call, interleaved

Times = NDArray[np.float64]
"""Milliseconds, repeats × candidates: the times in a row were taken in turns."""

REPEATS = 9
"""Short ones: the more there are, the less a neighbour that disturbs some of them matters."""


@dataclass(frozen=True)
class Ratio:
    """How much slower ours is than the peer: below 1 it is faster.

    `low` and `high` bound the median's 95 % interval over repeats.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.3f} [{self.low:.3f}, {self.high:.3f}]"


def ratio(ours: Times, peer: Times) -> Ratio:
    """The median over repeats of ours / peer, each repeat divided by its own peer's time.

    The interval is that of `edgenet.measure.intervals`; below 6 repeats it is all that was seen.
    """
    ratios = ours / peer
    low, high = median_interval(ratios) or (ratios.min(), ratios.max())
    return Ratio(float(np.median(ratios)), float(low), float(high))


def p50s(calls: Sequence[Call], repeats: int, runs: int, min_time: float) -> Times:
    """The p50 of each call, taken `repeats` times over, the calls in turns each time.

    Args:
        calls: What to time.
        repeats: Rows of the result.
        runs: The fewest timed calls of each in a repeat.
        min_time: The shortest time spent on each in a repeat, in seconds.
    """
    rows = [
        [timing.p50_ms for timing in interleaved(calls, runs=runs, min_time=min_time)]
        for _ in range(repeats)
    ]
    return np.asarray(rows, np.float64)


def made_up_photo(height: int, width: int) -> Pixels:
    """Smooth blobs of colour, the same at every call: height × width × 3 uint8."""
    from PIL import Image

    blobs = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    return np.asarray(Image.fromarray(blobs).resize((width, height), Image.Resampling.BICUBIC))


def bounded(kind: Callable[[str], Any], least: float) -> Callable[[str], Any]:
    """A number for argparse that must not be below `least`."""

    def parse(text: str) -> Any:
        value = kind(text)
        if not value >= least:
            raise ValueError
        return value

    parse.__name__ = f"{kind.__name__} (from {least})"
    return parse


def end(main: Callable[[], int]) -> NoReturn:
    """Ends the process with what `main` returns; a user's mistake is one line on stderr."""
    try:
        code = main()
    except EdgenetError as error:
        code = fail(str(error), error.exit_code)
    sys.exit(code)
