"""What a network ends in: the logits and probabilities of classes, or a regression's values.

A classifier's graph ends in a softmax or sigmoid of its logits, whatever reshapes them in Keras:
one of linear values gets a softmax, and a single sigmoid becomes a softmax of two classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from converters.frontend.layers import TO_PROBABILITIES
from converters.frontend.supported import SUPPORTED
from converters.frontend.trace import Trace
from converters.graph import (
    FEATURES,
    LOGITS,
    PROBABILITIES,
    VALUES,
    Activation,
    Add,
    Affine,
    Dense,
    GlobalPool,
    Graph,
    Multiply,
    Operator,
    Reshape,
    Shape,
)
from converters.segments import segments
from edgenet.bundle import REGRESSION
from edgenet.errors import UnsupportedModelError

ADDED = "probabilities"
"""The operator that makes probabilities of a model's linear values."""
WITH_SIGMOID = 'keras.Sequential([model, keras.layers.Activation("sigmoid")]).save("m.keras")'
"""What has a model end in a sigmoid, in Python."""


def require_vector(shape: Shape) -> None:
    """Refuses a model whose output has another shape than (batch, classes) or (batch, values).

    Raises:
        UnsupportedModelError: It has.
    """
    if len(shape) != 2:
        raise UnsupportedModelError(
            f"the model ends in a tensor {shape[1:]}, not in a vector of classes; {SUPPORTED}"
        )


def values(trace: Trace, used: Sequence[Operator], output: str) -> tuple[list[Operator], str]:
    """The operators of a regression as they are, and the name of its output.

    Args:
        trace: Which has the names that are taken, and the shapes.
        used: The operators that make the output.
        output: The tensor that the model ends in.

    Raises:
        UnsupportedModelError: It ends in a softmax.
    """
    last = _activated_last(trace, list(used), output)[-1]
    if isinstance(last, Activation) and last.function == "softmax":
        raise UnsupportedModelError(
            f"layer {last.name!r} is a softmax, which makes probabilities of classes and no "
            f"values: leave --task {REGRESSION} off"
        )
    return list(used), output


def classes(trace: Trace, used: Sequence[Operator], output: str) -> tuple[list[Operator], str, str]:
    """The operators of a classifier, ending in a softmax or sigmoid, and the names of both outputs.

    Args:
        trace: Which has the names that are taken, and the shapes.
        used: The operators that make the output.
        output: The tensor that the model ends in.

    Raises:
        UnsupportedModelError: It ends in a softmax of one class, in one value without a sigmoid, or
            in probabilities that have no logits.
    """
    operators = _activated_last(trace, list(used), output)
    last, shape = operators[-1], trace.shapes[output]
    if isinstance(last, Activation) and last.function in TO_PROBABILITIES:
        if shape[1] == 1:
            return _two_classes(trace, operators, last)
        return operators, last.inputs[0], output
    _require_logits(operators, output)
    if shape[1] == 1:
        raise UnsupportedModelError(
            f"the model ends in one {function_of(last)} value: add --task {REGRESSION} where that "
            "is what it was trained to tell; where it is positive for the second of two classes, "
            f"convert what {WITH_SIGMOID} writes"
        )
    operators.append(Activation(ADDED, (output,), trace.unique(ADDED), "softmax"))
    return operators, output, operators[-1].output


def _require_logits(operators: Sequence[Operator], output: str) -> None:
    """Refuses a model that ends in probabilities of no one softmax or sigmoid: it has no logits."""
    producers = {operator.output: operator for operator in operators}
    last = producers[output]
    if _is_hard_sigmoid(last, producers):
        raise UnsupportedModelError(
            f"the model ends in a hard sigmoid (layer {last.name!r}), whose values are no logits: "
            f"end in a sigmoid, or add --task {REGRESSION}, which hands them out as they are"
        )
    if _are_probabilities(output, producers):
        raise UnsupportedModelError(
            f"the model ends in probabilities already mixed (layer {last.name!r}): average the "
            f"logits instead, ahead of one softmax or sigmoid, or add --task {REGRESSION}, which "
            "hands them out as they are"
        )


