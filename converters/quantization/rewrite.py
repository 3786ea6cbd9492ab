"""Rewrites that equalize what int8 holds, made where they take enough noise away from the logits.

Each keeps the float function and costs time on the device, so it is measured on images before it is
made: half of them set ranges, the other half tell what a site's tensors, rounded alone in the float
network, cost the logits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from converters.graph import Floats, Graph, Linear, is_silu
from converters.quantization import gating, silu
from converters.quantization.calibrate import calibrate, channel_peaks
from converters.quantization.cost import in_int8
from converters.quantization.equalize import rescaled, stream_factors, streams
from converters.quantization.ranges import choose
from converters.quantization.recipe import Rewrites
from converters.quantization.simulate import Image
from converters.quantization.switchboard import Switchboard
from edgenet.errors import UsageError

# What a rewrite has to take away, in dB: so much for each hundredth of the network's time that it
# adds, and so much in any case.
_DB_OF_TIME = 0.05
_LEAST_DB = 0.05


@dataclass(frozen=True)
class Rewrite:
    """A way to multiply the channels of a tensor by gains; `options` are to be tried.

    Of an option, the first number is the share of full equalization, as an exponent (1 would lift
    the quiet channels' own noise as well), the second the largest gain. What may have to be undone
    takes `powers` of two.
    """

    candidates: Callable[[Graph], tuple[str, ...]]
    apply: Callable[[Graph, Mapping[str, Floats]], Graph]
    options: tuple[tuple[float, float], ...]
    powers: bool


REWRITES: Mapping[str, Rewrite] = {
    "silu": Rewrite(silu.candidates, silu.scaled, ((0.5, 16.0), (0.75, 16.0)), powers=True),
    "gating": Rewrite(gating.candidates, gating.gated, ((0.5, 2.0), (1.0, 4.0)), powers=False),
}


def gains(peaks: Floats, exponent: float, largest: float, powers: bool = False) -> Floats:
    """The gain of each channel, (channels,), from its typical peak: 1 for the loudest.

    With `powers` of two the float network stays what it is to the bit, there and back.
    """
    alive = np.maximum(peaks.astype(np.float64), np.finfo(np.float32).tiny)
    lift = np.minimum((alive.max() / alive) ** exponent, largest)
    return (np.exp2(np.rint(np.log2(lift))) if powers else lift).astype(np.float32)


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
                raise UsageError(
                    f"the recipe is of another network: no {name} of {len(factors)} channels can "
                    f"be made at {tensor!r}"
                )
        graph = apply(graph, {key: np.array(v, np.float32) for key, v in made.items()})
    return graph


def _places(graph: Graph, name: str) -> dict[str, int]:
    """Where a rewrite could be made, and the channels there."""
    if name == "streams":
        return {stream.name: stream.channels for stream in streams(graph)}
    return {tensor: graph.shapes[tensor][-1] for tensor in REWRITES[name].candidates(graph)}


def equalize_streams(graph: Graph, images: Sequence[Image]) -> Rewrites:
    """What brings every stream to the scales that suit int8: always worth it, it costs no time."""
    tensors = [tensor for stream in streams(graph) for tensor in stream.tensors]
    if not tensors:
        return {}
    factors = stream_factors(graph, channel_peaks(graph, images, tensors))
    return {"streams": {name: _written(values) for name, values in factors.items()}}


def _written(values: Floats) -> tuple[float, ...]:
    """As a recipe keeps them, so that what is replayed is what was done."""
    return tuple(float(f"{value:.5g}") for value in values)


def rewrite_where_worth(
    graph: Graph,
    images: Sequence[Image],
    rule: str,
    names: Sequence[str] = tuple(REWRITES),
    options: int | None = None,
    corrected: bool = True,
) -> Rewrites:
    """The rewrites that take away the most noise, as long as each is worth its time.

    Args:
        graph: In float, for a batch of 1.
        images: Batches of 1, a few tens.
        rule: Of the ranges, a name of `converters.quantization.ranges.RULES`.
        names: Of `REWRITES`, which to try.
        options: The first how many of a rewrite's to try; None for all.
        corrected: Whether biases will make up for what rounding shifts.
    """
    sites = {site: name for name in names for site in REWRITES[name].candidates(graph)}
    if not sites:
        return {}
    seen, unseen = images[::2], images[1::2] or images
    trial_of = partial(_Trial.of, seen=seen, unseen=unseen, rule=rule, corrected=corrected)
    plain = trial_of(graph)
    left, peaks = plain.switches.noise(plain.switches.held), plain.peaks
    before = dict(plain.noises(sites))
    del plain  # Its sessions hold the weights of a network several times.
    worth = {
        site: _worth(graph, REWRITES[name].apply(graph, {site: _ones(graph, site)}))
        for site, name in sites.items()
    }
    sites = {site: sites[site] for site in _promising(before, worth, left)}
    saved = {
        site: (before[site] - noise, gain)
        for site, (noise, gain) in _quietest(
            sites,
            peaks,
            options,
            lambda made: trial_of(_applied(graph, sites, made)),
        ).items()
    }
    made: dict[str, dict[str, tuple[float, ...]]] = {}
    for site, (spared, gain) in sorted(saved.items(), key=lambda item: -item[1][0]):
        if spared > worth[site] * left:
            # What sites spare apart may add up to more than all there is.
            left = max(left - spared, 0.0)
            made.setdefault(sites[site], {})[site] = _written(gain)
    return made


def _quietest(
    sites: Mapping[str, str],
    peaks: Mapping[str, Floats],
    most: int | None,
    trial_of: Callable[[Mapping[str, Floats]], _Trial],
) -> Mapping[str, tuple[float, Floats]]:
    """By site, the least noise that any of its rewrite's options leaves there, and the gains."""
    found: dict[str, tuple[float, Floats]] = {}
    counts = (len(REWRITES[name].options[:most]) for name in sites.values())
    for level in range(max(counts, default=0)):
        options = {
            site: gains(peaks[site], *REWRITES[name].options[level], REWRITES[name].powers)
            for site, name in sites.items()
        }
        for site, noise in trial_of(options).noises(options):
            if site not in found or noise < found[site][0]:
                found[site] = noise, options[site]
    return found


def _ones(graph: Graph, tensor: str) -> Floats:
    return np.ones(graph.shapes[tensor][-1], np.float32)


def _worth(graph: Graph, after: Graph) -> float:
    """The share of the noise that a rewrite has to take away for its time."""
    before = sum(in_int8(graph, operator) for operator in graph.operators)
    added = sum(in_int8(after, operator) for operator in after.operators) / before - 1
    decibels = max(100 * _DB_OF_TIME * added, _LEAST_DB)
    return float(1 - 10 ** (-decibels / 10))


def _promising(
    before: Mapping[str, float], worth: Mapping[str, float], left: float
) -> Iterator[str]:
    """The sites that would be worth it if nothing were left of their noise."""
    for site in sorted(before, key=lambda site: -before[site]):
        if before[site] > worth[site] * left:
            left = max(left - before[site], 0.0)
            yield site


def _applied(graph: Graph, sites: Mapping[str, str], options: Mapping[str, Floats]) -> Graph:
    for name, rewrite in REWRITES.items():
        graph = rewrite.apply(graph, {s: gain for s, gain in options.items() if sites[s] == name})
    return graph


@dataclass(frozen=True, eq=False)
class _Trial:
    """What rounding tensors of a graph costs the logits of some images; `peaks` are of others."""

    graph: Graph
    peaks: Mapping[str, Floats]
    switches: Switchboard

    @classmethod
    def of(
        cls,
        graph: Graph,
        seen: Sequence[Image],
        unseen: Sequence[Image],
        rule: str,
        corrected: bool,
    ) -> _Trial:
        """With ranges from the images `seen`, to measure on those `unseen`."""
        tensors = calibrate(graph, seen, moments=False).tensors
        held = choose(graph, tensors, rule).quantizations(graph)
        switches = Switchboard(graph, held, unseen, corrected)
        return cls(graph, {name: found.peaks for name, found in tensors.items()}, switches)

    def noises(self, sites: Iterable[str]) -> Iterator[tuple[str, float]]:
        """By site, what `noise_of` says."""
        return ((site, self.noise_of(site)) for site in sites)

    def noise_of(self, site: str) -> float:
        """Of a tensor and of those between it and the operator with weights, or SiLU, before."""
        tensors, ahead = {site}, [site]
        while ahead:
            name = ahead.pop()
            producer = self.graph.producers[name]
            if not isinstance(producer, Linear) and not (is_silu(producer) and name != site):
                tensors.update(producer.inputs)
                ahead.extend(producer.inputs)
        return self.switches.noise(tensors)
