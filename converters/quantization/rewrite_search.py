"""Where rewrites take enough noise away from the logits for the time that they add.

Some images set ranges and gains. Others measure how much noise a site adds to the logits, before
and after the rewrite, where its tensors alone are rounded in the float network. Where scaling a
SiLU is not worth its time, lifting its channels may still be, which takes none.
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
from converters.quantization.arrangement import arranged, held_tensors
from converters.quantization.calibrate import Statistics, calibrate
from converters.quantization.ranges import choose
from converters.quantization.rewrite import REWRITES, Option, as_written
from converters.quantization.sensitivity import Sensitivity
from converters.quantization.simulate import Image
from converters.scheme.document import Rewrites

# The amplitude of noise that all of the network's time is worth, as a share of the amplitude of the
# logits: first answers change in proportion to amplitude, not to decibels.
_AMPLITUDE_OF_TIME = 0.14
# The same where noise is limited: operators in float, which take longer than rewrites, then have to
# remove what rewrites leave. EfficientNet-B0 has one more SiLU split by it.
_AMPLITUDE_BESIDE_FLOAT = 0.07
# Every rewrite is taken to add this share of the network's time at least.
_LEAST_TIME = 0.004
# Rewrites together leave more than this share of the noise. The less is left, the more a rewrite is
# worth: a site that would not be worth its time beside so little is not tried.
_LEAST_LEFT = 0.1
# The share of all noise, .05 dB, that lifting has to take away: it adds no time, but more ranges.
_LEAST_LIFTED = 0.0115
# The formats in which every rewrite adds operators that take time.
_PAYING = [format for format, held in ARRANGEMENTS.items() if held == EVERY_TENSOR]
_SCALED, _LIFTED = "silu", "lifting"


# By site and by the name of a rewrite, the amplitude of noise that the rewrite's time is worth.
_Prices = Mapping[str, Mapping[str, float]]
# By the name of a rewrite and by site, the values to rewrite it by.
_Made = dict[str, dict[str, Floats]]


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A rewrite of a site by some values, and what is gained and paid by it.

    Attributes:
        name: Of the rewrite.
        values: Of the site.
        removed: The noise that it takes away, as a share of the logits' energy.
        alone: The noise that is left where only the site's own tensor is quantized, as such a
            share.
        price: The amplitude of noise that its time is worth.
    """

    name: str
    values: Floats
    removed: float
    alone: float
    price: float

    def cost(self, noise: float) -> float:
        """The amplitude of what it leaves of this noise, and its price."""
        return _amplitude(noise - self.removed) + self.price


def _amplitude(noise: float) -> float:
    """The root of an energy; 0 where removed parts add up to more than the whole."""
    return math.sqrt(max(noise, 0.0))


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
    noise = plain.noise(plain.held)
    before = {site: plain.noise(_around(graph, site, (site,))) for site in sites}
    lifting = _Lifting.of(graph, plain, sites if _LIFTED in names else ())
    del plain  # Its sessions hold the weights of a network several times.
    prices = _prices(graph, sites, limited)
    promising = {*_promising(before, prices, noise), *lifting.promising()}
    tried = {site: rewrites for site, rewrites in sites.items() if site in promising}
    found: dict[str, list[_Candidate]] = {site: [] for site in tried}
    for trial in _trials(graph, tried, statistics, bench, lifting.before):
        site, removed = trial.site, before[trial.site] - trial.noise
        price = prices[site][trial.name]
        found[site].append(_Candidate(trial.name, trial.values, removed, trial.alone, price))
    made: _Made = {}
    for site, candidate in _worth_their_time(found, noise).items():
        made.setdefault(candidate.name, {})[site] = candidate.values
    made |= lifting.of_the_rest(found, made.get(_SCALED, ()))
    return {
        name: {site: as_written(values) for site, values in by_site.items()}
        for name, by_site in made.items()
        if by_site
    }


def _prices(
    graph: Graph, sites: Mapping[str, Sequence[tuple[str, Option]]], limited: bool
) -> _Prices:
    return {
        site: {
            name: _price(_added_time(graph, site, name), limited)
            for name in dict.fromkeys(name for name, _ in rewrites)
        }
        for site, rewrites in sites.items()
    }


def _price(time: float, limited: bool) -> float:
    """What a rewrite has to take away of the amplitude for a share of the network's time."""
    amplitude = _AMPLITUDE_BESIDE_FLOAT if limited else _AMPLITUDE_OF_TIME
    return amplitude * max(time, _LEAST_TIME)


