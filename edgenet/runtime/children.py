"""Work in a Python process of its own: what crashes, hangs or prints there ends there."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from edgenet.errors import EdgenetError


class ChildError(EdgenetError):
    """A child process failed; the message, the last line that it said, continues a sentence."""


def run_python(arguments: Sequence[str], timeout_s: float) -> str:
    """Runs Python with these arguments, this edgenet at hand, and returns what it printed.

    Args:
        arguments: What follows `python`, as in ("-m", MODULE).
        timeout_s: How long it may take.

    Raises:
        ChildError: It failed, crashed or did not end.
    """
    import subprocess  # Late: most sessions start no process.

    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            env=environment(),
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise ChildError(f"it did not end in {timeout_s:g} s") from error
    if done.returncode < 0:
        raise ChildError(f"it crashed ({_signal(-done.returncode)})")
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ChildError(told[-1] if told else f"exit status {done.returncode}")
    return done.stdout


def environment() -> dict[str, str]:
    """The environment in which a child process finds this edgenet, installed or a source tree."""
    root = str(Path(__file__).resolve().parents[2])
    inherited = os.environ.get("PYTHONPATH")
    return {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{inherited}" if inherited else root}


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
