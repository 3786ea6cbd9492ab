"""What both ends of a network become where nothing may compute in float.

Pixels enter as levels, with one whole number for their zero; logits leave as levels, and what makes
probabilities of them is the session's.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from converters.graph import PROBABILITIES, Affine, Convolution, Graph, Operator
from converters.scheme.recipe import exact_shift
from edgenet.errors import UnsupportedModelError


def centred(graph: Graph) -> Graph:
    """Subtracts one whole number from all pixels, in place of the mean of each channel.

    What a channel's own mean differs by goes into the bias of the stem. That is exact except at the
    borders, where the zeros of the stem's padding stand for the common number. It saves an operator
    that would round the pixels again, and the quantizers around it.

    Raises:
        UnsupportedModelError: Something else than a convolution reads the normalized pixels.
    """
    normalize = graph.operators[0]
    if isinstance(normalize, Affine) and exact_shift(normalize) is not None:
        return graph
    stems = graph.consumers[normalize.output]
    dense = [s for s in stems if isinstance(s, Convolution) and not s.depthwise]
    if not isinstance(normalize, Affine) or len(dense) < len(stems):
        raise UnsupportedModelError(
            "an NPU takes pixels as they are, and this network's first convolution cannot take "
            "their normalization in: convert without --target"
        )
    mean = -normalize.offset.astype(np.float64)
    common = np.rint(mean.mean())
    rest = (common - mean).astype(np.float32)
    changed: dict[Operator, Operator] = {
        stem: stem.scaled(
            np.ones_like(stem.bias), np.einsum("hwio,i->o", stem.weights, rest).astype(np.float32)
        )
        for stem in dense
    }
    changed[normalize] = replace(normalize, offset=np.full_like(normalize.offset, -common))
    return graph.with_operators([changed.get(operator, operator) for operator in graph.operators])


def without_probabilities(graph: Graph) -> Graph:
    """The graph up to the logits."""
    operators = [op for op in graph.operators if op.output != PROBABILITIES]
    outputs = tuple(name for name in graph.outputs if name != PROBABILITIES)
    return replace(graph, operators=tuple(operators), outputs=outputs)
