"""What each arrangement (`converters.formats`) makes of a graph: operators, levels and logits."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from converters.formats import ARRANGEMENTS, EVERY_TENSOR
from converters.graph import INPUT, PROBABILITIES, Concatenate, Floats, Graph, Linear
from converters.quantization.lifting import unlifted
from converters.quantization.silu import merged
from converters.quantization.simulate import Image, logits, simulated
from converters.quantization.splitting import halved, restored, split_sites
from converters.scheme.parameters import Quantization
from converters.scheme.recipe import Recipe


def arranged(graph: Graph, arrangement: str, floats: Collection[str] = ()) -> Graph:
    """What formats of an arrangement lower of a graph with all rewrites.

    `floats` are the names of operators in float.
    """
    if arrangement == EVERY_TENSOR:
        return halved(unlifted(graph), floats)
    return merged(restored(graph, split_sites(graph)))


def held_tensors(graph: Graph, recipe: Recipe, arrangement: str) -> Mapping[str, Quantization]:
    """The quantized tensors of an arrangement; logits leave every format in float."""
    quantizations = recipe.quantizations(graph)
    integer = [op for op in graph.operators if op.name not in recipe.float_operators]
    read = [op for op in integer if arrangement == EVERY_TENSOR or isinstance(op, Linear)]
    names = {name for operator in read for name in operator.inputs}
    if arrangement == EVERY_TENSOR:
        names |= {operator.output for operator in integer}
    names -= {INPUT, PROBABILITIES} | graph.unrounded
    # What is joined is held as the whole is.
    names -= {name for op in integer if isinstance(op, Concatenate) for name in op.inputs}
    return {name: held for name, held in quantizations.items() if name in names}


def simulated_logits(graph: Graph, recipe: Recipe, format: str, images: Iterable[Image]) -> Floats:
    """The logits that an engine should compute, up to ties: (images, classes).

    Args:
        graph: What the format lowers: in its arrangement, for a batch of 1.
        recipe: Of the format.
        format: A key of `converters.formats.ARRANGEMENTS`.
        images: Batches of 1.
    """
    return logits(simulated(graph, held_tensors(graph, recipe, ARRANGEMENTS[format])), images)
