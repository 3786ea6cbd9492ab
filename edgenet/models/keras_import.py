"""Importing Keras without the page of notices that TensorFlow's native code writes as it starts."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from edgenet.errors import MissingExtraError

_STDERR = 2


def require_keras() -> Any:
    """The module `keras`.

    Raises:
        MissingExtraError: Keras or its backend is not installed.
    """
    if "keras" in sys.modules:
        return sys.modules["keras"]
    # TensorFlow reads it once, as it is imported.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with _native_stderr_held():
            import keras
    except ImportError as error:
        raise MissingExtraError("building or loading a Keras model", "convert") from error
    return keras


@contextmanager
def _native_stderr_held() -> Iterator[None]:
    """Keeps what is written to the process's stderr, and lets go of it only when an error rises.

    TensorFlow writes before its log level applies, so no variable of its own silences it.
    """
    sys.stderr.flush()
    shown = os.dup(_STDERR)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), _STDERR)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(shown, held.read())
            raise
        finally:
            os.dup2(shown, _STDERR)
            os.close(shown)
