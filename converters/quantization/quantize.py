"""The quantization of a graph: one decision, made once, that every format lowers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from converters.graph import Graph, Linear
from converters.quantization.calibrate import Observations
from converters.quantization.moments import Moments
from converters.quantization.ranges import DEFAULT_RULE, choose
from converters.quantization.recipe import Recipe
from converters.quantization.rounding import round_weights
from edgenet.errors import UsageError

Rounding = Callable[[Linear, Moments], Linear]
ROUNDINGS: Mapping[str, Rounding] = {
    "least-squares": round_weights,
    "nearest": lambda operator, moments: operator,
}
DEFAULT_ROUNDING = "least-squares"


@dataclass(frozen=True, eq=False)
class Quantized:
    """A graph whose weights are ready for int8, and the recipe for its activations."""

    graph: Graph
    recipe: Recipe


def require_rounding(name: str) -> None:
    """Refuses what is no name of `ROUNDINGS`.

    Raises:
        UsageError: There is no rounding of that name.
    """
    if name not in ROUNDINGS:
        raise UsageError(f"no rounding is called {name!r}: take one of {', '.join(ROUNDINGS)}")


def quantize(
    graph: Graph,
    observations: Observations,
    rule: str = DEFAULT_RULE,
    rounding: str = DEFAULT_ROUNDING,
) -> Quantized:
    """Chooses ranges and rounds weights.

    Args:
        graph: The frozen graph.
        observations: Of the calibration images.
        rule: A name of `converters.quantization.ranges.RULES`.
        rounding: A name of `ROUNDINGS`.

    Raises:
        UsageError: There is no rule or rounding of that name.
    """
    require_rounding(rounding)
    recipe = choose(graph, observations.tensors, rule)
    operators = [
        ROUNDINGS[rounding](operator, observations.inputs[operator.name])
        if isinstance(operator, Linear)
        else operator
        for operator in graph.operators
    ]
    return Quantized(graph.with_operators(operators), replace(recipe, rounding=rounding))
