"""Compilers run in a process of their own: what crashes, hangs or prints there ends there."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec

from edgenet.errors import EdgenetError, MissingExtraError
from edgenet.runtime.children import ChildError, run_python

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
    try:
        return run_python(["-m", module, *arguments], _TIMEOUT_S)
    except ChildError as error:
        raise EdgenetError(
            f"{name} does not compile this network ({error}): convert without --target"
        ) from error
