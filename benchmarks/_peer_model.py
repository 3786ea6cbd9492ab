"""A Keras model as the peers get it: frozen, ending in logits, with or without preprocessing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgenet.errors import UnsupportedModelError
from edgenet.images import Pixels

Floats = NDArray[np.float32]

_PREPROCESSING = ("Rescaling", "Normalization")


@dataclass(frozen=True)
class Affine:
    """The preprocessing taken off: pixel * scale + offset, a number a channel each."""

    scale: tuple[float, ...]
    offset: tuple[float, ...]

    def normalize(self, images: Pixels) -> Floats:
        """What the peers take, N×H×W×3 float32, of uint8 pixels."""
        scale, offset = np.asarray(self.scale, np.float32), np.asarray(self.offset, np.float32)
        return images.astype(np.float32) * scale + offset


@dataclass(frozen=True)
class Body:
    """What is left: a Keras `model`, and as a `function` of TensorFlow of fixed shape, frozen."""

    model: Any
    function: Any
    affine: Affine


def take_apart(model: Any, size: tuple[int, int], stripped: bool) -> Body:
    """Takes the softmax off and freezes the rest for batches of one image.

    Args:
        model: It is left without its softmax.
        size: Height and width in pixels.
        stripped: Take the preprocessing off too, where it is among the model's own first layers;
            else the peers take pixels as floats.

    Raises:
        UnsupportedModelError: The last layer has no activation to take off.
    """
    import keras

    last = model.layers[-1]
    if not hasattr(last, "activation"):
        raise UnsupportedModelError(
            f"the last layer is a {type(last).__name__}: the peers need a Dense one to compare with"
        )
    last.activation = keras.activations.linear
    leading = [layer for layer in model.layers if type(layer).__name__ in _PREPROCESSING]
    if not (stripped and leading):
        return Body(model, _frozen(model, size), Affine((1.0,) * 3, (0.0,) * 3))
    border = leading[-1].output
    affine = _affine(keras.Model(model.inputs[0], border), size)
    rest = keras.Model(border, model.outputs[0])
    return Body(rest, _frozen(rest, size), affine)


def _affine(preprocessing: Any, size: tuple[int, int]) -> Affine:
    """Read off the answers to black and to white, as the layers are affine in each channel."""
    black, white = (
        np.asarray(preprocessing(np.full((1, *size, 3), value, np.float32)))[0, 0, 0]
        for value in (0, 255)
    )
    return Affine(tuple(((white - black) / 255).tolist()), tuple(black.tolist()))


def _frozen(model: Any, size: tuple[int, int]) -> Any:
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    function = tf.function(lambda x: model(x, training=False))
    spec = tf.TensorSpec((1, *size, 3), tf.float32)
    return convert_variables_to_constants_v2(function.get_concrete_function(spec))
