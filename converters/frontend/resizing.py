"""Layers that bring images to another size, which edgenet does with photos before the network."""

from __future__ import annotations

from typing import Any

from converters.frontend.supported import SUPPORTED, taking
from converters.frontend.trace import Trace
from converters.graph import INPUT
from edgenet.errors import UnsupportedModelError


def resized(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    """Passes over a layer that leaves images at their size, and refuses one that changes it.

    Photos come in the size to which a model of open size brings them.

    Raises:
        UnsupportedModelError: It changes their size; the message says how else to get there.
    """
    _, height, width, channels = trace.shapes[inputs[0]]
    if (layer.height, layer.width) == (height, width):
        return inputs[0]
    told = f"layer {name!r} ({type(layer).__name__})"
    if (height, width, channels) != trace.shapes[INPUT][1:]:
        raise UnsupportedModelError(f"{told} is outside the family; {SUPPORTED}")
    size = layer.height, layer.width, channels
    way = taking(*size) if trace.open else _smaller((height, width, channels), size)
    raise UnsupportedModelError(
        f"{told} brings images of {height}×{width} to {layer.height}×{layer.width}, "
        f"{_beside_photos(layer, height, width)} {way}"
    )


def _beside_photos(layer: Any, height: int, width: int) -> str:
    """What edgenet does with photos in place of a layer's resizing or cropping, and how to ask."""
    kind = type(layer).__name__
    square = height == width and layer.height == layer.width
    if kind == "CenterCrop" and square and layer.height < height:
        return (
            f"as --crop-fraction {layer.height / height:g} does with square photos, where of "
            "others it takes a square that is not squashed: add that to the command, and save"
        )
    if kind == "Resizing" and _is_whole(layer, height, width):
        if layer.antialias and layer.interpolation in ("bilinear", "bicubic"):
            return (
                f"as edgenet does with photos by --interpolation {layer.interpolation}: add that "
                "to the command, and save"
            )
        if layer.interpolation == "bilinear":
            return "as edgenet does with photos: save"
    return (
        "otherwise than edgenet does with photos, so that the network gets other pixels than "
        "before: where that may be (--evaluate tells what it costs), save"
    )


def _is_whole(resizing: Any, height: int, width: int) -> bool:
    """Whether nothing is cut from an image or put around it."""
    keeps = resizing.crop_to_aspect_ratio or resizing.pad_to_aspect_ratio
    return not keeps or height * resizing.width == width * resizing.height


def _smaller(size: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    """What makes a model that takes images of the size that a layer of it brings them to.

    Models in the model have that size too, and would take no other: only their text can be changed.
    """
    old, new = (f"{str(numbers)[1:-1]}]" for numbers in (size, wanted))
    return (
        "what this makes: small = keras.models.model_from_json(model.to_json().replace("
        f"{old!r}, {new!r})); small.set_weights(model.get_weights())"
    )
