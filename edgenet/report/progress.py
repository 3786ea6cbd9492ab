"""Progress of long work, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from typing import TextIO

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_REDRAWS = 0.1

OnProgress = Callable[[str, int, int, str], None]
"""Called with what is being done, the steps done, the steps in all, and what a step is."""


def silent(what: str, done: int, total: int, unit: str) -> None:
    """Shows no progress."""


class Progress:
    """Says how far some work is: one line redrawn on a terminal, a line every 5 s elsewhere.

    Args:
        what: What is done, as in "checking".
        total: Steps in all.
        unit: What a step is, in the plural.
        stream: Where to write; None takes stderr.
    """

    def __init__(self, what: str, total: int, unit: str, stream: TextIO | None = None) -> None:
        self._what, self._total, self._unit = what, total, unit
        self._stream = stream or sys.stderr
        self._drawn = monotonic()
        self._dirty = False

    def update(self, done: int) -> None:
        """Tells that `done` steps of the total are done."""
        terminal = self._stream.isatty()
        pause = _SECONDS_BETWEEN_REDRAWS if terminal else _SECONDS_BETWEEN_LINES
        if monotonic() - self._drawn < pause and not (terminal and done == self._total):
            return
        self._drawn = monotonic()
        text = f"{self._what}: {done} of {self._total} {self._unit}"
        self._stream.write(f"\r\x1b[K{text}" if terminal else f"{text}\n")
        self._stream.flush()
        self._dirty = terminal

    def close(self) -> None:
        """Takes the line off the terminal again."""
        if self._dirty:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._dirty = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Steps:
    """The progress of one piece of work after another: a new `what` begins a new line."""

    def __init__(self) -> None:
        self._what = ""
        self._progress: Progress | None = None

    def update(self, what: str, done: int, total: int, unit: str) -> None:
        """Tells that `done` of `total` steps of the work `what` are done."""
        if self._progress is None or what != self._what:
            self.close()
            self._what, self._progress = what, Progress(what, total, unit)
        self._progress.update(done)

    def close(self) -> None:
        """Takes the line off the terminal again."""
        if self._progress:
            self._progress.close()
            self._progress = None

    def __enter__(self) -> Steps:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
