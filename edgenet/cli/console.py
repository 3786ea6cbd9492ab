"""What commands tell beside their result."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Writes a line to stderr."""
    print(f"edgenet: {message}", file=sys.stderr, flush=True)


def fail(message: str, code: int) -> int:
    """Writes one line of error to stderr and returns the exit code."""
    say(f"error: {' '.join(message.split())}")
    return code
