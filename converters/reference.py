"""The answers of the Keras model itself, which every file is verified against."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np

from converters.frontend.float32 import Change, in_float32, replaced
from converters.frontend.layers import TO_PROBABILITIES, acting, kind_of, known
from converters.frontend.supported import origin
from converters.frontend.walk import calls, layer_graph, moves
from converters.graph import Floats
from converters.grey import grey_of
from converters.preprocessing import Preprocessing
from edgenet.bundle import CLASSIFICATION
from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.images import Pixels

# Names that TensorFlow takes in a compiled function; Keras takes any.
_SCOPE = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def reference_answers(
    model: Any,
    batches: Iterable[Pixels],
    preprocess: Preprocessing | None = None,
    task: str = CLASSIFICATION,
) -> Floats:
    """The logits of images, or a regression's values, as Keras computes them in inference.

    Args:
        model: The model that was frozen; it is left as it was.
        batches: N × height × width × 3 uint8 each.
        preprocess: What was frozen into the graph before the model.
        task: As it was frozen for.

    Returns:
        images × classes, where a single sigmoid is two classes, as in the graph; or images ×
        values.

    Raises:
        UsageError: They are no finite numbers.
        UnsupportedModelError: What makes the answers is used within the model as well.
    """
    last = _last_acting(model)
    silent = [*_silent(last)] if task == CLASSIFICATION else []
    if silent and _uses(model, last) > 1:
        raise UnsupportedModelError(
            f"layer {last.name!r} makes the model's answers and is used elsewhere too: give the "
            "head an activation of its own"
        )
    with in_float32(model), replaced(silent), warnings.catch_warnings():
        # Keras warns where a model of one input was built with a list of it.
        warnings.simplefilter("ignore", UserWarning)
        answer = _compiled(model)
        grey = model.inputs[0].shape[-1] == 1
        rows = [_only(answer(_prepared(batch, preprocess, grey))) for batch in batches]
    answers = np.concatenate([np.asarray(row, np.float32) for row in rows])
    if not np.isfinite(answers).all():
        raise UsageError("the model answers with nan or infinity: take an earlier checkpoint")
    two_classes = task == CLASSIFICATION and answers.shape[1] == 1
    return np.hstack([np.zeros_like(answers), answers]) if two_classes else answers


def _only(outputs: Any) -> Any:
    """The one output, of a model that gives a list or a dictionary of it too."""
    import keras

    (found,) = keras.tree.flatten(outputs)
    return found


def _prepared(batch: Pixels, preprocess: Preprocessing | None, grey: bool) -> Floats:
    values = batch.astype(np.float32)
    if preprocess is not None:
        values = values * preprocess.scale + preprocess.offset
    return grey_of(values) if grey else values


def _compiled(model: Any) -> Callable[[Floats], Any]:
    """Inference that lets go of each tensor once it is read: called directly, a model keeps all."""
    import keras

    names = (model.name, *(layer.name for layer in model._flatten_layers()))
    if keras.config.backend() != "tensorflow" or not all(map(_SCOPE.fullmatch, names)):
        return partial(model, training=False)
    import tensorflow as tf

    return tf.function(partial(model, training=False), reduce_retracing=True)


def _silent(layer: Any) -> Iterator[Change]:
    """What switches a layer's softmax or sigmoid off, so that it hands on the logits."""
    import keras

    if _makes_probabilities(layer):
        yield layer, "call", lambda inputs, mask=None: inputs
    elif hasattr(layer, "activation") and _makes_probabilities(acting(layer)):
        yield layer, "activation", keras.activations.linear


def _makes_probabilities(function: Any) -> bool:
    """Whether a layer, an operation or a function is a softmax or sigmoid to the front end."""
    if origin(function) is None:
        return known(function) in TO_PROBABILITIES
    return kind_of(function).lower() in TO_PROBABILITIES


def _last_acting(model: Any) -> Any:
    """The layer whose answer the model's is: the last that does more than reshape it."""
    tensor, around = model.outputs[0], []
    while True:
        layer, place, index = tensor._keras_history
        node, nested = layer._inbound_nodes[place], layer_graph(layer)
        if nested is not None:
            around.append((nested, node))
            tensor = nested.outputs[index]
        elif node.is_input and around:
            nested, call = around.pop()
            handed = zip(nested.inputs, call.input_tensors, strict=True)
            tensor = next(given for taken, given in handed if taken is tensor)
        elif moves(node):
            tensor = node.input_tensors[0]
        else:
            return layer


def _uses(model: Any, layer: Any) -> int:
    """How often a model applies a layer, in nested models too."""
    functional = layer_graph(model)
    if functional is None:
        return int(model is layer)
    return sum(_uses(node.operation, layer) for node in calls(functional))
