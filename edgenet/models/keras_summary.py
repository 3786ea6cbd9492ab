"""The stage table of a Keras model of the family: V1, V2 or Lite, bare or inside a wrapper.

Layers are grouped by the names that `keras.applications` gives them, which every training script
keeps; shapes come from following one fixed-size input through the graph, wrappers included.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

import keras

from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.models.summary import OPERATORS, ModelSummary, Shape, StageRow

_BLOCK = re.compile(r"block(\d+)([a-z])_")
_HEAD = ("top_conv", "top_bn", "top_activation")
_DEFAULT_SIZE = 224


@dataclass(frozen=True)
class _Call:
    """One layer at its place in the graph; shapes without the batch.

    `again` tells that the layer was called before, with the same weights.
    """

    layer: Any
    stage: str
    input_shape: Shape
    output_shape: Shape
    again: bool

    @property
    def parameters(self) -> int:
        """What this call adds to the model."""
        return self.layer.count_params() if self.layer.weights and not self.again else 0

    @property
    def block(self) -> str:
        match = _BLOCK.match(self.layer.name)
        return match[2] if match else ""

    @property
    def macs(self) -> int:
        """Every kernel, dense or convolution's, is used once at each output position."""
        kernel = getattr(self.layer, "kernel", None)
        return 0 if kernel is None else math.prod(kernel.shape) * math.prod(self.output_shape[:-1])


def summarize_model(model: keras.Model, *, input_size: int | None = None) -> ModelSummary:
    """Reads the stage table off a loaded model.

    Args:
        model: A functional or Sequential model, which may hold others.
        input_size: Height and width in pixels, for a model that leaves its own open; None takes
            the model's, or else 224.

    Raises:
        UnsupportedModelError: The model is not of the family, or not a graph of layers.
        UsageError: The model has another, fixed input size.
    """
    shape = _input_shape(model, input_size)
    calls = _staged(_trace(model, shape))
    found = {call.stage for call in calls}
    if not {"stem", "1", "head"} <= found:
        raise UnsupportedModelError(
            f"{model.name} is not of the EfficientNet family (no layer stem_conv, block1a_… or "
            "top_conv): EfficientNet B0-B7, Lite and V2 of keras.applications are"
        )
    rows = tuple(_row(list(group)) for _, group in groupby(calls, key=attrgetter("stage")))
    return ModelSummary(model.name, rows)


def _input_shape(model: keras.Model, size: int | None) -> Shape:
    inputs: Any = getattr(model, "inputs", None) or ()
    if len(inputs) != 1 or len(inputs[0].shape) != 4:
        raise UnsupportedModelError(
            f"{model.name} does not take one batch of images: "
            "give a functional or Sequential model built on one Input(shape=(height, width, 3))"
        )
    _, height, width, channels = inputs[0].shape
    if size and (height or size, width or size) != (size, size):
        raise UsageError(f"{model.name} takes {height}×{width} px only: leave --input-size off")
    return (height or size or _DEFAULT_SIZE, width or size or _DEFAULT_SIZE, channels)


def _trace(model: keras.Model, shape: Shape) -> list[tuple[Any, Shape, Shape]]:
    """Follows one input of this shape through the graph: what each layer gets and gives."""
    calls: list[tuple[Any, Shape, Shape]] = []

    def following(operation: Any) -> Callable[..., Any]:
        def apply(*args: Any, **kwargs: Any) -> Any:
            if isinstance(operation, keras.Model):
                return run(operation, args[0])
            outputs = operation.compute_output_spec(*args, **kwargs)
            calls.append((operation, _shape(args[0]), _shape(outputs)))
            return outputs

        return apply

    def run(nested: keras.Model, inputs: Any) -> Any:
        if isinstance(nested, keras.Sequential):
            for layer in nested.layers:
                inputs = following(layer)(inputs)
            return inputs
        if not hasattr(nested, "_run_through_graph"):
            raise UnsupportedModelError(
                f"{nested.name} is a subclass of Model: rebuild it as a functional model"
            )
        # The one way that Keras has to run a graph's operations other than by calling them.
        return nested._run_through_graph(inputs, operation_fn=following)

    run(model, keras.KerasTensor((1, *shape)))
    return calls


def _shape(tensor: Any) -> Shape:
    first = tensor[0] if isinstance(tensor, (list, tuple)) else tensor
    return tuple(first.shape[1:])


def _staged(traced: list[tuple[Any, Shape, Shape]]) -> list[_Call]:
    """Names each layer's stage: by its own name, or by what it comes before or after."""
    calls: list[_Call] = []
    stage, known = "input", set[int]()
    for layer, inputs, outputs in traced:
        stage = _stage(layer, stage)
        calls.append(_Call(layer, stage, inputs, outputs, again=id(layer) in known))
        known.add(id(layer))
    return calls


def _stage(layer: Any, previous: str) -> str:
    block = _BLOCK.match(layer.name)
    if block:
        return block[1]
    if layer.name.startswith("stem_"):
        return "stem"
    if layer.name in _HEAD:
        return "head"
    if previous == "head" and type(layer).__name__.startswith("Global"):
        return "pool"
    return "classifier" if previous in ("head", "pool") else previous


def _row(calls: list[_Call]) -> StageRow:
    first = [call for call in calls if call.block == calls[0].block]
    expansion = _expansion(first)
    mobile = calls[0].stage.isdigit()
    se_layers = [call.layer for call in calls if call.layer.name.endswith("se_reduce")]
    return StageRow(
        calls[0].stage,
        _operator(first, expansion),
        calls[0].input_shape,
        calls[-1].output_shape,
        kernel=_largest(first, "kernel_size"),
        stride=_largest(first, "strides"),
        expansion=expansion if mobile else 0,
        se_widths=tuple(dict.fromkeys(layer.filters for layer in se_layers)),
        repeats=len({call.block for call in calls}),
        parameters=sum(call.parameters for call in calls),
        macs=sum(call.macs for call in calls),
    )


def _operator(calls: list[_Call], expansion: int) -> str:
    types = [type(call.layer).__name__ for call in calls]
    stage = calls[0].stage
    if stage.isdigit():
        return f"{'MBConv' if 'DepthwiseConv2D' in types else 'Fused-MBConv'}{expansion}"
    if stage == "classifier":
        kinds = [kind for kind in types if kind not in ("Dropout", "Activation")]
        return ", ".join(dict.fromkeys(kinds))
    return OPERATORS[stage]


def _expansion(calls: list[_Call]) -> int:
    ratios = [
        call.layer.filters // call.input_shape[-1]
        for call in calls
        if call.layer.name.endswith("expand_conv")
    ]
    return ratios[0] if ratios else 1


def _largest(calls: list[_Call], attribute: str) -> int:
    """Reads the stage's kernel or stride: SE and the pointwise convolutions have 1."""
    return max((getattr(call.layer, attribute, (0,))[0] for call in calls), default=0)
