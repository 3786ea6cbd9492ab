"""Calibration: statistics of every tensor over images, a few at a time, in bounded memory.

A range rule (`converters.quantization.ranges`) makes ranges of them, and equalization reads the
peaks of the channels. The numbers depend on the images and their order alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from converters.formats.onnx import build
from converters.graph import INPUT, Doubles, Floats, Graph, Linear, Operator
from converters.quantization.moments import Moments, MomentSampler
from converters.quantization.parallel import in_order
from converters.quantization.simulate import Image, runner
from edgenet.errors import UsageError

TAIL = 1e-4
# The most bytes that all tensors of the images under way may take: two images of B7. While they are
# handed over they take twice as much.
_HELD_BYTES = 6e9
# Values kept of each tensor and image: a hundred images give a sample of 25,600.
_SAMPLED = 256
# Of more images than these, every second, fourth, ... gives values to the sample.
_SAMPLED_IMAGES = 256
# Values: eight stretches for each value of a tail.
_LONGEST = round(1 / (8 * TAIL))
# Squares of larger values, summed over images, may not be float32 any more.
_LARGEST = 1e15


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """One tensor, over so many images and in so many channels.

    `low` and `high` are each image's extremes, `low_tail` and `high_tail` its quantiles `TAIL` and
    1 - `TAIL`: (images,). `peaks` are each channel's largest magnitude, a mean over the images:
    (channels,). `sample` holds values of every image or, of many, of up to 256 that are evenly
    spaced, from the same places of each: (images, up to 256).
    """

    low: Floats
    low_tail: Floats
    high_tail: Floats
    high: Floats
    peaks: Floats
    sample: Floats


Statistics = Mapping[str, TensorStatistics]


@dataclass(frozen=True, eq=False)
class Observations:
    """What was seen on so many `images`: of each tensor, and by operator of what it reads."""

    images: int
    tensors: Statistics
    inputs: Mapping[str, Moments]


def calibrate(
    graph: Graph,
    images: Iterable[Image],
    progress: Callable[[int], None] = lambda done: None,
    operators: Sequence[Operator] | None = None,
    tensors: Collection[str] | None = None,
) -> Observations:
    """Runs the float graph and observes the tensors that operators make.

    Args:
        graph: The frozen graph.
        images: Arrays of the graph's input shape, uint8; read once, few at a time.
        progress: Told how many have been seen.
        operators: Those with weights that are to be rounded: their inputs are observed as well.
            None takes the graph's.
        tensors: Those to observe where no operator is to be rounded; None takes all.

    Raises:
        UsageError: The network explodes on the images.
    """
    made = [operator.output for operator in graph.operators]
    names = [name for name in made if tensors is None or name in tensors]
    weighted = graph.operators if operators is None else operators
    linear = [operator for operator in weighted if isinstance(operator, Linear)]
    samplers = {operator.name: MomentSampler(operator) for operator in linear}
    run = runner(build(graph, "fp32", outputs=names), names)

    def observe(image: Image) -> tuple[list[_Look], list[Floats]]:
        values = run({INPUT: image})
        samples = [samplers[op.name].sample(values[op.inputs[0]]) for op in linear]
        return [_look(values[name], graph.producers[name].name) for name in names], samples

    tallies = {name: _Tally() for name in names}
    done = 0
    most = max(1, int(_HELD_BYTES / (4 * sum(prod(graph.shapes[name]) for name in names))))
    for done, (seen, samples) in enumerate(in_order(observe, images, most), start=1):
        for tally, look in zip(tallies.values(), seen, strict=True):
            tally.add(look)
        for sampler, taken in zip(samplers.values(), samples, strict=True):
            sampler.add(taken)
        progress(done)
    return Observations(
        done,
        {name: tally.statistics() for name, tally in tallies.items()},
        # One after another: for B7 all sums and all moments together are 5 GB.
        {name: samplers.pop(name).moments() for name in list(samplers)},
    )


def channel_peaks(
    graph: Graph, images: Iterable[Image], tensors: Sequence[str]
) -> Mapping[str, Floats]:
    """Each channel's largest magnitude, a mean over the images, by tensor: (channels,)."""
    run = runner(build(graph, "fp32", outputs=tensors), tensors)

    def observe(image: Image) -> list[Floats]:
        values = run({INPUT: image})
        return [np.abs(values[name]).reshape(values[name].shape[1], -1).max(1) for name in tensors]

    seen = list(in_order(observe, images))
    return {name: _mean([row[i] for row in seen]) for i, name in enumerate(tensors)}


