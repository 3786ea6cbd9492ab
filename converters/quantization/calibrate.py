"""Calibration: statistics of every tensor over images, one image at a time, in bounded memory.

Of each image and tensor four numbers are kept: the extremes and the 0.01 % quantile at each end. A
range rule (`converters.quantization.ranges`) makes ranges of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from converters.formats.onnx import build
from converters.graph import INPUT, Floats, Graph, Linear
from converters.quantization.moments import Moments, MomentSampler

TAIL = 1e-4


@dataclass(frozen=True, eq=False)
class TensorStatistics:
    """Extremes and the quantiles `TAIL` and 1 - `TAIL` of one tensor, each of shape (images,)."""

    low: Floats
    low_tail: Floats
    high_tail: Floats
    high: Floats


Statistics = Mapping[str, TensorStatistics]


@dataclass(frozen=True, eq=False)
class Observations:
    """What was seen on so many `images`: of each tensor, and by operator of what it reads."""

    images: int
    tensors: Statistics
    inputs: Mapping[str, Moments]


def calibrate(
    graph: Graph,
    images: Iterable[NDArray[np.uint8]],
    progress: Callable[[int], None] = lambda done: None,
) -> Observations:
    """Runs the float graph and observes every tensor that an operator makes.

    Args:
        graph: The frozen graph.
        images: Arrays of the graph's input shape, uint8; read once, one at a time.
        progress: Told how many have been seen.
    """
    import onnxruntime

    tensors = [operator.output for operator in graph.operators]
    model = build(graph, "fp32", outputs=tensors).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    upper, lower = ({name: _UpperTail() for name in tensors} for _ in range(2))
    rows: dict[str, list[tuple[float, float, float, float]]] = {name: [] for name in tensors}
    linear = [operator for operator in graph.operators if isinstance(operator, Linear)]
    samplers = {operator.name: MomentSampler(operator) for operator in linear}
    done = 0
    for done, image in enumerate(images, start=1):
        seen = dict(zip(tensors, session.run(tensors, {INPUT: image}), strict=True))
        for name, values in seen.items():
            high_tail, high = upper[name](values.ravel())
            low_tail, low = lower[name](-values.ravel())
            rows[name].append((-low, -low_tail, high_tail, high))
        for operator in linear:
            samplers[operator.name].add(seen[operator.inputs[0]])
        progress(done)
    return Observations(
        done,
        {name: TensorStatistics(*np.array(table, np.float32).T) for name, table in rows.items()},
        {name: sampler.moments() for name, sampler in samplers.items()},
    )


class _UpperTail:
    """The quantile 1 - `TAIL` and the maximum of one tensor, image by image.

    It remembers about where the quantile was, so that only the values above are sorted.
    """

    def __init__(self) -> None:
        self._threshold = -np.inf

    def __call__(self, values: Floats) -> tuple[float, float]:
        rank = max(1, round(values.size * TAIL))
        candidates = values[values >= self._threshold]
        if candidates.size < rank:
            candidates = values
        top = np.partition(candidates, candidates.size - rank)[-rank:]
        self._threshold = top[0] - abs(top[0]) / 2
        return float(top[0]), float(top.max())
