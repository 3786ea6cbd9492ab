"""A recipe on the network that it was made for, whose layers Keras has numbered otherwise since.

A recipe goes by names, and what a user leaves without one is numbered by process; see
`converters.frontend.names`. Layers of a class are numbered in the order in which they are made, so
that the same code, run again, makes the same ones in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

from converters.frontend.names import Numbered, parted
from converters.graph import Graph
from converters.report import Report
from converters.scheme.recipe import Recipe, of_another_network
from edgenet.errors import UsageError

_Value = TypeVar("_Value")
_Layers = frozenset[Numbered]


def renumbered(recipe: Recipe, graph: Graph, report: Report) -> Recipe:
    """The recipe in the names of a graph, where Keras alone has numbered its layers otherwise.

    Args:
        recipe: Of any network: what differs otherwise stays as it is.
        graph: The frozen graph, before rewrites.
        report: Told which layers are taken for which.

    Raises:
        UsageError: Which layer is which cannot be told; or there are more, or fewer, of a class.
    """
    if not recipe.ranges:
        return recipe
    told, here = _layers(recipe.ranges), _layers(graph.shapes)
    pairs = _paired(told, here)
    # The recipe has ranges of all tensors, but not all operators are in float.
    floats = _layers(recipe.float_operators.union(*recipe.float_operators_in.values())) - told
    others = _layers(operator.name for operator in graph.operators) - here
    kinds = {layer.kind for layer in floats}
    if any(old != new for old, new in pairs.items()) or not floats <= others:
        pairs |= _paired(floats, frozenset(other for other in others if other.kind in kinds))
    changed = [f"{old} is {new}" for old, new in sorted(pairs.items()) if old != new]
    if not changed:
        return recipe
    report(f"layers that Keras numbered otherwise than in the recipe: {', '.join(changed)} here")
    return _renamed(recipe, pairs)


def _layers(names: Iterable[str]) -> _Layers:
    return frozenset(found[0] for name in names if (found := parted(name)) is not None)


def _paired(told: _Layers, here: _Layers) -> dict[Numbered, Numbered]:
    """The layers of each class in the order of their numbers."""
    ours, theirs = sorted(told), sorted(here)
    if [layer.kind for layer in ours] != [layer.kind for layer in theirs]:
        only = min(told - here, default=None)
        lacks = f"this one has no '{only}'" if only else f"it has no '{min(here - told)}'"
        raise UsageError(
            f"{of_another_network(lacks)}. Where it is the same one, and Keras has but numbered "
            "its layers otherwise, call keras.utils.clear_session() before you build it, or give "
            "layers names of your own"
        )
    return dict(zip(ours, theirs, strict=True))


def _renamed(recipe: Recipe, pairs: Mapping[Numbered, Numbered]) -> Recipe:
    def name(old: str) -> str:
        found = parted(old)
        if found is None:
            return old
        layer, part = found
        return f"{pairs.get(layer, layer)}{part}"

    def keys(values: Mapping[str, _Value]) -> dict[str, _Value]:
        return {name(old): value for old, value in values.items()}

    return replace(
        recipe,
        ranges=keys(recipe.ranges),
        float_operators=frozenset(map(name, recipe.float_operators)),
        float_operators_in={
            format: frozenset(map(name, names))
            for format, names in recipe.float_operators_in.items()
        },
        rewrites={kind: keys(made) for kind, made in recipe.rewrites.items()},
    )