def _promising(before: Mapping[str, float], prices: _Prices, noise: float) -> Iterator[str]:
    """The sites whose cheapest rewrite would be worth its time if it removed all their noise."""
    left = _LEAST_LEFT * noise
    for site, removed in before.items():
        if _amplitude(left) + min(prices[site].values()) < _amplitude(left + removed):
            yield site


def _worth_their_time(
    found: Mapping[str, Sequence[_Candidate]], noise: float
) -> Mapping[str, _Candidate]:
    """By site, the rewrites that together cost least in time and in what is left of all the noise.

    The less noise is left, the more it is worth to remove some at another site. So the sites are
    gone through again and again, those that can remove the most first, until no choice changes.
    """
    order = sorted(found, key=lambda site: -max(one.removed for one in found[site]))
    chosen: dict[str, _Candidate] = {}
    while True:
        before = dict(chosen)
        for site in order:
            chosen.pop(site, None)
            left = noise - math.fsum(one.removed for one in chosen.values())
            best = min(found[site], key=lambda one: one.cost(left))
            if best.cost(left) < _amplitude(left):
                chosen[site] = best
        if chosen == before:
            return chosen


@dataclass(frozen=True, eq=False)
class _Lifting:
    """What lifting is worth, in formats that quantize only what convolutions and dense layers read.

    `before` is the noise of each site's tensor alone, `noise` that of all that is so quantized.
    """

    before: Mapping[str, float]
    noise: float

    @classmethod
    def of(cls, graph: Graph, plain: Sensitivity, sites: Collection[str]) -> _Lifting:
        candidates = [site for site in REWRITES[_LIFTED].candidates(graph) if site in sites]
        read = {op.inputs[0] for op in graph.operators if isinstance(op, Linear)}
        before = {site: plain.noise((site,)) for site in candidates}
        return cls(before, plain.noise(read) if candidates else 0.0)

    def promising(self) -> Iterator[str]:
        """The sites that would be worth lifting if that removed all their noise."""
        return self._worthwhile(self.before, self.noise)

    def of_the_rest(
        self, found: Mapping[str, Sequence[_Candidate]], scaled: Collection[str]
    ) -> _Made:
        """The gains of sites that are not scaled, where they remove enough noise."""
        gained = {
            site: [one for one in found.get(site, ()) if one.name == _SCALED]
            for site in self.before
        }
        best = {site: min(m, key=lambda one: one.alone) for site, m in gained.items() if m}
        removed = {site: self.before[site] - one.alone for site, one in best.items()}
        left = self.noise - sum(removed[site] for site in scaled if site in removed)
        rest = {site: energy for site, energy in removed.items() if site not in scaled}
        return {_LIFTED: {site: best[site].values for site in self._worthwhile(rest, left)}}

    @staticmethod
    def _worthwhile(removed: Mapping[str, float], left: float) -> Iterator[str]:
        """The sites, the noisiest first, where lifting removes enough of the noise left so far."""
        for site in sorted(removed, key=lambda site: -removed[site]):
            if removed[site] > _LEAST_LIFTED * left:
                left = max(left - removed[site], 0.0)
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
    """Tries the rewrites of all sites, in one network the first of each, in the next the second.

    `alone` is measured at the sites that are `liftable`, and is 0 at others.
    """
    for level in range(max(map(len, sites.values()), default=0)):
        made = {
            site: (name, option(statistics[site]))
            for site, rewrites in sites.items()
            for name, option in rewrites[level : level + 1]
        }
        trial = _applied(graph, made)
        around = {
            site: _around(trial, site, REWRITES[name].held(trial, site))
            for site, (name, _) in made.items()
        }
        sensitivity = bench.sensitivity(trial, statistics, frozenset().union(*around.values()))
        for site, (name, values) in made.items():
            gained = name == _SCALED and site in liftable
            alone = sensitivity.noise((site,)) if gained else 0.0
            yield _Trial(site, name, values, sensitivity.noise(around[site]), alone)
        del sensitivity  # Before the next are made.


def _added_time(graph: Graph, site: str, name: str) -> float:
    """What a rewrite of a site adds to the network's time, as a share of it.

    A mean over the formats that pay for it: all get the same operators, at prices of their own.
    """
    values = np.resize(np.array([1, 2], np.float32), REWRITES[name].count(graph, site))
    after = arranged(_applied(graph, {site: (name, values)}), EVERY_TENSOR)
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
        recipe = choose(graph, statistics, self.rule)
        graph = arranged(graph, EVERY_TENSOR)
        held = held_tensors(graph, recipe, EVERY_TENSOR)
        if tensors is not None:
            held = {name: levels for name, levels in held.items() if name in tensors}
        return Sensitivity(graph, held, self.unseen, self.corrected)
