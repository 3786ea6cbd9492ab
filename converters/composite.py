"""Composite layers, whose `call` is made of Keras's own, inlined as models of those.

Packages have whole blocks as one layer, as keras-hub its MBConvBlock, and users have theirs. What
such a layer calls when it is given a symbolic tensor is what it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.frontend.float32 import in_float32
from converters.frontend.supported import origin
from converters.frontend.walk import layer_graph
from converters.round_trip import alike


def inlined(model: Any) -> Any:
    """The model with a model of Keras's layers in place of each composite layer.

    The two share their weights. A model that has no such layer, or would answer otherwise, is
    returned as it is: freezing then refuses the layer that is not Keras's by its name.
    """
    if custom_layer(model) is None:
        return model
    try:
        plain = _plain(model)
        with in_float32(model):
            return plain if alike(model, plain) else model
    except Exception:
        # It takes no image, or more than one.
        return model


def custom_layer(model: Any) -> Any | None:
    """The first layer that is not Keras's, of a model of Keras 3 that has any."""
    import keras

    return next(_others(model), None) if isinstance(model, keras.Model) else None


def _others(model: Any) -> Iterator[Any]:
    """The layers that are not Keras's, of nested models too; none of a model without a graph."""
    graph = layer_graph(model)
    for layer in () if graph is None else graph.layers:
        if layer_graph(layer) is not None:
            yield from _others(layer)
        elif origin(layer) is None:
            yield layer


def _plain(model: Any) -> Any:
    """The graph of a model, whose class may be constructed otherwise, of Keras's layers."""
    import keras

    graph: Any = layer_graph(model)
    copy = keras.Model(graph.inputs, graph.output, name=model.name)
    return keras.models.clone_model(copy, clone_function=_part)


def _part(layer: Any) -> Any:
    if layer_graph(layer) is not None:
        return _plain(layer) if any(_others(layer)) else layer
    return layer if origin(layer) is not None else _followed(layer)


def _followed(layer: Any) -> Any:
    """The model of what a layer calls, or the layer where its call is of more than tensors."""
    import keras

    given = layer.input
    if not isinstance(given, keras.KerasTensor):
        return layer
    # In mixed precision each layer in it casts what it gets.
    kept = {} if "float" in given.dtype else {"dtype": given.dtype}
    entrance = keras.Input(batch_shape=given.shape, **kept)
    try:
        model = keras.Model(entrance, layer.call(entrance), name=layer.name)
    except Exception:
        # It may compute with anything.
        return layer
    return _part(model)
