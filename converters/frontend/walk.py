"""Following a Keras model, nested models too, operation by operation."""

from __future__ import annotations

from typing import Any

from converters.frontend.layers import LAYERS, passes_on
from converters.frontend.operations import OPERATIONS
from converters.frontend.supported import SUPPORTED, origin
from converters.graph import (
    FEATURES,
    INPUT,
    LOGITS,
    PROBABILITIES,
    Operator,
    Shape,
)
from edgenet.errors import UnsupportedModelError

TOLD = "preprocess"
"""The operator of a preprocessing that the user told."""


class Walk:
    """Collects operators while it follows the layers of a model."""

    def __init__(self, input_shape: Shape) -> None:
        self.operators: list[Operator] = []
        self.shapes: dict[str, Shape] = {INPUT: input_shape}
        # The operators that prepare pixels, where they come first.
        self.preparing: set[str] = set()
        self._taken = {INPUT, LOGITS, PROBABILITIES, FEATURES, TOLD}

    def unique(self, name: str) -> str:
        """The name, or with a number where it is taken (shared layers, nested models)."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate

    def emit(self, operator: Operator) -> str:
        """Appends an operator and returns the name of its output."""
        self.operators.append(operator)
        self.shapes[operator.output] = operator.shape(
            tuple(self.shapes[name] for name in operator.inputs)
        )
        return operator.output

    def model(self, model: Any, arguments: list[str]) -> list[str]:
        """Follows a model applied to tensors; returns the names of its outputs."""
        functional = layer_graph(model)
        assert functional is not None
        names = {
            id(tensor): name for tensor, name in zip(functional.inputs, arguments, strict=True)
        }
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for node in functional._nodes_by_depth[depth]:
                if not node.is_input:
                    inputs = [names[id(tensor)] for tensor in node.input_tensors]
                    outputs = self.operation(node, inputs)
                    names.update((id(t), n) for t, n in zip(node.outputs, outputs, strict=True))
        return [names[id(tensor)] for tensor in functional.outputs]

    def operation(self, node: Any, inputs: list[str]) -> list[str]:
        """Emits what a layer or operation does; returns the names of its outputs."""
        operation = node.operation
        if passes_on(operation):
            return inputs
        if layer_graph(operation) is not None:
            return self.model(operation, inputs)
        own, kind = origin(operation), type(operation).__name__
        if own == "layers" and kind in LAYERS:
            return [LAYERS[kind](self, operation, inputs, self.unique(operation.name))]
        if own == "ops" and kind in OPERATIONS:
            return [OPERATIONS[kind](self, node, inputs, self.unique(operation.name))]
        raise UnsupportedModelError(
            f"layer {operation.name!r} ({kind}) is outside the family; {SUPPORTED}"
        )


def layer_graph(model: Any) -> Any | None:
    """The functional model that a model is, or that a Sequential one holds; None of a layer."""
    functional = getattr(model, "_functional", None) or model
    return functional if hasattr(functional, "_nodes_by_depth") else None
