"""Following a Keras model, nested models too, operation by operation."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.frontend.layers import LAYERS, MOVING_LAYERS, passes_on
from converters.frontend.operations import MOVING_OPERATIONS, OPERATIONS
from converters.frontend.supported import SUPPORTED, origin, outside, taking
from converters.frontend.trace import Trace
from edgenet.errors import UnsupportedModelError


class Walk(Trace):
    """Follows the layers of a model."""

    def model(self, model: Any, arguments: list[str]) -> list[str]:
        """Follows a model applied to tensors; returns the names of its outputs."""
        functional = layer_graph(model)
        assert functional is not None
        names = {
            id(tensor): name for tensor, name in zip(functional.inputs, arguments, strict=True)
        }
        for node in calls(functional):
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
        if getattr(operation, "data_format", None) == "channels_first":
            raise UnsupportedModelError(
                f"layer {operation.name!r} ({kind}) takes maps channels first: build the model "
                f"again with data_format='channels_last', and give it these weights; {SUPPORTED}"
            )
        if own == "layers" and kind in LAYERS:
            return [LAYERS[kind](self, operation, inputs, self.unique(operation.name))]
        if own == "ops" and kind in OPERATIONS:
            return [OPERATIONS[kind](self, node, inputs, self.unique(operation.name))]
        raise UnsupportedModelError(outside(operation))


def moves(node: Any) -> bool:
    """Whether a call leaves the values of its one tensor as they are, in whatever shape."""
    operation = node.operation
    own, kind = origin(operation), type(operation).__name__
    if own is None:
        return False
    moving = MOVING_LAYERS if own == "layers" else MOVING_OPERATIONS
    of_one = kind == "Concatenate" and len(node.input_tensors) == 1
    return of_one or kind in moving or passes_on(operation)


def resized_to(model: Any) -> tuple[int, int] | None:
    """The height and width that a model brings its images to, behind augmentation alone if any.

    Raises:
        UnsupportedModelError: It does so otherwise than photos are resized for it.
    """
    first: Any = next((step for step in _steps(model) if not passes_on(step)), None)
    if origin(first) != "layers" or type(first).__name__ != "Resizing":
        return None
    _require_plain(first, model.inputs[0].shape[-1])
    return first.height, first.width


def _steps(model: Any) -> Iterator[Any]:
    """What an image goes through one by one, of nested models too; where it parts, that model."""
    functional = layer_graph(model)
    if functional is None:
        yield model
        return
    image = functional.inputs[0]
    while True:
        readers = [n for n in calls(functional) if any(t is image for t in n.input_tensors)]
        ends = any(t is image for t in functional.outputs)
        if len(functional.inputs) != 1 or len(readers) + ends != 1:
            yield functional
            return
        if ends:
            return
        yield from _steps(readers[0].operation)
        image = readers[0].outputs[0]


def _require_plain(resizing: Any, channels: int) -> None:
    asked = {
        "interpolation": resizing.interpolation != "bilinear" and resizing.interpolation,
        "antialias": resizing.antialias,
        "crop_to_aspect_ratio": resizing.crop_to_aspect_ratio,
        "pad_to_aspect_ratio": resizing.pad_to_aspect_ratio,
    }
    told = ", ".join(f"{option}={value!r}" for option, value in asked.items() if value)
    if told:
        raise UnsupportedModelError(
            f"layer {resizing.name!r} resizes with {told}, which photos would not be: save "
            f"{taking(resizing.height, resizing.width, channels)}, and say by --interpolation and "
            "--crop-fraction how edgenet is to resize them"
        )


def calls(functional: Any) -> Iterator[Any]:
    """The calls of its layers and operations that a functional model makes, in order."""
    for depth in sorted(functional._nodes_by_depth, reverse=True):
        yield from functional._nodes_by_depth[depth]


def layer_graph(model: Any) -> Any | None:
    """The functional model that a model is, or that a Sequential one holds; None of a layer."""
    functional = getattr(model, "_functional", None) or model
    return functional if hasattr(functional, "_nodes_by_depth") else None


def output_names(model: Any) -> tuple[str, ...]:
    """What the outputs of a model are called: by their keys, else as the layers that make them."""
    import keras

    functional = layer_graph(model)
    if functional is None:
        return ()
    paths = [path for path, _ in keras.tree.flatten_with_path(functional.output)]
    keys = ["/".join(key for key in path if isinstance(key, str)) for path in paths]
    return tuple(key or name for key, name in zip(keys, functional.output_names, strict=True))
