"""Where reports go: to the files that the user named."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

from edgenet.errors import UsageError

# The errors of a folder that takes no new files.
_CLOSED = (errno.EACCES, errno.EPERM, errno.EROFS)


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
    """Writes a report, whole or not at all: what was there before stays until it is written.

    A pipe or a device gets it directly, and so does a file in whose place no other can be put: its
    folder takes no new ones, or it is a mount point.

    Args:
        path: Where to.
        text: The whole file.
        option: The option that named it, for the message.

    Raises:
        UsageError: It cannot be written.
    """
    try:
        # A report may name a file whose name is no text.
        _put(path, text.encode("utf-8", "backslashreplace"))
    except OSError as error:
        raise _refused(path, option, error) from error


def _put(path: str, data: bytes) -> None:
    # Behind a link it is the file that is replaced, not the link.
    target = Path(os.path.realpath(path))
    if Path(path).exists() and (not target.is_file() or _is_descriptor(path)):
        Path(path).write_bytes(data)
        return
    if target.exists():
        _try(str(target))
    beside = target.with_name(f".edgenet-report-{secrets.token_hex(8)}")
    try:
        file = beside.open("xb")
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
        target.write_bytes(data)
        return
    try:
        with file:
            file.write(data)
        if target.exists():
            with suppress(OSError):
                shutil.copymode(target, beside)
        try:
            beside.replace(target)
        except OSError:
            target.write_bytes(data)
    finally:
        beside.unlink(missing_ok=True)


def _is_descriptor(path: str) -> bool:
    """Whether it names what the process has open, as /dev/stdout does, which no file replaces."""
    return str(Path(path).absolute()).startswith(("/dev/fd/", "/dev/std", "/proc/"))


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
