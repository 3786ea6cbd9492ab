"""Documents as JSON that people can read, too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def dumps(document: Mapping[str, Any]) -> str:
    """JSON with each key on its own line, and each list of plain values on one, however long.

    Raises:
        ValueError: A number is NaN or infinite.
    """
    return _dumps(document, "\n")


def _dumps(value: Any, start: str) -> str:
    inner = start + " "
    if isinstance(value, Mapping) and value:
        lines = [f"{json.dumps(key)}: {_dumps(member, inner)}" for key, member in value.items()]
        return f"{{{inner}{f',{inner}'.join(lines)}{start}}}"
    if _is_sequence(value) and any(isinstance(m, Mapping) or _is_sequence(m) for m in value):
        return f"[{inner}{f',{inner}'.join(_dumps(member, inner) for member in value)}{start}]"
    return json.dumps(value, allow_nan=False)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)
