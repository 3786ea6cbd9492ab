"""What edgenet takes of Keras, in words, and whose a class is."""

from __future__ import annotations

from typing import Any, Literal

SUPPORTED = (
    "edgenet converts EfficientNet B0-B7, V2 and Lite0-4: functional or Sequential Keras models of "
    "(depthwise) convolutions, BatchNorm, squeeze-and-excite, residual sums and a dense head"
)

_AT_THE_END = "save the model that ends before it, and compute it from what session.run gives"
INSTEAD = {
    "UnitNormalization": _AT_THE_END,
    "Normalize": _AT_THE_END,
    "LogSoftmax": _AT_THE_END,
    "log_softmax": _AT_THE_END,
    # What tf.nn.log_softmax calls itself.
    "log_softmax_v2": _AT_THE_END,
}
"""What can be done about layers and activations that users often have, in words."""
_CUSTOM_LAYER = (
    "it is no layer of Keras, and its call is not one of such layers and of keras.ops on one "
    "tensor: build it of these, and hand the model to edgenet.convert() in Python"
)
# What `keras.activations.relu` applies has the settings of the layer ReLU.
_OWN: dict[str, Literal["layers", "ops"]] = {
    "layers": "layers",
    "activations": "layers",
    "ops": "ops",
}


def taking(height: int, width: int, channels: int) -> str:
    """What gives a model of open size images of one, in Python."""
    return f"keras.Model(x, model(x)), where x = keras.Input({(height, width, channels)})"


def outside(operation: Any) -> str:
    """That a layer or operation is not taken, and what can be done about it."""
    kind = type(operation).__name__
    advice = _CUSTOM_LAYER if origin(operation) is None else INSTEAD.get(kind, SUPPORTED)
    return f"layer {operation.name!r} ({kind}) is outside the family; {advice}"


def origin(operation: Any) -> Literal["layers", "ops"] | None:
    """Whether an operation's class is of Keras's own layers or operations; None of another's.

    Names tell nothing: Keras has two classes that it calls `Add`, and a user may have a third.
    """
    module = type(operation).__module__
    for part, own in _OWN.items():
        if module.startswith(f"keras.src.{part}."):
            return own
    return None
