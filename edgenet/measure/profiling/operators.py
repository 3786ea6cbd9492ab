"""What a profile is made of, whichever engine it comes from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

_KEPT = 0.8


@dataclass(frozen=True)
class Operator:
    """One operator that the engine ran, in the order in which it did.

    Attributes:
        layer: The Keras layer, or the engine's name where it made the operator up.
        kernel: What ran, in the engine's own word.
        ms: Milliseconds a run, the mean of all runs but the slowest fifth.
        macs: Multiply-accumulates of one run; 0 where there are none.
        integer: Whether it computed in 8-bit integers.
        moves: Whether it only changes a layout or a type.
    """

    layer: str
    kernel: str
    ms: float
    macs: int
    integer: bool
    moves: bool


@dataclass(frozen=True)
class Product:
    """A convolution or matrix product of the file: whose weights, and multiply-accumulates.

    Engines name a fused one after its last part; the layer is the one that has the weights.
    """

    layer: str
    macs: int


@dataclass(frozen=True)
class Profile:
    """All operators of one file in one engine; `source` names the profiler.

    `complete` tells whether each product of the file is known among the operators.
    """

    source: str
    threads: int
    runs: int
    operators: tuple[Operator, ...]
    complete: bool = True

    def document(self) -> dict[str, Any]:
        """As JSON, the slowest operator first, each with its share and its GMAC/s."""
        total = sum(operator.ms for operator in self.operators)
        ranked = sorted(self.operators, key=lambda operator: -operator.ms)
        return {
            "source": self.source,
            "threads": self.threads,
            "runs": self.runs,
            "total_ms": total,
            "macs": sum(operator.macs for operator in self.operators),
            "operators": [
                {
                    **asdict(operator),
                    "share": operator.ms / total if total else 0.0,
                    "gmacs_per_s": speed(operator.macs, operator.ms),
                }
                for operator in ranked
            ],
        }


def speed(macs: int, ms: float) -> float | None:
    """10^9 multiply-accumulates a second, or None where nothing was multiplied or timed."""
    return macs / ms / 1e6 if macs and ms else None


def first_part(name: str) -> str:
    """The Keras layer of an engine's operator: the converters name tensors `layer/detail`."""
    return name.split("/")[0]


def products(weights: Sequence[int], output: Sequence[int]) -> int:
    """Multiply-accumulates, from the shapes of weights and output.

    Weights times output positions: N×C×H×W of a convolution, N×C of a matrix product.
    """
    return math.prod(weights) * output[0] * math.prod(output[2:])


def all_found(operators: Iterable[Operator], written: Iterable[Product]) -> bool:
    """Whether each product of the file was recognised among what ran."""
    ran, asked = (sum(one.macs for one in group) for group in (operators, written))
    return ran == asked


def typical(times: Iterable[float]) -> float:
    """The mean without the slowest fifth: profilers count whole µs, so a median is too coarse."""
    ordered = np.sort(np.asarray(list(times), np.float64))
    return float(ordered[: max(1, round(_KEPT * len(ordered)))].mean())


def align(ours: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Pairs two lists of kinds in order, leaving out what the other lacks: index to index."""
    blocks = SequenceMatcher(None, ours, theirs, autojunk=False).get_matching_blocks()
    return {a + step: b + step for a, b, size in blocks for step in range(size)}
