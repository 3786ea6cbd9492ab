"""Writing a report to the file that the user named."""

from __future__ import annotations

from pathlib import Path

from edgenet.errors import UsageError


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
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be written ({error.strerror}): give another path after {option}"
        ) from error