@dataclass(frozen=True, eq=False)
class _Look:
    """One tensor of one image: low, low tail, high tail and high; by channel; some values."""

    ends: tuple[float, float, float, float]
    peaks: Floats
    sample: Floats


def _look(tensor: Floats, layer: str) -> _Look:
    channels, rank = tensor.shape[1], max(1, round(tensor.size * TAIL))
    rows = tensor.reshape(-1, _stretch(tensor.size // channels))
    starts = np.arange(0, tensor.size, rows.shape[1])
    # Several times as fast as along an axis.
    low, high = (f.reduceat(tensor.ravel(), starts) for f in (np.minimum, np.maximum))
    _require_bounded(float(np.maximum(-low, high).max()), layer)
    ends = (
        float(low.min()),
        -_largest(rank, -low, lambda bound: -rows[low <= -bound]),
        _largest(rank, high, lambda bound: rows[high >= bound]),
        float(high.max()),
    )
    peaks = np.maximum(high, -low).reshape(channels, -1).max(axis=1)
    return _Look(ends, peaks, tensor.ravel()[_places(tensor.size)])


@cache
def _stretch(size: int) -> int:
    """The longest of equal stretches of a channel of so many values, a row each in `_look`.

    Long ones are fast to reduce; the more there are, the fewer have values in a tail.
    """
    return max(row for row in range(1, _LONGEST + 1) if size % row == 0)


def _require_bounded(peak: float, layer: str) -> None:
    # Of nan, too, which is not smaller than anything.
    if not peak <= _LARGEST:
        raise UsageError(
            f"the network explodes: layer {layer!r} reaches {peak:.0e} on an image that "
            "calibrates; if its BatchNorm statistics do not fit its weights, pass training photos "
            "through the model with training=True, and save it again"
        )


@cache
def _places(size: int) -> NDArray[np.intp]:
    """Of so many values, those of a sample, in order: any, but the same every time.

    Evenly spaced ones would all lie in a few columns of a map, the padded ones perhaps.
    """
    draw = np.random.default_rng(0)
    return np.sort(draw.choice(size, min(size, _SAMPLED), replace=False, shuffle=False))


def _largest(rank: int, ends: Floats, reaching: Callable[[float], Floats]) -> float:
    """The rank-th largest value: only rows that reach the rank-th of their ends can hold it."""
    bound = np.partition(ends, ends.size - rank)[-rank]
    values = reaching(bound)
    values = values[values >= bound]
    return float(np.partition(values, values.size - rank)[-rank])


class _Tally:
    """What is kept of a tensor: four numbers of each image, and a sample of some of them."""

    def __init__(self) -> None:
        self._ends: list[tuple[float, float, float, float]] = []
        self._peaks: Doubles | float = 0.0
        self._samples: list[Floats] = []
        self._every = 1

    def add(self, look: _Look) -> None:
        """Takes in what was seen of one more image."""
        if len(self._ends) % self._every == 0:
            self._samples.append(look.sample)
        if len(self._samples) > _SAMPLED_IMAGES:
            del self._samples[1::2]
            self._every *= 2
        self._ends.append(look.ends)
        self._peaks = self._peaks + look.peaks.astype(np.float64)

    def statistics(self) -> TensorStatistics:
        """Of all that were seen."""
        low, low_tail, high_tail, high = np.array(self._ends, np.float32).T
        peaks = np.asarray(self._peaks / len(self._ends), np.float32)
        return TensorStatistics(low, low_tail, high_tail, high, peaks, np.stack(self._samples))


def _mean(peaks: Sequence[Floats]) -> Floats:
    return np.asarray(np.mean(peaks, axis=0, dtype=np.float64), np.float32)
