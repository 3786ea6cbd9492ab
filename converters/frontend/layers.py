"""Keras's layers as operators of the graph."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from converters.frontend.resizing import resized
from converters.frontend.supported import INSTEAD, SUPPORTED, origin
from converters.frontend.trace import Handler, Trace
from converters.graph import (
    Activation,
    Add,
    Affine,
    Concatenate,
    Convolution,
    Dense,
    Doubles,
    Floats,
    Function,
    GlobalAverage,
    GlobalMaximum,
    GlobalPool,
    LeakyRelu,
    Multiply,
    Operator,
    Pad,
    Padding,
    Reshape,
    Shape,
)
from edgenet.errors import UnsupportedModelError

_FUNCTIONS: dict[str, Function] = {
    "linear": "linear",
    "relu": "relu",
    "relu6": "relu6",
    "leaky_relu": "leaky_relu",
    "elu": "elu",
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
    # What tf.nn.softmax calls itself.
    "softmax_v2": "softmax",
}
TO_PROBABILITIES = ("softmax", "sigmoid")
"""The functions that a classifier ends in."""
# Whose functions are what they are called.
_OWNERS = ("keras.", "tensorflow.")
# Layers that others may have as their activation, besides Activation itself.
_ACTING = ("ELU", "LeakyReLU", "ReLU", "Softmax")
# Of `keras.activations.leaky_relu`, where it is asked for by name.
_SLOPE = 0.2
# What these do in training they leave undone at inference.
_TRAINING_ONLY = frozenset(
    [
        "Dropout",
        "SpatialDropout2D",
        "AlphaDropout",
        "GaussianDropout",
        "GaussianNoise",
        "ActivityRegularization",
        "Identity",
        "RandomFlip",
        "RandomRotation",
        "RandomZoom",
        "RandomTranslation",
        "RandomContrast",
        "RandomBrightness",
        "RandomHue",
        "RandomSaturation",
        "RandomColorJitter",
        "RandomShear",
        "RandomPerspective",
        "RandomErasing",
        "RandomGaussianBlur",
        "RandomColorDegeneration",
        "RandomGrayscale",
        "RandomInvert",
        "RandomPosterization",
        "RandomSharpness",
        "RandAugment",
        "AugMix",
        "MixUp",
        "CutMix",
    ]
)


def passes_on(layer: Any) -> bool:
    """Whether a layer hands on what it gets, at inference."""
    kind = type(layer).__name__
    if origin(layer) != "layers":
        return False
    if kind == "Pipeline":
        return all(map(passes_on, layer.layers))
    return kind in _TRAINING_ONLY or (kind == "Activation" and _is_linear(acting(layer)))


def acting(layer: Any) -> Any:
    """The activation of a layer that has one: a function, or a layer as in `Dense(8, ReLU())`.

    Of an Activation that is another's it is what that one has.
    """
    found = layer.activation
    while origin(found) == "layers" and type(found).__name__ == "Activation":
        found = found.activation
    return found


def kind_of(activation: Any) -> str:
    """The name of a function, or of a layer's class."""
    return str(getattr(activation, "__name__", type(activation).__name__))


def known(activation: Any) -> Function | None:
    """What a function is, by its name, or None.

    A user's own is no softmax or sigmoid: where a model ends in one, what it does is not verified.
    """
    found = _FUNCTIONS.get(kind_of(activation))
    theirs = str(getattr(activation, "__module__", "")).startswith(_OWNERS)
    return found if theirs or found not in TO_PROBABILITIES else None


def _is_linear(activation: Any) -> bool:
    return passes_on(activation) or known(activation) == "linear"


def _activated(trace: Trace, layer: Any, source: str) -> str:
    """The activation that a convolution or dense layer has itself."""
    found = acting(layer)
    if _is_linear(found):
        return source
    called = found.name if origin(found) == "layers" else known(found) or kind_of(found)
    return _own_activation(trace, layer, source, trace.unique(f"{layer.name}_{called}"))


