"""What an arrangement of `converters.formats` makes of a graph, and which tensors it rounds."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from converters.formats import EVERY_TENSOR, LINEAR_INPUTS
from converters.graph import INPUT, LOGITS, PROBABILITIES, Graph, Linear
from converters.quantization.lifting import unlifted
from converters.quantization.parameters import Quantization
from converters.quantization.recipe import Recipe
from converters.quantization.silu import merged

ARRANGED: Mapping[str, Callable[[Graph], Graph]] = {
    EVERY_TENSOR: unlifted,
    LINEAR_INPUTS: merged,
}
"""By arrangement, the graph that it lowers instead of one with all rewrites."""


def held_tensors(graph: Graph, recipe: Recipe, arrangement: str) -> Mapping[str, Quantization]:
    """What passes through levels in an arrangement, and how; logits leave every format in float."""
    quantizations = recipe.quantizations(graph)
    integer = [op for op in graph.operators if op.name not in recipe.float_operators]
    read = [op for op in integer if arrangement == EVERY_TENSOR or isinstance(op, Linear)]
    names = {name for operator in read for name in operator.inputs}
    if arrangement == EVERY_TENSOR:
        names |= {operator.output for operator in integer}
    return {n: q for n, q in quantizations.items() if n in names - {INPUT, LOGITS, PROBABILITIES}}
