"""What native libraries print: the only place where some of them tell what they did."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from tempfile import TemporaryFile

_OUT, _ERR = 1, 2


@contextmanager
def captured() -> Iterator[Callable[[], str]]:
    """Keeps what any code of this process prints meanwhile, other threads too.

    Yields:
        A function that gives the text up to now, after the block too.
    """
    _flush()
    kept = {number: os.dup(number) for number in (_OUT, _ERR)}
    text = ""
    with TemporaryFile() as file:

        def read() -> str:
            descriptor = file.fileno()
            size = os.fstat(descriptor).st_size
            return os.pread(descriptor, size, 0).decode(errors="replace")

        for number in kept:
            os.dup2(file.fileno(), number)
        try:
            yield lambda: text or read()
        finally:
            _flush()
            text = read()
            for number, original in kept.items():
                os.dup2(original, number)
                os.close(original)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
