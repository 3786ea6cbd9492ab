"""Options that take several values."""

from __future__ import annotations

import argparse


def values(text: str) -> list[str]:
    """For argparse: what stands between the commas, with or without spaces; something must."""
    # A script's variable that is not set asks for nothing, and must not get everything.
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty: name one or more, or leave the option out")
    return [value.strip() for value in text.split(",")]
