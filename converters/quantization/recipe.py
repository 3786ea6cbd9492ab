"""The recipe: which tensors are held in int8, over which range; plain JSON, to keep and replay."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from converters.graph import INPUT, Activation, Affine, GlobalAverage, Graph, Pad, Reshape
from converters.quantization.parameters import LEVELS, PIXELS, SIGMOID, Quantization

Range = tuple[float, float]

# ONNX Runtime refuses to average when the input's step, shared out over the map, is 256 times the
# output's or more (QLinearGlobalAveragePool); dead maps come to that.
_FINEST_MEAN = 200


@dataclass(frozen=True)
class Recipe:
    """One decision for all formats: [low, high] by the name of the tensor; `rule` chose them.

    `rounding` names how the weights were brought to their levels.
    """

    rule: str
    ranges: Mapping[str, Range]
    rounding: str = "nearest"

    def to_json(self) -> dict[str, Any]:
        """As the manifest stores it."""
        return {
            "activations": {"bits": 8, "granularity": "tensor", "rule": self.rule},
            "weights": {
                "bits": 8,
                "granularity": "channel",
                "rounding": self.rounding,
                "symmetric": True,
            },
            "ranges": {name: list(self.ranges[name]) for name in sorted(self.ranges)},
        }

    def quantizations(self, graph: Graph) -> dict[str, Quantization]:
        """The scale and zero point of each tensor that is held in int8, the input's among them.

        The outputs of softmax are left out: they are computed in float from the logits. What only
        moves values keeps its source's parameters.
        """
        chosen = {name: Quantization.covering(*bounds) for name, bounds in self.ranges.items()}
        normalize = graph.operators[0]
        shift = exact_shift(normalize) if isinstance(normalize, Affine) else None
        chosen[INPUT] = PIXELS
        if shift is not None:
            chosen[normalize.output] = Quantization(1.0, shift)
        for operator in graph.operators:
            if (
                isinstance(operator, Activation)
                and operator.function == "sigmoid"
                and operator.output in chosen
            ):
                chosen[operator.output] = SIGMOID
            if isinstance(operator, Pad | Reshape) and operator.inputs[0] in chosen:
                chosen[operator.output] = chosen[operator.inputs[0]]
            if isinstance(operator, GlobalAverage) and operator.output in chosen:
                chosen[operator.output] = _coarsened(
                    chosen[operator.output], chosen[operator.inputs[0]]
                )
        return chosen


def _coarsened(pooled: Quantization, source: Quantization) -> Quantization:
    """The parameters of a mean, no finer than the kernels that compute it take."""
    if pooled.scale * _FINEST_MEAN >= source.scale:
        return pooled
    scale = source.scale / _FINEST_MEAN
    return Quantization.covering(-pooled.zero_point * scale, (LEVELS - pooled.zero_point) * scale)


def exact_shift(normalize: Affine) -> int | None:
    """The zero point that subtracts the mean pixel: where that is one whole number for all."""
    mean = -normalize.offset
    if (
        np.all(normalize.scale == 1)
        and np.all(mean == mean[0])
        and float(mean[0]).is_integer()
        and 0 <= mean[0] <= 255
    ):
        return int(mean[0])
    return None