def _own_activation(trace: Trace, layer: Any, source: str, name: str) -> str:
    """Emits the activation that a layer has, a function or a layer itself."""
    found = acting(layer)
    kind, function = kind_of(found), known(found)
    if origin(found) == "layers" and kind in _ACTING:
        return LAYERS[kind](trace, found, [source], name)
    if kind in HARD:
        return HARD[kind](trace, source, name)
    if function is None:
        own = " of its own" if kind in _FUNCTIONS else ""
        raise UnsupportedModelError(
            f"layer {layer.name!r} has the activation {kind!r}{own}; {INSTEAD.get(kind, SUPPORTED)}"
        )
    return activate(trace, source, name, function)


def activate(trace: Trace, source: str, name: str, function: Function) -> str:
    """Emits an activation."""
    if function == "leaky_relu":
        return leaky_relu(trace, source, name, _SLOPE)
    if function == "softmax" and np.prod(trace.shapes[source][1:-1]) != 1:
        raise UnsupportedModelError(f"layer {name!r} is a softmax over a map; {SUPPORTED}")
    return trace.emit(Activation(name, (source,), name, function))


def softmax(trace: Trace, source: str, name: str, axis: Any) -> str:
    """Emits a softmax over the last axis, the one that the graph knows."""
    if tuple(np.atleast_1d(axis)) not in ((-1,), (len(trace.shapes[source]) - 1,)):
        raise UnsupportedModelError(f"layer {name!r} is a softmax over another axis; {SUPPORTED}")
    return activate(trace, source, name, "softmax")


def leaky_relu(trace: Trace, source: str, name: str, slope: float) -> str:
    """Emits a ReLU that leaks."""
    return trace.emit(LeakyRelu(name, (source,), name, float(slope)))


def elu(trace: Trace, source: str, name: str, alpha: float) -> str:
    """Emits an ELU, of the one alpha that every format has."""
    if alpha != 1:
        raise UnsupportedModelError(
            f"layer {name!r} is ELU with alpha {alpha:g}, not 1; {SUPPORTED}"
        )
    return activate(trace, source, name, "elu")


def _clipped(trace: Trace, source: str, name: str, scale: float, offset: float, most: float) -> str:
    """Emits x · scale + offset within 0..6 by ReLU6, brought to 0..`most`."""
    scaled = affine(trace, [source], trace.unique(f"{name}_scaled"), scale, offset)
    clipped = activate(trace, scaled, trace.unique(f"{name}_clipped"), "relu6")
    return affine(trace, [clipped], name, most / 6, 0.0)


def hard_sigmoid(trace: Trace, source: str, name: str) -> str:
    """Emits ReLU6(x + 3) / 6."""
    return _clipped(trace, source, name, scale=1, offset=3, most=1)


def hard_silu(trace: Trace, source: str, name: str) -> str:
    """Emits x · hard_sigmoid(x), which others call hard-swish."""
    gate = hard_sigmoid(trace, source, trace.unique(f"{name}_gate"))
    return fold_pairs(trace, Multiply, [source, gate], name)


HARD: dict[str, Callable[[Trace, str, str], str]] = {
    "hard_sigmoid": hard_sigmoid,
    "hard_silu": hard_silu,
    "hard_swish": hard_silu,
}
"""Activations that are several operators, by name."""


def _array(variable: Any) -> Floats:
    return np.asarray(variable, dtype=np.float32)


def _bias(layer: Any, size: int) -> Floats:
    return _array(layer.bias) if layer.use_bias else np.zeros(size, np.float32)


