"""Layers by their names: the operators of a graph that a user means."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from difflib import get_close_matches
from fnmatch import fnmatchcase

from converters.graph import PROBABILITIES, Graph, Operator
from edgenet.errors import UsageError

# Names that are told instead of one that there is not.
_TOLD = 3


def layers_of(graph: Graph, names: Collection[str]) -> tuple[str, ...]:
    """The layers of these names, in the graph's order.

    Args:
        graph: The network.
        names: Of layers, as `edgenet bisect` tells them; of operators, as recipes hold them, which
            stand for their layers; or patterns of a shell.

    Raises:
        UsageError: There is none of a name; the message has those that are like it.
    """
    known = tuple(dict.fromkeys(map(_layer, _rounded(graph))))
    for name in sorted(names):
        if not any(_is_meant(layer, name) for layer in known):
            near = get_close_matches(_own(name), known, _TOLD, cutoff=0.0)
            raise UsageError(
                f"int8 rounds no layer that is called {name!r}: the nearest are "
                f"{', '.join(near)}; edgenet bisect names all of them"
            )
    return tuple(layer for layer in known if any(_is_meant(layer, name) for name in names))


def operators_of(graph: Graph, names: Collection[str]) -> frozenset[str]:
    """The names of the operators of these layers, with what rewrites have added to them.

    Args:
        graph: The network, after its rewrites.
        names: As for `layers_of`.
    """
    return frozenset(
        operator.name
        for operator in _rounded(graph)
        if any(_is_meant(_layer(operator), name) for name in names)
    )


def _rounded(graph: Graph) -> Iterator[Operator]:
    """All but what makes probabilities of the logits: that is in float anyway."""
    return (operator for operator in graph.operators if operator.output != PROBABILITIES)


def _is_meant(layer: str, name: str) -> bool:
    return layer == _own(name) or fnmatchcase(layer, name)


def _layer(operator: Operator) -> str:
    return _own(operator.name)


def _own(name: str) -> str:
    """The layer's part of an operator's name; Keras allows no slash in it."""
    return name.partition("/")[0]
