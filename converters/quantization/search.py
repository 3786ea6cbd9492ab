"""Which operators return to float: runs of them, chosen by the noise they add against their time.

Rounding errors of different tensors add up nearly independently, so the noise of a run is the sum
of its parts'. Each part is measured alone in the float network, less what a bias will make up for;
a greedy choice takes the run that spares the most noise for its time, until the sum is good enough.
The whole is measured then, corrects the parts, and is chosen anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from math import prod
from statistics import fmean

import numpy as np

from converters.formats import ARRANGEMENTS
from converters.graph import Floats as FloatArray
from converters.graph import Graph, Operator
from converters.quantization.arrangement import ARRANGED, held_tensors
from converters.quantization.cost import all_in_int8, at_border, in_float, in_int8
from converters.quantization.quantize import Quantized, with_float
from converters.quantization.rewrite import restored
from converters.quantization.segments import Segment, segments
from converters.quantization.simulate import logits, noise, simulated
from converters.quantization.switchboard import Switchboard

# More products than this in float, and another precision is the better choice.
_MOST_FLOAT = 0.4
# Six seconds each for B0.
_MOST_TRIES = 6
# A share of the network's.
_LEAST_TIME = 1 / 300
# Segments; six make a block.
_LONGEST_RUN = 16
# Spans that add less than this share of all noise are not looked into.
_NEGLIGIBLE = 0.01


def decibels(share: float) -> float:
    """In dB, from the noise's share of the energy."""
    return -10 * float(np.log10(max(share, 1e-12)))


def measure(quantized: Quantized, format: str) -> float:
    """The noise on the images aside, with what a format rounds held in levels."""
    return _noise(quantized, format, _float_logits(quantized))


def _float_logits(quantized: Quantized) -> FloatArray:
    """What the network answers in float to the images aside, whatever returns to it."""
    return logits(simulated(quantized.graph, {}), quantized.aside)


def _noise(quantized: Quantized, format: str, reference: FloatArray) -> float:
    lowered = quantized.of(format)
    held = held_tensors(lowered, quantized.recipe.of(format), ARRANGEMENTS[format])
    return noise(logits(simulated(lowered, held), quantized.aside), reference)


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
    report: Callable[[str], None] = lambda line: None,
) -> Mixed:
    """Returns runs of operators to float until the noise is small enough, or too much is in float.

    What a choice turns out to leave corrects what its parts are taken for, and the next is made.

    Args:
        quantized: In int8 throughout, as far as `formats` go.
        goal: The noise wanted, as a share of the logits' energy.
        formats: In which; the first is judged.
        report: Told of what was tried.

    Returns:
        Of what was tried and is enough the cheapest; where nothing is, the quietest.
    """
    format, reference = formats[0], _float_logits(quantized)
    found = Mixed(quantized, _noise(quantized, format, reference), 0.0)
    if found.noise <= goal:
        return found
    report(f"{decibels(found.noise):.1f} dB in int8 throughout: looking for what to leave in float")
    parts = _Parts.of(quantized, formats)
    parts = parts.corrected(found.noise, parts.nothing)
    tried = {parts.nothing: found}
    for _ in range(_MOST_TRIES):
        floats = parts.grown(parts.nothing, goal)
        if floats is None or floats in tried:
            break
        mixed = with_float(quantized, parts.operators(floats), formats)
        found = Mixed(mixed, _noise(mixed, format, reference), parts.float_share(floats))
        report(
            f"{len(mixed.recipe.of(format).float_operators)} operators in float, "
            f"{found.float_share:.0%} of the products: {decibels(found.noise):.1f} dB"
        )
        parts = parts.corrected(found.noise, floats)
        tried[floats] = found
    enough = [floats for floats, mixed in tried.items() if mixed.noise <= goal]
    if enough:
        return tried[min(enough, key=parts.time)]
    return min(tried.values(), key=lambda mixed: mixed.noise)


Floats = tuple[bool, ...]


