"""Compilers run in a process of their own: what crashes, hangs or prints there ends there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from edgenet.errors import EdgenetError, MissingExtraError

# B7 takes the slowest of them a minute or two; what runs for longer hangs.
_TIMEOUT_S = 900.0


def require_compiler(purpose: str, module: str, extra: str) -> None:
    """Refuses work for a compiler that is not here.

    Raises:
        MissingExtraError: The module cannot be found; the message has the command to install it.
    """
    if find_spec(module) is None:
        raise MissingExtraError(purpose, extra)


def run_compiler(name: str, module: str, arguments: Sequence[str]) -> str:
    """Runs `python -m MODULE ARGUMENTS` and returns what it printed.

    Raises:
        EdgenetError: It failed, crashed or did not end; the message has its last line.
    """
    command = [sys.executable, "-m", module, *arguments]
    root = str(Path(__file__).resolve().parents[2])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "PYTHONPATH": paths},
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EdgenetError(
            f"{name} did not end in {_TIMEOUT_S:g} s: convert without --target"
        ) from error
    if done.returncode:
        told = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = f"signal {-done.returncode}" if done.returncode < 0 else ""
        reason = reason or (told[-1] if told else f"exit status {done.returncode}")
        raise EdgenetError(
            f"{name} does not compile this network ({reason}): convert without --target"
        )
    return done.stdout
