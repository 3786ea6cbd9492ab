"""What commands tell beside their result."""

from __future__ import annotations

import sys


def say(message: str) -> None:
    """Writes a line to stderr."""
    print(f"edgenet: {message}", file=sys.stderr, flush=True)
