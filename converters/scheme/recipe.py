"""The recipe: what is held in how many bits, and over which range; plain JSON, to keep and replay.

::

    {"activations": {"bits": 8, "granularity": "tensor", "rule": "by-role"},
     "float_operators": ["top_conv"],
     "float_operators_in": {"openvino": []},
     "ranges": {"stem_conv": [-8.0, 31.5]},
     "rewrites": {"silu": {"stem_activation": [1.0, 2.5, 1.9]}},
     "weights": {"bias_correction": true, "bits": 8, "granularity": "channel",
                 "rounding": "nearest", "symmetric": true}}
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from converters.graph import (
    INPUT,
    PROBABILITIES,
    Activation,
    Affine,
    Capped,
    GlobalAverage,
    Graph,
    Moving,
    Operator,
    Reshape,
)
from converters.scheme.document import WEIGHTS, Range, Rewrites, fields_of
from converters.scheme.parameters import PIXELS, Quantization, sigmoid_like
from edgenet.errors import UsageError

# ONNX Runtime refuses to average (QLinearGlobalAveragePool) where the input's step divided by the
# number of pixels is 256 times the output's or more, as with maps that are always zero.
_FINEST_MEAN = 200
LOUD, QUIET, SORTED = "/loud", "/quiet", "/sorted"
"""How the names of tensors end that hold half of another's channels, or all in another order."""
# Images have values beyond all that calibration saw, and two bits of 16 can be spent on them: where
# the extremes were clipped, the tiny networks of the tests lost 7 to 12 dB of 32.
_ROOM = 4.0


@dataclass(frozen=True)
class Recipe:
    """One decision for all formats: [low, high] by the name of the tensor; `rule` chose them.

    `rounding` names how the weights were brought to their levels. `float_operators` are those that
    compute in float, by name; a format that rounds fewer tensors may need others, which
    `float_operators_in` then names by format. `activation_bits` are 8 or 16, or 32 where all
    activations stay in float and only the weights have levels. `rewrites` are what was done to the
    float network before, without changing its answers; what is wholly in float goes without.
    `corrected` says that biases make up for int8's shifts. Read from a manifest, it knows the
    `source` that it was made for, as that describes it.
    """

    rule: str
    ranges: Mapping[str, Range]
    rounding: str = "nearest"
    float_operators: frozenset[str] = frozenset()
    float_operators_in: Mapping[str, frozenset[str]] = field(default_factory=dict)
    activation_bits: int = 8
    rewrites: Rewrites = field(default_factory=dict)
    corrected: bool = False
    source: Any = field(default=None, compare=False)

    def to_json(self) -> dict[str, Any]:
        """As the manifest stores it."""
        document: dict[str, Any] = {
            "activations": {
                "bits": self.activation_bits,
                "granularity": "tensor",
                "rule": self.rule,
            },
            "weights": {**WEIGHTS, "bias_correction": self.corrected, "rounding": self.rounding},
            "ranges": {name: list(self.ranges[name]) for name in sorted(self.ranges)},
        }
        if self.float_operators:
            document["float_operators"] = sorted(self.float_operators)
        if self.float_operators_in:
            document["float_operators_in"] = {
                format: sorted(names) for format, names in sorted(self.float_operators_in.items())
            }
        if self.rewrites:
            document["rewrites"] = {
                name: {tensor: list(values) for tensor, values in sorted(made.items())}
                for name, made in sorted(self.rewrites.items())
            }
        return document

    @classmethod
    def from_json(cls, document: Any) -> Recipe:
        """Reads what `to_json` wrote.

        Raises:
            UsageError: A key is missing or unknown, or its value is not one that a recipe has; the
                message names the key.
        """
        return cls(**fields_of(document))

    def of(self, format: str) -> Recipe:
        """What a format lowers: one list of float operators, its own."""
        names = self.float_operators_in.get(format, self.float_operators)
        return replace(self, float_operators=names, float_operators_in={})

    def with_float(self, names: Mapping[str, frozenset[str]]) -> Recipe:
        """The same with float operators by format; those of the first are all others', too."""
        common = next(iter(names.values()))
        others = {format: own for format, own in names.items() if own != common}
        return replace(self, float_operators=common, float_operators_in=others)

    def for_precision(self, precision: str) -> Recipe:
        """The same decision in "int8", "int8-mixed", "w8a16", "w8" or "dynamic".

        In 16 bits there is room to spare, and the ranges are widened by it.
        """
        if precision == "w8a16":
            wider = {n: (low * _ROOM, high * _ROOM) for n, (low, high) in self.ranges.items()}
            return replace(self, activation_bits=16, ranges=wider)
        fixed = UNCALIBRATED.get(precision)
        return self if fixed is None else replace(fixed, rounding=self.rounding)

    def require_operators(self, graph: Graph) -> None:
        """Refuses a recipe that was made for another network.

        Raises:
            UsageError: It names an operator or a tensor that `graph` does not have, or has ranges
                and lacks one.
        """
        known = {operator.name for operator in graph.operators}
        floats = self.float_operators.union(*self.float_operators_in.values())
        unknown = sorted(floats - known) or sorted(set(self.ranges) - {*graph.shapes})
        if unknown:
            raise of_another_network(f"this one has no {unknown[0]!r}")
        missing = sorted({*graph.shapes} - {INPUT, PROBABILITIES, *self.ranges})
        if self.ranges and missing:
            raise of_another_network(f"it has no range of {missing[0]!r}")

    def quantizations(self, graph: Graph) -> dict[str, Quantization]:
        """The scale and zero point of each tensor that has levels, the input's among them.

        The probabilities are left out: they are computed in float from the logits. What only
        moves values has its source's parameters. A tensor that a float operator makes has some
        too, for the integer operators that read it. Without ranges nothing has levels.
        """
        if not self.ranges:
            return {}
        bits = self.activation_bits
        ranges = _with_derived(self.ranges, graph)
        chosen = {name: Quantization.covering(*ends, bits) for name, ends in ranges.items()}
        normalize = graph.operators[0]
        shift = exact_shift(normalize) if isinstance(normalize, Affine) else None
        chosen[INPUT] = PIXELS
        if shift is not None and bits == 8:
            chosen[normalize.output] = Quantization(1.0, shift)
        for operator in graph.operators:
            source, made = operator.inputs[0], operator.output
            if isinstance(operator, Moving) and source in chosen:
                chosen[made] = chosen[source]
            elif isinstance(operator, Reshape) and made in chosen:
                # As where a convolution makes groups of pixels, which have no range of their own.
                chosen[source] = chosen[made]
            elif made in chosen:
                chosen[made] = _adapted(operator, chosen, ranges)
        return chosen