@dataclass(frozen=True, eq=False)
class _Parts:
    """A graph's segments; `inner` is the noise of what each holds inside, `border` of its result.

    Both are shares of the logits' energy, one a segment. `plain` is the graph without rewrites,
    which are undone in float; `formats` are those that pay for it.
    """

    graph: Graph
    plain: Graph
    segments: tuple[Segment, ...]
    inner: Sequence[float]
    border: Sequence[float]
    formats: Sequence[str]

    @classmethod
    def of(cls, quantized: Quantized, formats: Sequence[str]) -> _Parts:
        arrangement = ARRANGEMENTS[formats[0]]
        graph = ARRANGED[arrangement](quantized.graph)
        held = held_tensors(graph, quantized.recipe.of(formats[0]), arrangement)
        # To rank parts takes fewer images than to tell what is kept.
        images = quantized.aside[::2]
        switches = Switchboard(graph, held, images, quantized.recipe.corrected)
        cut = segments(graph)
        groups = []
        for segment in cut:
            made = [op.output for op in segment.operators if op.output in held]
            groups.append([name for name in made if name != segment.result])
            groups.append([name for name in made if name == segment.result])
        shares = _shares(groups, switches.noise)
        names = {operator.name for operator in quantized.graph.operators}
        plain = restored(quantized.graph, quantized.recipe.rewrites, names)
        return cls(graph, plain, cut, shares[::2], shares[1::2], formats)

    @property
    def nothing(self) -> Floats:
        """All in int8."""
        return (False,) * len(self.segments)

    def operators(self, floats: Floats) -> frozenset[str]:
        """The names of the operators of the segments in float."""
        chosen = [
            segment for segment, is_float in zip(self.segments, floats, strict=True) if is_float
        ]
        return frozenset(operator.name for segment in chosen for operator in segment.operators)

    def noise_left(self, floats: Floats) -> float:
        """The noise of what is still held in int8: a border between two in float is not."""
        inner = sum(n for n, is_float in zip(self.inner, floats, strict=True) if not is_float)
        borders = zip(self.border, _inside(floats), strict=True)
        return inner + sum(n for n, inside in borders if not inside)

    def corrected(self, measured: float, floats: Floats) -> _Parts:
        """With the parts that are left beside `floats` as noisy as was measured, together.

        The multiplicative correction of algebraic reconstruction (Gordon, Bender and Herman 1970):
        what is in every choice that is noisier than expected becomes noisier itself.
        """
        # Parts may be silent.
        ratio = measured / max(self.noise_left(floats), float(np.finfo(float).tiny))
        inner = [
            n * (1 if is_float else ratio) for n, is_float in zip(self.inner, floats, strict=True)
        ]
        border = [
            n * (1 if inside else ratio)
            for n, inside in zip(self.border, _inside(floats), strict=True)
        ]
        return replace(self, inner=inner, border=border)

    def time(self, floats: Floats) -> float:
        """What they cost, as a share of int8's time, a mean over formats."""
        crossed = [a != b for a, b in pairwise((*floats, True))]
        return self._sum(self._times, floats) + self._sum(self._borders, crossed)

    def float_share(self, floats: Floats) -> float:
        """The share of the products of convolutions and dense layers that are in float."""
        return self._sum(self._products, floats) / sum(self._products)

    @staticmethod
    def _sum(of_segments: Sequence[float], chosen: Sequence[bool]) -> float:
        return sum(n for n, is_chosen in zip(of_segments, chosen, strict=True) if is_chosen)

    @cached_property
    def _plain_operators(self) -> Mapping[str, Operator]:
        return {operator.name: operator for operator in self.plain.operators}

    @cached_property
    def _products(self) -> list[float]:
        shapes = self.plain.shapes
        return [
            sum(op.macs(shapes[op.output]) for op in self._left(segment))
            for segment in self.segments
        ]

    @cached_property
    def _times(self) -> list[float]:
        """What each segment takes longer in float, where rewrites take no time any more."""
        return [self._mean(partial(self._longer, segment)) for segment in self.segments]

    def _longer(self, segment: Segment, format: str) -> float:
        in_floats = sum(in_float(self.plain, op, format) for op in self._left(segment))
        return in_floats - sum(in_int8(self.graph, op, format) for op in segment.operators)

    @cached_property
    def _borders(self) -> list[float]:
        """What it takes to pass each segment's result between int8 and float."""
        values = (prod(self.graph.shapes[segment.result]) for segment in self.segments)
        return [self._mean(partial(at_border, count)) for count in values]

    def _mean(self, time: Callable[[str], float]) -> float:
        """Of a time in each format's engine, as a share of what the network takes there in int8."""
        return fmean(time(format) / self._whole[format] for format in self.formats)

    @cached_property
    def _whole(self) -> Mapping[str, float]:
        return {format: all_in_int8(self.graph, format) for format in self.formats}

    def _left(self, segment: Segment) -> Iterator[Operator]:
        """The operators of a segment as they are without rewrites."""
        for operator in segment.operators:
            if operator.name in self._plain_operators:
                yield self._plain_operators[operator.name]

    def grown(self, floats: Floats, goal: float) -> Floats | None:
        """With runs added that spare much noise for their time, until `goal` is met.

        The run that spares the most for its time joins, again and again; but the last need not be
        so large: after each step the cheapest run that would be enough is an end, too, and the
        cheapest end is taken. As far as it goes, where nothing is enough; None where there is
        nothing to add.
        """
        grown, ends = floats, list[Floats]()
        while self.noise_left(grown) > goal:
            runs = list(self._better(grown))
            if not runs:
                break
            enough = [run for run in runs if self.noise_left(run) <= goal]
            ends += [min(enough, key=self.time)] if enough else []
            worths = [self._worth(grown, run) for run in runs]
            grown = runs[worths.index(max(worths))]
        if ends:
            return min(ends, key=self.time)
        return None if grown == floats else grown

    def _better(self, floats: Floats) -> Iterator[Floats]:
        """With each run added that spares noise and leaves enough in int8."""
        for run in self._runs(floats):
            if self._spared(floats, run) > 0 and self.float_share(run) <= _MOST_FLOAT:
                yield run

    def _runs(self, floats: Floats) -> Iterator[Floats]:
        count = len(floats)
        for start in range(count):
            for end in range(start + 1, min(start + _LONGEST_RUN, count) + 1):
                yield tuple(held or start <= i < end for i, held in enumerate(floats))

    def _spared(self, floats: Floats, run: Floats) -> float:
        return self.noise_left(floats) - self.noise_left(run)

    def _worth(self, floats: Floats, run: Floats) -> float:
        # A run may cost less than nothing where it spares a border; something keeps the noise that
        # it spares in the balance.
        added = max(self.time(run) - self.time(floats), _LEAST_TIME)
        return self._spared(floats, run) / added


def _inside(floats: Floats) -> list[bool]:
    """Whether the result of each segment passes between two in float; the last's is handed out."""
    return [one and other for one, other in pairwise((*floats, True))]


def _shares(
    groups: Sequence[Sequence[str]], alone: Callable[[Sequence[str]], float]
) -> list[float]:
    """The noise of each group of tensors; what little a span of them adds is split evenly."""
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
