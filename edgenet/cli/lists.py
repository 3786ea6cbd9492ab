"""Options that take several values."""

from __future__ import annotations


def values(text: str) -> list[str]:
    """For argparse: what stands between the commas, with or without spaces."""
    return [value.strip() for value in text.split(",")] if text.strip() else []
