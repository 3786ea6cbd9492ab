"""Range rules: from statistics to the range over which each tensor is held in int8.

A rule is a pure function of one tensor's statistics and of its role in the network. What is clipped
is lost, and what is spent on outliers is resolution lost for all: each role has its own balance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from converters.graph import PROBABILITIES, Floats, Graph, Multiply, is_silu
from converters.quantization.calibrate import Statistics, TensorStatistics
from converters.quantization.roles import Role, role_of
from converters.quantization.sketches import entropy, least_squares
from converters.scheme.document import Range
from converters.scheme.recipe import Recipe
from edgenet.errors import UsageError

# Left of it SiLU is flat: above -0.0027. A sigmoid is so on both sides: within 0.00034 of 0 and 1.
SILU_FLAT = -8.0
# Far below zero the gate of a scaled SiLU is shut: its range may end there at this share of its
# other end, which makes zero the middle of 256 levels. At -1 the middle would be a tie, and the
# last bit of the other end would break it. At -.7, -.5, -.4 and -.3 B0's 18.2 dB on 240 photos
# become 18.0, 17.8, 17.2 and 17.1.
_SCALED_LOW = -128 / 127
# Of the logarithms of all images' extremes. One photo of 144 reached twice as far in block7a of
# EfficientNet-B0 as the rest, and cost it a decibel.
_DEVIATIONS = 3.0
# Ends that are as alike as this become the same, with zero as the middle level: OpenVINO's
# convolutions are up to twice as fast on inputs that are held so.
_ALIKE = 0.8


def min_max(role: Role, statistics: TensorStatistics) -> Range:
    """All that was seen: the field's default."""
    return float(statistics.low.min()), float(statistics.high.max())


def per_image(role: Role, statistics: TensorStatistics) -> Range:
    """The mean over the images of each image's extremes."""
    return float(statistics.low.mean()), float(statistics.high.mean())


def percentile(role: Role, statistics: TensorStatistics) -> Range:
    """The mean over the images of each image's 0.01 % quantile at each end."""
    return float(statistics.low_tail.mean()), float(statistics.high_tail.mean())


def by_role(role: Role, statistics: TensorStatistics) -> Range:
    """Each role its own balance; the default.

    Vectors, gates, pieces and what ReLU or SiLU makes are never clipped. Before SiLU nothing below
    `SILU_FLAT` matters. What is clipped ends at the mean tail before SiLU and sigmoid, elsewhere
    between that and the extreme, at their geometric mean; an image far from all others is no
    extreme.
    """
    low, high = min_max(role, statistics)
    low_tail, high_tail = percentile(role, statistics)
    below = -_geometric_mean(-low_tail, _extreme(-statistics.low))
    above = _geometric_mean(high_tail, _extreme(statistics.high))
    if role is Role.BEFORE_SILU:
        return max(low_tail, SILU_FLAT), high_tail
    if role is Role.BEFORE_SILU_DEPTHWISE:
        return max(low, SILU_FLAT), above
    if role is Role.BEFORE_SIGMOID:
        return max(low_tail, SILU_FLAT), min(high_tail, -SILU_FLAT)
    if role is Role.BEFORE_SCALED_SILU:
        return max(below, _SCALED_LOW * above), above
    if role is Role.LINEAR:
        return below, above
    return low, high


def _extreme(extremes: Floats) -> float:
    """The largest of the images' extremes, within the deviations of their logarithms."""
    largest = float(extremes.max())
    if extremes.min() <= 0:
        return largest
    logarithms = np.log(extremes)
    far = logarithms.mean() + _DEVIATIONS * logarithms.std()
    return min(largest, float(np.exp(far)))


def _geometric_mean(tail: float, extreme: float) -> float:
    return float(np.sqrt(tail * extreme)) if tail > 0 and extreme > 0 else extreme


Rule = Callable[[Role, TensorStatistics], Range]
RULES: Mapping[str, Rule] = {
    "by-role": by_role,
    "min-max": min_max,
    "per-image": per_image,
    "percentile": percentile,
    "least-squares": least_squares,
    "entropy": entropy,
}
DEFAULT_RULE = "by-role"


def require_rule(name: str) -> None:
    """Refuses what is no name of `RULES`.

    Raises:
        UsageError: There is no rule of that name.
    """
    if name not in RULES:
        raise UsageError(f"no range rule is called {name!r}: take one of {', '.join(RULES)}")


def choose(graph: Graph, statistics: Statistics, rule: str = DEFAULT_RULE) -> Recipe:
    """The recipe that a rule makes of the statistics.

    Raises:
        UsageError: There is no rule of that name.
    """
    require_rule(rule)
    ranges = {
        tensor: RULES[rule](role_of(graph, tensor), tensor_statistics)
        for tensor, tensor_statistics in statistics.items()
        if tensor != PROBABILITIES
    }
    return Recipe(rule, {tensor: _with_zero(_bounded(graph, ranges, tensor)) for tensor in ranges})


def _with_zero(ends: Range) -> Range:
    """The range with zero in it, which levels always hold."""
    low, high = ends
    return min(low, 0.0), max(high, 0.0)


def _bounded(graph: Graph, ranges: Mapping[str, Range], tensor: str) -> Range:
    """A range with the ends that the network itself sets, and about zero where it nearly is.

    What is clipped before SiLU or its gate cannot come out of it.
    """
    low, high = ranges[tensor]
    role = role_of(graph, tensor)
    producer = graph.producers[tensor]
    if is_silu(producer):
        source = ranges[producer.inputs[0]][1]
        return low, min(high, float(source / (1 + np.exp(-source))))
    if isinstance(producer, Multiply):
        factor = producer.inputs[0]
        if role_of(graph, factor) is Role.BEFORE_SCALED_SILU:
            return low, min(high, ranges[factor][1])
    return _centred(low, high) if role is Role.LINEAR else (low, high)


def _centred(low: float, high: float) -> Range:
    """The range, wider by as little as puts zero in its middle where it nearly is there."""
    if min(-low, high) < _ALIKE * max(-low, high):
        return low, high
    # 128 levels are below zero and 127 above.
    end = max(-low, high * 128 / 127)
    return -end, end * 127 / 128
