"""Arguments of Python's functions, in the form that the rest of edgenet takes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex

from edgenet.errors import UsageError


def several(names: Sequence[str]) -> tuple[str, ...]:
    """Names, each once, in their order; one may be given by itself, and is not its letters."""
    return tuple(dict.fromkeys((names,) if isinstance(names, str) else names))


def whole(name: str, value: SupportsIndex) -> int:
    """Python's own int, which engines want, of an option that may be numpy's.

    Raises:
        UsageError: It is of no integer type; 2.0 is not.
    """
    try:
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"{name}={value!r}: an integer is needed") from error
