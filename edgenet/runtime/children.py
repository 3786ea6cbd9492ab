"""Work in a Python process of its own: what crashes, hangs or prints there ends there."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgenet.errors import EdgenetError

# `-c` and `-m` put the current directory first on the path, and a json.py beside a bundle would be
# taken for Python's own. Python's switch against that, PYTHONSAFEPATH, is unknown before 3.11.
_OFF_THE_PATH = "import sys; sys.path[:] = filter(None, sys.path)"
_AS_MODULE = "import runpy; runpy.run_module({!r}, run_name='__main__', alter_sys=True)"


class ChildError(EdgenetError):
    """A child process failed; the message, the last line that it said, continues a sentence."""


def run_python(arguments: Sequence[str], timeout_s: float) -> str:
    """Runs Python with these arguments, this edgenet at hand, and returns what it printed.

    Nothing is imported from the current directory, unless it is on PYTHONPATH.

    Args:
        arguments: What follows `python`: "-m" and a module or "-c" and code, and what is for them.
        timeout_s: How long it may take.

    Raises:
        ChildError: It failed, crashed or did not end.
    """
    import subprocess  # Late: most sessions start no process.

    try:
        done = subprocess.run(
            _command(*arguments),
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


def told_json(printed: str) -> dict[str, Any]:
    """What a child told: the last line that is a JSON object. Drivers print around it.

    Raises:
        ChildError: There is none.
    """
    for line in reversed(printed.splitlines()):
        with suppress(ValueError):
            told = json.loads(line)
            if isinstance(told, dict):
                return told
    raise ChildError("it said nothing")


def _command(flag: str, what: str, *arguments: str) -> list[str]:
    code = what if flag == "-c" else _AS_MODULE.format(what)
    return [sys.executable, "-c", f"{_OFF_THE_PATH}\n{code}", *arguments]


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