def _with_derived(ranges: Mapping[str, Range], graph: Graph) -> Mapping[str, Range]:
    """The ranges, and those of channels that have that of the whole, whose values they are."""
    derived = dict(ranges)
    for name in graph.shapes:
        whole, _, part = name.rpartition("/")
        if name not in ranges and f"/{part}" in (LOUD, QUIET, SORTED) and whole in ranges:
            derived[name] = ranges[whole]
    return derived


def of_another_network(reason: str) -> UsageError:
    """The refusal of a recipe that was made for another network, which `reason` shows."""
    return UsageError(
        f"the recipe is of another network: {reason}; convert without it to make a new one"
    )


def read_recipe(path: str | os.PathLike[str]) -> Recipe:
    """The recipe in a file: as a manifest holds it, or a whole manifest.

    Raises:
        UsageError: There is no such file, or it holds no recipe.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"cannot read the recipe {os.fspath(path)}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{os.fspath(path)} is not JSON, so no recipe: {error}") from error
    if not isinstance(document, Mapping) or "recipe" not in document:
        return Recipe.from_json(document)
    precision = document.get("precision")
    if document["recipe"] is None and precision is not None:
        raise UsageError(
            f"{os.fspath(path)} holds no recipe: its bundle is {precision}, and nothing in it was "
            f"decided; --precision {precision} makes it, without --recipe"
        )
    return replace(Recipe.from_json(document["recipe"]), source=document.get("source"))


INT8 = ("int8", "int8-mixed")
"""The precisions whose convolutions compute in int8: all of them, or all but some left in float."""
CALIBRATED = (*INT8, "w8a16")
"""The precisions that hold activations in levels, by ranges that images set."""
# The precisions that need no ranges from images: w8 rounds only the weights, and dynamic rounds
# activations as the file runs, by the extremes of each image.
UNCALIBRATED: Mapping[str, Recipe] = {
    "w8": Recipe("none", {}, activation_bits=32),
    "dynamic": Recipe("at run time", {}),
}


def _adapted(
    operator: Operator, chosen: Mapping[str, Quantization], ranges: Mapping[str, Range]
) -> Quantization:
    """The parameters chosen for what an operator makes, or those that the operator itself sets."""
    own = chosen[operator.output]
    if isinstance(operator, Capped):
        low, high = ranges[operator.output]
        return Quantization.covering(low, min(high, operator.most), own.bits)
    if _is_bounded(operator, own.bits):
        return sigmoid_like(own)
    if isinstance(operator, GlobalAverage) and own.bits == 8:
        return _coarsened(own, chosen[operator.inputs[0]])
    return own


def _is_bounded(operator: Operator, bits: int) -> bool:
    """Whether TFLite's kernels fix the scale of the output."""
    bounded = ("sigmoid", "softmax") if bits == 8 else ("sigmoid", "softmax", "tanh")
    return isinstance(operator, Activation) and operator.function in bounded


def _coarsened(pooled: Quantization, source: Quantization) -> Quantization:
    """The parameters of a mean, no finer than the kernels that compute it take."""
    if pooled.scale * _FINEST_MEAN >= source.scale:
        return pooled
    scale = source.scale / _FINEST_MEAN
    ends = (-pooled.zero_point * scale, (pooled.levels - pooled.zero_point) * scale)
    return Quantization.covering(*ends)


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
