"""The names that Keras gives to layers that their user left without one.

It numbers them by class, as many as a process has made: the second `Dense` of one is "dense_1",
and "dense" where another process made nothing before it.
"""

from __future__ import annotations

import re
from typing import NamedTuple, get_args

from converters.frontend.layers import HARD, LAYERS
from converters.frontend.operations import OPERATIONS
from converters.graph import Function


class Numbered(NamedTuple):
    """A layer that Keras named: its class as names have it, and its number; the first has 0."""

    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.kind}_{self.number}" if self.number else self.kind


def kind_named(name: str) -> str:
    """What Keras calls the first layer of a class."""
    words = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", words).lower()


def _any(words: set[str]) -> str:
    return "|".join(sorted(words, key=len, reverse=True))


_KINDS = _any({kind_named(name) for name in (*LAYERS, *OPERATIONS)})
# What freezing puts behind the name of a layer of which it makes several operators.
_PARTS = _any({*get_args(Function), *HARD, "scaled", "clipped", "gate", "map", "logits", "classes"})
_NUMBER = r"[1-9]\d*"
_NAME = re.compile(
    rf"(?P<kind>{_KINDS})(?:_(?P<number>{_NUMBER}))?(?P<part>(?:_(?:{_PARTS}|{_NUMBER}))*(?:/.*)?)"
)


def parted(name: str) -> tuple[Numbered, str] | None:
    """The layer that an operator or a tensor is of, and the rest of its name.

    None where the user named the layer.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    return Numbered(match["kind"], int(match["number"] or 0)), match["part"]
