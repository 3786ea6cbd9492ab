"""How the work is told as it goes on."""

from __future__ import annotations

from collections.abc import Callable

Report = Callable[[str], None]
"""Takes a line."""
