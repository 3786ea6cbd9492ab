"""Which operators return to float: those that make the noise small enough in the least time.

Rounding errors of different tensors add up nearly independently, so the noise of a choice is the
sum of its parts'. Each part is measured alone in the float network, less what a bias will make up
for, and the cheapest choice whose sum is good enough is worked out. It is measured as a whole then,
corrects the parts, and is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from math import inf, prod
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from converters.formats import ARRANGEMENTS
from converters.formats.cost import all_in_int8, at_border, in_float, in_int8
from converters.graph import Floats, Graph, Operator
from converters.quantization.arrangement import arranged, held_tensors, simulated_logits
from converters.quantization.chain import BOTH, CROSSING, ON, Choice, Costs, cheapest, total
from converters.quantization.quantize import Quantized, with_float
from converters.quantization.rewrite import restored
from converters.quantization.sensitivity import Sensitivity
from converters.quantization.simulate import logits, noise, simulated
from converters.report import Report
from converters.segments import Segment, segments

# More products than this in float, and another precision is the better choice.
_MOST_FLOAT = 0.4
# Each corrects all biases anew.
_MOST_TRIES = 5
# Of the goal: the cheapest of many choices is likely one whose noise was underrated.
_AIMED_AT = 0.9
# Images: to rank parts takes fewer than to tell what is kept.
_RANKED_ON = 8
# Spans that add less than this share of all noise are not looked into: .04 dB.
_NEGLIGIBLE = 0.01


def decibels(share: float) -> float:
    """In dB, from the noise's share of the energy."""
    return -10 * float(np.log10(max(share, 1e-12)))


def kept(noise: float, graph: Graph) -> str:
    """In words, what noise leaves: an SQNR or, of a regression, an R²."""
    return f"R² {1 - noise:.4f}" if graph.regresses else f"{decibels(noise):.1f} dB"


def measure(quantized: Quantized, format: str) -> float:
    """The noise on the held-out images, with what a format rounds held in levels.

    Of a regression, which is limited by its R², it is 1 - R² of the value kept worst: the mean
    square of that one's error as a share of its variance over all calibration images.
    """
    return _noise(quantized, format, _float_logits(quantized))


def _float_logits(quantized: Quantized) -> Floats:
    """What the network answers to the held-out images, wholly in float."""
    return logits(simulated(quantized.graph, {}), quantized.held_out)


def _noise(quantized: Quantized, format: str, reference: Floats) -> float:
    lowered, recipe = quantized.of(format), quantized.recipe.of(format)
    found = simulated_logits(lowered, recipe, format, quantized.held_out)
    if not quantized.graph.regresses:
        return noise(found, reference)
    assert quantized.spread is not None, "noise is measured where it has a limit"
    varies = quantized.spread > 0
    errors = np.square(reference.astype(np.float64) - found).mean(axis=0)
    return float((errors[varies] / quantized.spread[varies] ** 2).max(initial=0))


@dataclass(frozen=True, eq=False)
class Mixed:
    """A network with some operators in float, its noise, and the share of its products in float."""

    quantized: Quantized
    noise: float
    float_share: float


def return_to_float(
    quantized: Quantized,
    goal: float,
    formats: Sequence[str],
    report: Report = lambda line: None,
) -> Mapping[str, Mixed]:
    """Returns operators to float until the noise is small enough, or too much is in float.

    What a choice turns out to leave corrects what its parts are taken for, and the next is made.

    Args:
        quantized: In int8; what `formats` have in float already stays there.
        goal: The noise wanted, as `measure` tells it.
        formats: Those that hold the same tensors, and have the same in float: they lose the same.
        report: Told of what was tried.

    Returns:
        By format, of what was tried and is enough the cheapest for its engine; where nothing is,
        the quietest. All formats have it in that format's network.
    """
    format, reference = formats[0], _float_logits(quantized)
    already = quantized.recipe.of(format).float_operators
    share = _share(already, _products(_without_rewrites(quantized)))
    found = Mixed(quantized, _noise(quantized, format, reference), share)
    if found.noise <= goal:
        return dict.fromkeys(formats, found)
    graph = quantized.graph
    extent = f"with {len(already)} operators in float" if already else "in int8 throughout"
    report(f"{kept(found.noise, graph)} {extent}: looking for what to leave in float")
    parts = _Parts.of(quantized, formats)
    parts = parts.corrected(found.noise, parts.nothing)
    tried = {parts.nothing: found}
    for format in formats:
        parts = replace(parts, formats=(format,))
        for _ in range(_MOST_TRIES):
            floats = parts.chosen(_AIMED_AT * goal, goal)
            enough = [parts.time(choice) for choice, mixed in tried.items() if mixed.noise <= goal]
            if floats in tried or parts.time(floats) >= min(enough, default=inf):
                break
            mixed = with_float(quantized, parts.operators(floats), formats)
            found = Mixed(mixed, _noise(mixed, format, reference), parts.float_share(floats))
            report(
                f"{len(mixed.recipe.of(format).float_operators)} operators in float, "
                f"{found.float_share:.0%} of the MACs: {kept(found.noise, graph)}"
            )
            parts = parts.corrected(found.noise, floats)
            tried[floats] = found
    return {format: _best(tried, goal, replace(parts, formats=(format,))) for format in formats}


