"""Where rewrites take enough noise away from the logits for the time that they add.

Some images set ranges and gains, and others tell what a site's tensors, rounded alone in the float
network, cost the logits before and after. Where a scaled SiLU is not worth its time, its channels
may still be lifted, which takes none.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from converters.formats import ARRANGEMENTS, EVERY_TENSOR
from converters.formats.cost import all_in_int8
from converters.graph import Floats, Graph, Linear, is_silu
from converters.quantization.arrangement import held_tensors
from converters.quantization.calibrate import Statistics, calibrate
from converters.quantization.ranges import choose
from converters.quantization.rewrite import REWRITES, Option, as_written
from converters.quantization.sensitivity import Sensitivity
from converters.quantization.simulate import Image
from converters.scheme.document import Rewrites

# What all of the network's time is worth in amplitude of noise, as a share of the logits' own:
# first answers change in proportion to that, not to decibels. No rewrite counts for less time. At
# .07 block2a of EfficientNet-B0 is scaled, for 8 % of the time, at .10 it is not; from .145 on
# block6d is not cut, which costs .3 dB.
_AMPLITUDE_OF_TIME = 0.14
# Where noise is limited, what is left of it is bought with operators in float, which take longer.
# With .05 to .07 B0's files for half a point are the same, and in TFLite nine tenths of the time
# that they took with .14.
_AMPLITUDE_BESIDE_FLOAT = 0.07
_LEAST_TIME = 0.004
# Rewrites leave more of the noise than this: a site that is not worth its time beside so little
# is not tried.
_LEAST_LEFT = 0.1
# Of all noise, what lifting has to take away: .05 dB. It costs no time, but ranges of its own.
_LEAST_LIFTED = 0.0115
# To those that hold every tensor all rewrites are operators of their own.
_PAYING = [format for format, held in ARRANGEMENTS.items() if held == EVERY_TENSOR]
_SCALED, _LIFTED = "silu", "lifting"


@dataclass(frozen=True, eq=False)
class _Way:
    """A rewrite of a site by some values, and the noise that it takes away.

    `spared` is a share of the logits' energy, as is `alone`, the noise that is left where only the
    site's own tensor is quantized; `price` is the amplitude of noise that its time is worth.
    """

    name: str
    values: Floats
    spared: float
    alone: float
    price: float

    def cost(self, noise: float) -> float:
        """In amplitude: of what it leaves of so much noise, and of its time."""
        return _amplitude(noise - self.spared) + self.price


def _amplitude(noise: float) -> float:
    """The root of an energy; 0 where parts were spared that add up to more than the whole."""
    return math.sqrt(max(noise, 0.0))


def _price(time: float, limited: bool) -> float:
    """What a rewrite has to take away of the amplitude for a share of the network's time."""
    amplitude = _AMPLITUDE_BESIDE_FLOAT if limited else _AMPLITUDE_OF_TIME
    return amplitude * max(time, _LEAST_TIME)


