"""The answers of the Keras model itself, which every file is verified against."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from converters.graph import Floats
from converters.preprocessing import Preprocessing
from edgenet.images import Pixels


def keras_logits(
    model: Any, batches: Iterable[Pixels], preprocess: Preprocessing | None = None
) -> Floats:
    """The logits of images, as Keras computes them in inference.

    Args:
        model: The model that was frozen; it is left as it was.
        batches: N × height × width × 3 uint8 each.
        preprocess: What was frozen into the graph before the model.

    Returns:
        images × classes; a single sigmoid is two classes, as in the graph.
    """
    with _without_last_activation(model) as last:
        rows = [model(_prepared(batch, preprocess), training=False) for batch in batches]
    logits = np.concatenate([np.asarray(row, np.float32) for row in rows])
    if (
        last == "Softmax"
    ):  # A layer that cannot be silenced; its logarithm is the logits up to a constant.
        logits = np.log(np.maximum(logits, np.finfo(np.float32).tiny))
    return np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits


def _prepared(batch: Pixels, preprocess: Preprocessing | None) -> Floats:
    values = batch.astype(np.float32)
    return values if preprocess is None else values * preprocess.scale + preprocess.offset


@contextmanager
def _without_last_activation(model: Any) -> Iterator[str]:
    """Silences the softmax or sigmoid of the last layer; yields the layer's kind."""
    import keras

    layer = model
    while (functional := getattr(layer, "_functional", None) or layer) and hasattr(
        functional, "_nodes_by_depth"
    ):
        layer = functional.outputs[0]._keras_history.operation
    activation = getattr(layer, "activation", None)
    if activation is not None:
        layer.activation = keras.activations.linear
    try:
        yield type(layer).__name__
    finally:
        if activation is not None:
            layer.activation = activation