def _best(tried: Mapping[Choice, Mixed], goal: float, parts: _Parts) -> Mixed:
    enough = [floats for floats, mixed in tried.items() if mixed.noise <= goal]
    if enough:
        return tried[min(enough, key=parts.time)]
    return min(tried.values(), key=lambda mixed: mixed.noise)


@dataclass(frozen=True, eq=False)
class _Parts:
    """The segments of a graph that may return to float, and what each of them costs.

    Attributes:
        graph: The graph in int8's form.
        plain: The same without rewrites, which are undone in float.
        segments: Its segments, in order.
        inner: The noise of the tensors inside each segment, as a share of the logits' energy.
        border: The same of each segment's result.
        formats: Those in whose engines the time counts.
        already: Operators that are in float whatever is chosen, and cost nothing more.
    """

    graph: Graph
    plain: Graph
    segments: tuple[Segment, ...]
    inner: NDArray[np.float64]
    border: NDArray[np.float64]
    formats: Sequence[str]
    already: frozenset[str] = frozenset()

    @classmethod
    def of(cls, quantized: Quantized, formats: Sequence[str]) -> _Parts:
        arrangement, recipe = ARRANGEMENTS[formats[0]], quantized.recipe.of(formats[0])
        graph = arranged(quantized.graph, arrangement, recipe.float_operators)
        held = held_tensors(graph, recipe, arrangement)
        images = quantized.held_out[:: -(-len(quantized.held_out) // _RANKED_ON)]
        sensitivity = Sensitivity(graph, held, images, recipe.corrected)
        cut = segments(graph)
        groups = []
        for segment in cut:
            made = [op.output for op in segment.operators if op.output in held]
            groups.append([name for name in made if name != segment.result])
            groups.append([name for name in made if name == segment.result])
        shares = _shares(groups, sensitivity.noise)
        inner, border = np.array(shares[::2]), np.array(shares[1::2])
        plain = _without_rewrites(quantized)
        return cls(graph, plain, cut, inner, border, formats, recipe.float_operators)

    @cached_property
    def nothing(self) -> Choice:
        """The choice that returns nothing: segments that are wholly in float already are on."""
        return tuple(not any(self._movable(segment)) for segment in self.segments)

    def chosen(self, *goals: float) -> Choice:
        """Which are in float: the cheapest choice that meets the first goal that one meets.

        If none does, it is the quietest. None has more products in float than is worth it.
        """
        most = _MOST_FLOAT - self._share_already
        for goal in goals:
            met = cheapest(self._times, [self._noises, self._float_shares], [goal, most])
            if met:
                return met
        return cheapest(self._noises, [self._float_shares], [most]) or self.nothing

    def operators(self, floats: Choice) -> frozenset[str]:
        """The names of the operators of the segments in float, and of those that are already."""
        chosen = [
            segment for segment, is_float in zip(self.segments, floats, strict=True) if is_float
        ]
        names = (operator.name for segment in chosen for operator in segment.operators)
        return self.already.union(names)

    def noise_left(self, floats: Choice) -> float:
        """The noise of what is still held in int8: a border between two in float is not."""
        return total(self._noises, floats)

    def corrected(self, measured: float, floats: Choice) -> _Parts:
        """With the noise of what stays in int8 beside `floats` scaled to what was measured.

        The multiplicative correction of algebraic reconstruction (Gordon, Bender and Herman 1970):
        what is in every choice that is noisier than expected becomes noisier itself.
        """
        # Parts may be silent.
        ratio = measured / max(self.noise_left(floats), float(np.finfo(float).tiny))
        inside = [one and other for one, other in pairwise((*floats, True))]
        return replace(
            self,
            inner=np.where(floats, 1, ratio) * self.inner,
            border=np.where(inside, 1, ratio) * self.border,
        )

    def time(self, floats: Choice) -> float:
        """What they cost, as a share of int8's time, a mean over formats."""
        return total(self._times, floats)

    def float_share(self, floats: Choice) -> float:
        """The share of the products of convolutions and dense layers that are in float."""
        return self._share_already + total(self._float_shares, floats)

    @cached_property
    def _noises(self) -> Costs:
        return np.multiply.outer(self.inner, 1 - ON) + np.multiply.outer(self.border, 1 - BOTH)

    @cached_property
    def _times(self) -> Costs:
        """What is passed between int8 and float takes time, too."""
        longer = [self._mean(partial(self._longer, segment)) for segment in self.segments]
        values = (prod(self.graph.shapes[segment.result]) for segment in self.segments)
        passed = [self._mean(partial(at_border, count)) for count in values]
        return np.multiply.outer(longer, ON) + np.multiply.outer(passed, CROSSING)

    @cached_property
    def _float_shares(self) -> Costs:
        """Of all products, what each segment adds to those in float."""
        movable = [[op.name for op in self._movable(segment)] for segment in self.segments]
        costs = np.multiply.outer([_share(names, self._products) for names in movable], ON)
        # What is in float already does not come back.
        costs[np.array(self.nothing), 0] = np.inf
        return costs

    @cached_property
    def _share_already(self) -> float:
        return _share(self.already, self._products)

    @cached_property
    def _products(self) -> Mapping[str, int]:
        return _products(self.plain)

    def _mean(self, time: Callable[[str], float]) -> float:
        """Of a time in each format's engine, as a share of what the network takes there in int8."""
        return fmean(time(format) / self._whole[format] for format in self.formats)

    @cached_property
    def _whole(self) -> Mapping[str, float]:
        return {format: all_in_int8(self.graph, format) for format in self.formats}

    def _longer(self, segment: Segment, format: str) -> float:
        """What a segment takes longer in float, where rewrites take no time any more."""
        in_floats = sum(in_float(self.plain, op, format) for op in self._left(segment))
        return in_floats - sum(in_int8(self.graph, op, format) for op in self._movable(segment))

    def _movable(self, segment: Segment) -> Iterator[Operator]:
        """The operators of a segment that are in int8 where it is not in float."""
        return (op for op in segment.operators if op.name not in self.already)

    def _left(self, segment: Segment) -> Iterator[Operator]:
        """The same as they are without rewrites."""
        for operator in self._movable(segment):
            if operator.name in self._plain_operators:
                yield self._plain_operators[operator.name]

    @cached_property
    def _plain_operators(self) -> Mapping[str, Operator]:
        return {operator.name: operator for operator in self.plain.operators}


def _without_rewrites(quantized: Quantized) -> Graph:
    """The graph as it is where all of it is in float."""
    names = {operator.name for operator in quantized.graph.operators}
    return restored(quantized.graph, quantized.recipe.rewrites, names)


def _products(graph: Graph) -> dict[str, int]:
    """The products of convolutions and dense layers, by operator."""
    shapes = graph.shapes
    return {operator.name: operator.macs(shapes[operator.output]) for operator in graph.operators}


def _share(operators: Collection[str], products: Mapping[str, int]) -> float:
    """The share of all products that these operators compute."""
    return sum(products.get(name, 0) for name in operators) / sum(products.values())


def _shares(
    groups: Sequence[Sequence[str]], alone: Callable[[Sequence[str]], float]
) -> list[float]:
    """The noise of each group of tensors, by halving; a span that adds little is split evenly."""
    whole = alone([name for group in groups for name in group])

    def measured(span: Sequence[Sequence[str]], share: float) -> list[float]:
        if len(span) == 1 or share < _NEGLIGIBLE * whole:
            return [share / len(span)] * len(span)
        middle = len(span) // 2
        halves = span[:middle], span[middle:]
        return [
            part
            for half in halves
            for part in measured(half, alone([name for group in half for name in group]))
        ]

    return measured(groups, whole)
