"""Names that a function is given, of formats or of layers."""

from __future__ import annotations

from collections.abc import Sequence


def several(names: Sequence[str]) -> tuple[str, ...]:
    """Each once, in their order; one may be given by itself, and is not its letters."""
    return tuple(dict.fromkeys((names,) if isinstance(names, str) else names))
