"""Arguments of Python's functions, in the form that the rest of edgenet takes."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex

from edgenet.errors import UsageError


def several(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once, in their order; a single name may be given as a string."""
    return tuple(dict.fromkeys((names,) if isinstance(names, str) else names))


def whole(name: str, value: SupportsIndex) -> int:
    """The value of an option as Python's own int, which engines want; it may be one of numpy's.

    Raises:
        UsageError: It is of no integer type; a float such as 2.0 is not either.
    """
    try:
        return operator.index(value)
    except TypeError as error:
        raise UsageError(f"{name}={value!r}: an integer is needed") from error
