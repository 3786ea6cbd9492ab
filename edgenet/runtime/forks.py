"""Open sessions and `os.fork`: the child has no thread but the one that forked.

An engine's own threads are missing there, and what waits for them hangs: a run in some engines,
freeing the model or ending the process in others (tflite-runtime 2.14, OpenVINO 2026.2).
"""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, Protocol


class Follower(Protocol):
    """What is told that it is now in a forked child."""

    def _after_fork(self) -> None: ...


_FOLLOWERS: weakref.WeakSet[Follower] = weakref.WeakSet()


def follow(session: Follower) -> None:
    """Has a session's `_after_fork` called in each child, for as long as the session lives."""
    _FOLLOWERS.add(session)


def never_free(handle: Any) -> None:
    """Keeps an engine's objects from being freed, by the end of the interpreter too."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(handle))


def _in_the_child() -> None:
    for session in list(_FOLLOWERS):
        session._after_fork()


if hasattr(os, "register_at_fork"):  # Windows has no fork.
    os.register_at_fork(after_in_child=_in_the_child)