def rewrite_where_worth(
    graph: Graph,
    seen: Sequence[Image],
    unseen: Sequence[Image],
    rule: str,
    names: Sequence[str] = tuple(REWRITES),
    options: int | None = None,
    *,
    corrected: bool = True,
    limited: bool = False,
) -> Rewrites:
    """The rewrites that take away the most noise, as long as each is worth its time.

    Args:
        graph: In float, for a batch of 1.
        seen: A dozen images or more that set ranges and gains; batches of 1.
        unseen: As many others, of other scenes, to measure on.
        rule: Of the ranges, a name of `converters.quantization.ranges.RULES`.
        names: Of `REWRITES`, which to try; a site is rewritten in one way alone.
        options: How many of a rewrite's options to try, the first ones; None for all.
        corrected: Whether biases will make up for what rounding shifts.
        limited: Whether what is left of the noise may have to be bought with operators in float.
    """
    sites = _sites(graph, names, options)
    if not sites:
        return {}
    bench = _Bench(seen, unseen, rule, corrected)
    statistics = calibrate(graph, seen, operators=()).tensors
    plain = bench.sensitivity(graph, statistics)
    left = plain.noise(plain.held)
    before = {site: plain.noise(_around(graph, site, (site,))) for site in sites}
    lifting = _Lifting.of(graph, plain, sites if _LIFTED in names else ())
    del plain  # Its sessions hold the weights of a network several times.
    prices = {
        (site, name): _price(_added_time(graph, site, name), limited)
        for site, ways in sites.items()
        for name in dict.fromkeys(name for name, _ in ways)
    }
    least = {site: min(prices[site, name] for name, _ in ways) for site, ways in sites.items()}
    rest = _LEAST_LEFT * left
    promising = {
        site for site in sites if _amplitude(rest) + least[site] < _amplitude(rest + before[site])
    }
    promising.update(lifting.promising())
    tried = {site: ways for site, ways in sites.items() if site in promising}
    found: dict[str, list[_Way]] = {site: [] for site in tried}
    for trial in _trials(graph, tried, statistics, bench, lifting.before):
        spared, price = before[trial.site] - trial.noise, prices[trial.site, trial.name]
        found[trial.site].append(_Way(trial.name, trial.values, spared, trial.alone, price))
    made: _Made = {}
    for site, way in _worth_their_time(found, left).items():
        made.setdefault(way.name, {})[site] = way.values
    made |= lifting.of_the_rest(found, made.get(_SCALED, ()))
    return {
        name: {site: as_written(values) for site, values in by_site.items()}
        for name, by_site in made.items()
        if by_site
    }


_Made = dict[str, dict[str, Floats]]


def _worth_their_time(found: Mapping[str, Sequence[_Way]], noise: float) -> Mapping[str, _Way]:
    """By site, the rewrites that together cost least in time and in what is left of all the noise.

    The less is left, the more what another site spares is worth: they are gone through, those that
    spare the most first, until no choice changes.
    """
    order = sorted(found, key=lambda site: -max(way.spared for way in found[site]))
    chosen: dict[str, _Way] = {}
    while True:
        before = dict(chosen)
        for site in order:
            chosen.pop(site, None)
            left = noise - math.fsum(way.spared for way in chosen.values())
            best = min(found[site], key=lambda way: way.cost(left))
            if best.cost(left) < _amplitude(left):
                chosen[site] = best
        if chosen == before:
            return chosen


@dataclass(frozen=True, eq=False)
class _Lifting:
    """What lifting is worth, in formats that quantize only what convolutions and dense layers read.

    `before` is the noise of each site's tensor alone, `left` that of all that is so quantized.
    """

    before: Mapping[str, float]
    left: float

    @classmethod
    def of(cls, graph: Graph, plain: Sensitivity, sites: Collection[str]) -> _Lifting:
        candidates = [site for site in REWRITES[_LIFTED].candidates(graph) if site in sites]
        read = {op.inputs[0] for op in graph.operators if isinstance(op, Linear)}
        before = {site: plain.noise((site,)) for site in candidates}
        return cls(before, plain.noise(read) if candidates else 0.0)

    def promising(self) -> Iterator[str]:
        """The sites that would be worth lifting if nothing were left of their noise."""
        return self._worthwhile(self.before, self.left)

    def of_the_rest(self, found: Mapping[str, Sequence[_Way]], scaled: Collection[str]) -> _Made:
        """The gains of sites that are not scaled, where they spare enough."""
        best = {
            site: min(found[site], key=lambda way: way.alone)
            for site in self.before
            if site in found
        }
        spared = {site: self.before[site] - way.alone for site, way in best.items()}
        left = self.left - sum(spared[site] for site in scaled if site in spared)
        rest = {site: energy for site, energy in spared.items() if site not in scaled}
        return {_LIFTED: {site: best[site].values for site in self._worthwhile(rest, left)}}

    @staticmethod
    def _worthwhile(energies: Mapping[str, float], left: float) -> Iterator[str]:
        """The sites, the noisiest first, that are worth what they would spare of the noise left."""
        for site in sorted(energies, key=lambda site: -energies[site]):
            if energies[site] > _LEAST_LIFTED * left:
                left = max(left - energies[site], 0.0)
                yield site


