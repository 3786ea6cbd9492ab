"""Where reports go: to the files that the user named."""

from __future__ import annotations

import os
from pathlib import Path

from edgenet.errors import UsageError


def require_writable(path: str | None, option: str) -> None:
    """Refuses a path that cannot be written, before the work begins; None is no path.

    Args:
        path: Where a report is to go; what is there stays as it is.
        option: The option that named it, for the message.

    Raises:
        UsageError: Nothing can be written there.
    """
    if path is None:
        return
    try:
        # Behind a link that leads nowhere a new file may come to be; a pipe has no real path.
        _try(path if Path(path).exists() else os.path.realpath(path))
    except OSError as error:
        raise _refused(path, option, error) from error


def write_text(path: str, text: str, option: str) -> None:
    """Writes a report.

    Args:
        path: Where to.
        text: The whole file.
        option: The option that named it, for the message.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        # A report may name a file whose name is no text.
        Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise _refused(path, option, error) from error


def _try(path: str) -> None:
    """Opens a file to write and closes it; one that was not there is removed again."""
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        # The reader of a pipe would take this closing for the end of the report.
        if Path(path).is_fifo():
            return
        os.close(os.open(path, os.O_WRONLY))
    else:
        Path(path).unlink()


def _refused(path: str, option: str, error: OSError) -> UsageError:
    return UsageError(
        f"{path or 'an empty path'}: cannot be written ({error.strerror}): "
        f"give another path after {option}"
    )