def _convolution(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    if tuple(layer.dilation_rate) != (1, 1):
        raise UnsupportedModelError(f"layer {name!r} is dilated; {SUPPORTED}")
    weights = _array(layer.kernel)
    if (depthwise and weights.shape[3] != 1) or (not depthwise and layer.groups != 1):
        raise UnsupportedModelError(f"layer {name!r} has groups or a depth multiplier; {SUPPORTED}")
    channels = weights.shape[2] if depthwise else weights.shape[3]
    strides = (layer.strides[0], layer.strides[1])
    _, height, width, _ = trace.shapes[inputs[0]]
    padding = Padding()
    if layer.padding == "same":
        padding = Padding.same((height, width), weights.shape[:2], strides)
    bias = _bias(layer, channels)
    convolution = Convolution(
        name, tuple(inputs), name, weights, bias, "linear", strides, padding, depthwise
    )
    return _activated(trace, layer, trace.emit(convolution))


def _dense(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    """On a map, as some build squeeze-and-excite, a dense layer is a 1x1 convolution."""
    if len(trace.shapes[inputs[0]]) not in (2, 4):
        raise UnsupportedModelError(
            f"layer {name!r} is a dense layer on neither a vector nor a map; {SUPPORTED}"
        )
    weights = _array(layer.kernel)
    bias = _bias(layer, weights.shape[1])
    product: Operator = Dense(name, tuple(inputs), name, weights, bias, "linear")
    if len(trace.shapes[inputs[0]]) == 4:
        kernel = weights[None, None]
        product = Convolution(
            name, tuple(inputs), name, kernel, bias, "linear", (1, 1), Padding(), False
        )
    return _activated(trace, layer, trace.emit(product))


def _batch_norm(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    if layer.axis not in (-1, len(trace.shapes[inputs[0]]) - 1):
        raise UnsupportedModelError(f"layer {name!r} normalizes another axis; {SUPPORTED}")
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, np.float64)
    offset = -mean * scale
    if layer.center:
        offset = offset + np.asarray(layer.beta, np.float64)
    return affine(trace, inputs, name, scale, offset)


def _rescaling(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    trace.preparing.add(name)
    return affine(trace, inputs, name, layer.scale, layer.offset)


def _normalization(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    mean, variance = (np.asarray(v, np.float64) for v in (layer.mean, layer.variance))
    if not _is_by_channel(mean, trace.shapes[inputs[0]]):
        raise UnsupportedModelError(
            f"layer {name!r} normalizes each position by its own mean; {SUPPORTED}"
        )
    trace.preparing.add(name)
    deviation = np.maximum(np.sqrt(variance), 1e-7)  # keras.config.epsilon(), as the layer does
    if layer.invert:
        return affine(trace, inputs, name, deviation, mean)
    return affine(trace, inputs, name, 1.0 / deviation, -mean / deviation)


def affine(trace: Trace, inputs: list[str], name: str, scale: Any, offset: Any) -> str:
    """Emits x · scale + offset, each a number or one a channel, in whatever shape."""
    scale, offset = (_by_channel(trace, inputs[0], name, value) for value in (scale, offset))
    return trace.emit(Affine(name, tuple(inputs), name, scale, offset))


def _by_channel(trace: Trace, source: str, name: str, given: Any) -> Floats:
    shape, constant = trace.shapes[source], np.asarray(given, np.float64)
    if not _is_by_channel(constant, shape):
        raise UnsupportedModelError(f"layer {name!r} has a constant for each position; {SUPPORTED}")
    return np.broadcast_to(constant.reshape(-1), (shape[-1],)).astype(np.float32)


def _is_by_channel(constant: Doubles, shape: Shape) -> bool:
    """Whether it is one number or one a channel, and leaves a tensor in its shape."""
    last = max(constant.shape[-1:], default=1)
    return constant.size == last and last in (1, shape[-1]) and constant.ndim <= len(shape)


def _padding(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    (top, bottom), (left, right) = layer.padding
    return trace.emit(Pad(name, tuple(inputs), name, Padding(top, bottom, left, right)))


def _activation_layer(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return _own_activation(trace, layer, inputs[0], name)


def _relu(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    limit = None if layer.max_value is None else float(layer.max_value)
    if layer.negative_slope and not layer.threshold and limit is None:
        return leaky_relu(trace, inputs[0], name, layer.negative_slope)
    if layer.negative_slope or layer.threshold or limit == 0:
        raise UnsupportedModelError(
            f"layer {name!r} is a ReLU that begins elsewhere than at 0, or that leaks and is "
            f"limited, or is limited to 0; {SUPPORTED}"
        )
    if limit in (None, 6):
        return activate(trace, inputs[0], name, "relu" if limit is None else "relu6")
    return _clipped(trace, inputs[0], name, scale=6 / limit, offset=0, most=limit)


def _leaky_relu(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return leaky_relu(trace, inputs[0], name, layer.negative_slope)


def _elu(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return elu(trace, inputs[0], name, layer.alpha)


def _softmax(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return softmax(trace, inputs[0], name, layer.axis)


def _global_pool(
    kind: type[GlobalPool], trace: Trace, layer: Any, inputs: list[str], name: str
) -> str:
    return trace.emit(kind(name, tuple(inputs), name, bool(layer.keepdims)))


def _pool(kind: type[GlobalPool], trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    """Heads that were written for one input size pool by a window as large as the map."""
    _, height, width, _ = trace.shapes[inputs[0]]
    steps = zip((height, width), layer.strides, strict=True)
    once = layer.padding == "valid" or all(size <= stride for size, stride in steps)
    window = tuple(layer.pool_size)
    if window != (height, width) or not once:
        raise UnsupportedModelError(
            f"layer {name!r} ({type(layer).__name__}) pools windows of {window[0]}×{window[1]} in "
            f"a map of {height}×{width}, not the whole map; {SUPPORTED}"
        )
    return trace.emit(kind(name, tuple(inputs), name, keep=True))


def _reshape(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return reshape(trace, inputs[0], name, tuple(getattr(layer, "target_shape", (-1,))))


def reshape(trace: Trace, source: str, name: str, target: tuple[int, ...]) -> str:
    """Emits a reshape to a shape without the batch, one size of which may be -1.

    Of a reshape it is one of what that reshapes: axes are added one by one.
    """
    source = next(
        (op.inputs[0] for op in trace.operators if op.output == source and isinstance(op, Reshape)),
        source,
    )
    size = int(np.prod(trace.shapes[source][1:]))
    if -1 in target:
        target = tuple(size // -int(np.prod(target)) if n == -1 else n for n in target)
    return trace.emit(Reshape(name, (source,), name, target))


def _add(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return fold_pairs(trace, Add, inputs, name)


def _multiply(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return fold_pairs(trace, Multiply, inputs, name)


def fold_pairs(trace: Trace, kind: type[Add] | type[Multiply], inputs: list[str], name: str) -> str:
    """A sum or product of many tensors as a chain of pairs, the largest map first.

    Keras takes a vector beside maps as a map of one pixel.
    """
    if any(len(trace.shapes[tensor]) == 4 for tensor in inputs):
        inputs = [_as_map(trace, tensor, name) for tensor in inputs]
    ordered = sorted(inputs, key=lambda tensor: -int(np.prod(trace.shapes[tensor])))
    result = ordered[0]
    for count, other in enumerate(ordered[1:]):
        output = name if count == len(ordered) - 2 else trace.unique(f"{name}_{count}")
        result = trace.emit(kind(output, (result, other), output))
    return result


def _as_map(trace: Trace, tensor: str, name: str) -> str:
    if len(trace.shapes[tensor]) == 4:
        return tensor
    return reshape(trace, tensor, trace.unique(f"{name}_map"), (1, 1, trace.shapes[tensor][-1]))


def _concatenate(trace: Trace, layer: Any, inputs: list[str], name: str) -> str:
    return join(trace, inputs, name, layer.axis)


def join(trace: Trace, inputs: list[str], name: str, axis: int) -> str:
    """Emits vectors side by side."""
    shapes = [trace.shapes[tensor] for tensor in inputs]
    if axis not in (-1, len(shapes[0]) - 1):
        raise UnsupportedModelError(f"layer {name!r} joins along another axis; {SUPPORTED}")
    if any(np.prod(shape[1:-1]) != 1 for shape in shapes):
        raise UnsupportedModelError(
            f"layer {name!r} joins maps: where it makes three channels of one, save the model that "
            f"begins behind it; {SUPPORTED}"
        )
    if len(inputs) == 1:
        return inputs[0]
    return trace.emit(Concatenate(name, tuple(inputs), name))


MOVING_LAYERS: dict[str, Handler] = {"Flatten": _reshape, "Reshape": _reshape}
"""Layers that leave values as they are."""
LAYERS: dict[str, Handler] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _convolution,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "Resizing": resized,
    "CenterCrop": resized,
    "RandomCrop": resized,
    "ZeroPadding2D": _padding,
    "Activation": _activation_layer,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "Softmax": _softmax,
    "GlobalAveragePooling2D": partial(_global_pool, GlobalAverage),
    "GlobalMaxPooling2D": partial(_global_pool, GlobalMaximum),
    "AveragePooling2D": partial(_pool, GlobalAverage),
    "MaxPooling2D": partial(_pool, GlobalMaximum),
    "Add": _add,
    "Multiply": _multiply,
    "Concatenate": _concatenate,
    **MOVING_LAYERS,
}