def _are_probabilities(tensor: str, producers: Mapping[str, Operator]) -> bool:
    """Whether a tensor is of softmaxes and sigmoids alone, summed, scaled or multiplied."""
    operator = producers.get(tensor)
    if isinstance(operator, Activation):
        return operator.function in TO_PROBABILITIES
    if isinstance(operator, Add | Multiply | Affine | Reshape):
        hard = _is_hard_sigmoid(operator, producers)
        return hard or all(_are_probabilities(each, producers) for each in operator.inputs)
    return False


def _is_hard_sigmoid(operator: Operator, producers: Mapping[str, Operator]) -> bool:
    """Whether it is the last of the operators of a hard sigmoid: a ReLU6 brought to 0..1."""
    if not isinstance(operator, Affine) or operator.offset.any():
        return False
    clipped = producers.get(operator.inputs[0])
    of_six = isinstance(clipped, Activation) and clipped.function == "relu6"
    return of_six and bool(np.allclose(operator.scale, 1 / 6))


def function_of(operator: Operator) -> str:
    """The activation that an operator ends in."""
    return str(getattr(operator, "function", "linear"))


def _activated_last(trace: Trace, operators: list[Operator], output: str) -> list[Operator]:
    """The operators with a last softmax or sigmoid moved behind the reshapes that follow it.

    So it takes the logits in the shape in which they are handed out.
    """
    position = len(operators) - 1
    while position > 0 and isinstance(operators[position], Reshape):
        position -= 1
    activation, reshapes = operators[position], operators[position + 1 :]
    if not (isinstance(activation, Activation) and activation.function in TO_PROBABILITIES):
        return operators
    source = activation.inputs[0]
    moved = []
    for reshape in reshapes:
        name = trace.unique(f"{reshape.name}_logits")
        moved.append(replace(reshape, inputs=(source,), output=name))
        source = name
    last = replace(activation, inputs=(source,), output=output)
    return [*operators[:position], *moved, last]


def _two_classes(
    trace: Trace, operators: list[Operator], last: Activation
) -> tuple[list[Operator], str, str]:
    """One sigmoid as two classes: softmax([0, z]) = [1 - sigmoid(z), sigmoid(z)]."""
    if last.function == "softmax":
        raise UnsupportedModelError(
            f"layer {last.name!r} is a softmax of one class, which is always 1: end in a sigmoid"
        )
    *others, dense, _ = operators
    if not (isinstance(dense, Dense) and dense.function == "linear"):
        others = [*others, dense]
        name = trace.unique(f"{last.name}_classes")
        one = np.ones((1, 1), np.float32)
        dense = Dense(name, last.inputs, name, one, np.zeros(1, np.float32), "linear")
    two = replace(
        dense,
        weights=np.hstack([np.zeros_like(dense.weights), dense.weights]),
        bias=np.hstack([np.zeros_like(dense.bias), dense.bias]),
    )
    softmax = replace(last, inputs=(two.output,), function="softmax")
    return [*others, two, softmax], two.output, softmax.output


def with_named_outputs(graph: Graph) -> Graph:
    """The graph with its outputs under their public names, the pooled features among them."""
    public = (LOGITS, PROBABILITIES) if len(graph.outputs) > 1 else (VALUES,)
    names = dict(zip(graph.outputs, public, strict=True))
    # Behind the pooled features nothing else is alive; beside a squeeze's vector its map is.
    cuts = {segment.result for segment in segments(graph)}
    pools = (op for op in graph.operators if isinstance(op, GlobalPool) and not op.keep)
    pooled = [pool.output for pool in pools if pool.output in cuts]
    if pooled and pooled[-1] == graph.answer:
        graph = _handed_out_twice(graph, pooled[-1])
        names[FEATURES] = FEATURES
    elif pooled:
        names[pooled[-1]] = FEATURES
    return graph.renamed(names, outputs=tuple(names.values()))


def _handed_out_twice(graph: Graph, pooled: str) -> Graph:
    """Features that are the answer themselves, as the answer and under their own name."""
    pool = graph.producers[pooled]
    copy = Reshape(f"{pool.name}/copy", (FEATURES,), pooled, graph.shapes[pooled][1:])
    place = graph.operators.index(pool)
    return graph.with_operators(
        [
            *graph.operators[:place],
            replace(pool, output=FEATURES),
            copy,
            *graph.operators[place + 1 :],
        ]
    )