def _sites(
    graph: Graph, names: Sequence[str], most: int | None
) -> Mapping[str, Sequence[tuple[str, Option]]]:
    """By site, the rewrites that could be made there, each with an option."""
    sites: dict[str, list[tuple[str, Option]]] = {}
    for name in names:
        for option in REWRITES[name].options[:most]:
            for site in REWRITES[name].candidates(graph):
                sites.setdefault(site, []).append((name, option))
    return sites


@dataclass(frozen=True, eq=False)
class _Trial:
    """A rewrite that was made at a site by some values, and the noise that it leaves.

    `noise` is of quantizing the tensors around the site (`_around`) and no others, `alone` of the
    site's own tensor: both are shares of the logits' energy.
    """

    site: str
    name: str
    values: Floats
    noise: float
    alone: float


def _trials(
    graph: Graph,
    sites: Mapping[str, Sequence[tuple[str, Option]]],
    statistics: Statistics,
    bench: _Bench,
    liftable: Collection[str],
) -> Iterator[_Trial]:
    """Tries the rewrites of all sites: their first ones in one network, their second ones in one.

    `alone` is measured at the sites that are `liftable`, and is 0 at others.
    """
    for level in range(max(map(len, sites.values()), default=0)):
        made = {
            site: (name, option(statistics[site]))
            for site, ways in sites.items()
            for name, option in ways[level : level + 1]
        }
        trial = _applied(graph, made)
        around = {
            site: _around(trial, site, REWRITES[name].held(trial, site))
            for site, (name, _) in made.items()
        }
        sensitivity = bench.sensitivity(trial, statistics, frozenset().union(*around.values()))
        for site, (name, values) in made.items():
            alone = sensitivity.noise((site,)) if site in liftable else 0.0
            yield _Trial(site, name, values, sensitivity.noise(around[site]), alone)
        del sensitivity  # Before the next are made.


def _added_time(graph: Graph, site: str, name: str) -> float:
    """What a rewrite of a site adds to the network's time, as a share of it.

    A mean over the formats that pay for it: all get the same operators, at prices of their own.
    """
    ones = np.ones(REWRITES[name].count(graph, site), np.float32)
    after = _applied(graph, {site: (name, ones)})
    return fmean(all_in_int8(after, format) / all_in_int8(graph, format) - 1 for format in _PAYING)


def _applied(graph: Graph, made: Mapping[str, tuple[str, Floats]]) -> Graph:
    """The graph with a rewrite at each of these sites: its name and its values."""
    for name, rewrite in REWRITES.items():
        graph = rewrite.apply(graph, {s: values for s, (n, values) in made.items() if n == name})
    return graph


def _around(graph: Graph, site: str, held: Collection[str]) -> frozenset[str]:
    """The tensors in which a site is held, and those before it.

    Back to what the nearest convolutions, dense layers and SiLUs make.
    """
    tensors, ahead = set(held), list(held)
    while ahead:
        name = ahead.pop()
        producer = graph.producers[name]
        if not isinstance(producer, Linear) and not (is_silu(producer) and name != site):
            tensors.update(producer.inputs)
            ahead.extend(producer.inputs)
    return frozenset(tensors)


@dataclass(frozen=True, eq=False)
class _Bench:
    """Where rewrites are tried: images that set ranges by a rule, and others to measure on."""

    seen: Sequence[Image]
    unseen: Sequence[Image]
    rule: str
    corrected: bool

    def sensitivity(
        self, graph: Graph, statistics: Statistics, tensors: Collection[str] | None = None
    ) -> Sensitivity:
        """What rounding tensors of a graph costs.

        Args:
            graph: As it is, or with rewrites.
            statistics: Of the graph as it is, over the images seen.
            tensors: Those that will be rounded, all that the rewrites changed among them; None
                takes all.
        """
        if tensors is not None:
            made = {operator.output for operator in graph.operators}
            changed = {*tensors, *(made - set(statistics))}
            fresh = calibrate(graph, self.seen, operators=(), tensors=changed).tensors
            statistics = {name: fresh.get(name) or statistics[name] for name in made}
        held = held_tensors(graph, choose(graph, statistics, self.rule), EVERY_TENSOR)
        if tensors is not None:
            held = {name: levels for name, levels in held.items() if name in tensors}
        return Sensitivity(graph, held, self.unseen, self.corrected)
