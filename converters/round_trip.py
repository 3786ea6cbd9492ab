"""Whether the file that Keras writes of a model answers as the model itself.

A file holds the names of functions and classes, not what they do: by a name that Keras has too,
its own is loaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgenet.errors import UsageError
from edgenet.models.keras_errors import quiet
from edgenet.models.wholemodel import load_file

_OWNERS = ("keras", "tf_keras", "tensorflow")
# Height and width of an image for a model that takes any.
_OPEN = 224
# Of the largest answer: a hundred times what sums in another order come to.
_ROUNDING = 1e-3


def require_alike(model: Any, path: Path) -> None:
    """Asks a model and its file about the same images, where the model has code of its own.

    Args:
        model: A `keras.Model`.
        path: The `.keras` file that it has been saved to.

    Raises:
        UsageError: They answer differently.
    """
    if all(map(_is_of_keras, _code(model))):
        return
    try:
        same = alike(model, load_file(path))
    except Exception:
        # What does not load, or takes no image, is refused with its reason where it is frozen.
        return
    if not same:
        raise UsageError(
            f"what Keras saves of the model {model.name} answers otherwise than the model itself: "
            "an activation or call of its own is not in the file. Of a call of its own, convert "
            "what i = keras.Input(shape); keras.Model(i, model.call(i)) makes; in place of a "
            "function that only has the name of one of Keras's put layers of Keras, as "
            "keras.layers.LeakyReLU(0.01)"
        )


def alike(model: Any, other: Any) -> bool:
    """Whether two models answer the same images alike, apart from rounding."""
    with quiet():
        return all(_alike(model, other, image) for image in _images(other))


def _code(model: Any) -> Iterator[Any]:
    """What computes in a model: its classes, activations, and calls put in place of a class's."""
    for layer in model._flatten_layers():
        yield type(layer)
        yield from (vars(layer)[name] for name in ("activation", "call") if name in vars(layer))


def _is_of_keras(code: Any) -> bool:
    return str(getattr(code, "__module__", "")).partition(".")[0] in _OWNERS


def _images(model: Any) -> Iterator[Any]:
    """One image of pixels up to 255 and one of pixels up to 1: the model takes either."""
    (image,) = model.inputs
    _, *sizes = (_OPEN if size is None else size for size in image.shape)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, *sizes))
    for most in (255, 1):
        yield (pixels * most / 255).astype(image.dtype)


def _alike(model: Any, other: Any, image: Any) -> bool:
    found, wanted = _answers(other, image), _answers(model, image)
    return found.shape == wanted.shape and np.allclose(
        found, wanted, rtol=0, atol=_ROUNDING * np.abs(wanted).max(), equal_nan=True
    )


def _answers(model: Any, image: Any) -> Any:
    """All outputs in a row."""
    import keras

    outputs = keras.tree.flatten(model(image, training=False))
    return np.concatenate([np.asarray(output, np.float32).ravel() for output in outputs])
