"""Rewrites of the float network that make room in int8: what there is, done and undone.

Each keeps the float function; `converters.quantization.rewrite_search` says where it pays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from converters.graph import Floats, Graph, Operator
from converters.quantization import lifting, piecewise, silu, splitting
from converters.quantization.calibrate import TensorStatistics, channel_peaks
from converters.quantization.equalize import rescaled, stream_factors, streams
from converters.quantization.simulate import Image
from converters.scheme.document import Rewrites
from converters.scheme.recipe import of_another_network
from edgenet.errors import UsageError

Option = Callable[[TensorStatistics], Floats]
"""Makes the values of a rewrite from the statistics of its site."""


@dataclass(frozen=True, kw_only=True)
class Rewrite:
    """A change of the float graph at single tensors, its sites, by positive values for each.

    Attributes:
        candidates: The tensors that can be a site.
        apply: Makes the change, by the values of each site.
        options: Ways to choose a site's values, to be tried. Lifting has none of its own: it takes
            the gains that were tried for scaled SiLU.
        count: How many values a site takes.
        held: The tensors that hold a site's values after the change.
        within: The operators around a site; where all of them compute in float, the change is
            undone.
        restored: Undoes the change at some sites.
    """

    candidates: Callable[[Graph], tuple[str, ...]]
    apply: Callable[[Graph, Mapping[str, Floats]], Graph]
    options: tuple[Option, ...]
    count: Callable[[Graph, str], int]
    held: Callable[[Graph, str], tuple[str, ...]]
    within: Callable[[Graph, str], tuple[Operator, ...]]
    restored: Callable[[Graph, Collection[str]], Graph]


def gains(peaks: Floats, exponent: float, largest: float) -> Floats:
    """The gain of each channel, (channels,), from its typical peak: 1 for the loudest.

    They are powers of two: the float network stays what it is to the bit, there and back.
    """
    alive = np.maximum(peaks.astype(np.float64), np.finfo(np.float32).tiny)
    lift = np.minimum((alive.max() / alive) ** exponent, largest)
    return np.exp2(np.rint(np.log2(lift))).astype(np.float32)


def _gains(exponent: float, largest: float) -> Option:
    return lambda statistics: gains(statistics.peaks, exponent, largest)


def _threshold(share: float) -> Option:
    """At a share of the largest value that was seen."""
    least = np.finfo(np.float32).tiny
    return lambda statistics: np.maximum(share * statistics.high.max(keepdims=True), least)


def _channels(graph: Graph, site: str) -> int:
    return graph.shapes[site][-1]


def _itself(graph: Graph, site: str) -> tuple[str, ...]:
    return (site,)


# Of gains, the first number is the share of full equalization, as an exponent (1 would lift the
# quiet channels' own noise as well), the second the largest gain.
REWRITES: Mapping[str, Rewrite] = {
    "silu": Rewrite(
        candidates=silu.candidates,
        apply=silu.scaled,
        options=(_gains(0.5, 16.0), _gains(0.75, 16.0)),
        count=_channels,
        held=_itself,
        within=silu.within,
        restored=silu.restored,
    ),
    "lifting": Rewrite(
        candidates=lifting.candidates,
        apply=lifting.lifted,
        options=(),
        count=_channels,
        held=lifting.held,
        within=lifting.within,
        restored=lifting.restored,
    ),
    "splitting": Rewrite(
        candidates=splitting.candidates,
        apply=splitting.split,
        options=(lambda statistics: splitting.halves(statistics.peaks),),
        count=_channels,
        held=splitting.held,
        within=splitting.within,
        restored=splitting.restored,
    ),
    "piecewise": Rewrite(
        candidates=piecewise.candidates,
        apply=piecewise.cut,
        options=(_threshold(0.1),),
        count=lambda graph, site: 1,
        held=piecewise.held,
        within=piecewise.within,
        restored=piecewise.restored,
    ),
}


def rewritten(graph: Graph, rewrites: Rewrites) -> Graph:
    """The graph after rewrites; its answers stay what they are.

    Args:
        graph: In float.
        rewrites: By "streams" (see `converters.quantization.equalize`) or a name of `REWRITES`.

    Raises:
        UsageError: There is no such rewrite, or the graph has no such place for one.
    """
    steps = {"streams": rescaled, **{name: rewrite.apply for name, rewrite in REWRITES.items()}}
    if unknown := set(rewrites) - set(steps):
        raise UsageError(f"no rewrite is called {min(unknown)!r}: take one of {', '.join(steps)}")
    for name, apply in steps.items():
        made = rewrites.get(name, {})
        places = _places(graph, name)
        for tensor, factors in made.items():
            if places.get(tensor) != len(factors):
                raise of_another_network(
                    f"no {name} by {len(factors)} values can be made at {tensor!r}"
                )
        graph = apply(graph, {key: np.array(v, np.float32) for key, v in made.items()})
    return graph


def _places(graph: Graph, name: str) -> dict[str, int]:
    """Where a rewrite could be made, and by how many values."""
    if name == "streams":
        return {stream.name: stream.channels for stream in streams(graph)}
    rewrite = REWRITES[name]
    return {tensor: rewrite.count(graph, tensor) for tensor in rewrite.candidates(graph)}


def restored(graph: Graph, rewrites: Rewrites, floats: Collection[str]) -> Graph:
    """The graph without the rewrites of what is wholly in float.

    Args:
        graph: After `rewrites`.
        rewrites: By name and site.
        floats: The names of operators in float.
    """
    for name, rewrite in REWRITES.items():
        made = rewrites.get(name, {})
        spare = [
            site for site in made if all(op.name in floats for op in rewrite.within(graph, site))
        ]
        graph = rewrite.restored(graph, spare) if spare else graph
    return graph


def equalize_streams(graph: Graph, images: Sequence[Image]) -> Rewrites:
    """What brings every stream to the scales that suit int8: always worth it, it costs no time."""
    tensors = [tensor for stream in streams(graph) for tensor in stream.tensors]
    if not tensors:
        return {}
    factors = stream_factors(graph, channel_peaks(graph, images, tensors))
    return {"streams": {name: as_written(values) for name, values in factors.items()}}


def as_written(values: Floats) -> tuple[float, ...]:
    """As a recipe keeps them, so that what is replayed is what was done."""
    return tuple(float(f"{value:.5g}") for value in values)
