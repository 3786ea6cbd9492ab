"""The graph as it grows while a Keras model is followed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from converters.graph import (
    FEATURES,
    INPUT,
    LOGITS,
    PROBABILITIES,
    VALUES,
    Operator,
    Shape,
)

TOLD = "preprocess"
"""The operator of a preprocessing that the user told."""


class Trace:
    """The operators so far, and the shapes of their tensors; whether the model's size is `open`."""

    def __init__(self, input_shape: Shape, open: bool = False) -> None:
        self.open = open
        self.operators: list[Operator] = []
        self.shapes: dict[str, Shape] = {INPUT: input_shape}
        # The operators that prepare pixels, where they come first.
        self.preparing: set[str] = set()
        self._taken = {INPUT, LOGITS, PROBABILITIES, VALUES, FEATURES, TOLD}

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


Handler = Callable[[Trace, Any, list[str], str], str]
"""Emits what a layer, or a node of an operation, does to these inputs; the name is free for it."""
