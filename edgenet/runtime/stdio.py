"""Capturing what native libraries print: some tell nowhere else what they did."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from tempfile import TemporaryFile
from threading import RLock

_OUT, _ERR = 1, 2
# The streams are the process's: of two threads at once, one would put back the other's file.
_TURN = RLock()


@contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Keeps what any code of this process prints meanwhile, other threads too.

    Threads that capture at once take turns.

    Yields:
        A function that gives the text up to now, after the block too.
    """
    text: str | None = None
    with _TURN, TemporaryFile() as file:

        def read() -> str:
            return _content(file.fileno()).decode(errors="replace")

        with ExitStack() as originals:
            _flush()
            for number in (_OUT, _ERR):
                originals.callback(_put_back, os.dup(number), number)
                os.dup2(file.fileno(), number)
            try:
                yield lambda: read() if text is None else text
            finally:
                _flush()
                text = read()


def _content(descriptor: int) -> bytes:
    """All of a file; where the streams write next stays its end."""
    size = os.fstat(descriptor).st_size
    if hasattr(os, "pread"):
        return os.pread(descriptor, size, 0)
    # Windows has none. Reading all of it leaves the place, which the streams share, at the end.
    os.lseek(descriptor, 0, os.SEEK_SET)
    return os.read(descriptor, size)


def _put_back(original: int, number: int) -> None:
    os.dup2(original, number)
    os.close(original)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
