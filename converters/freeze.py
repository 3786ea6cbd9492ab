"""Freezing: a Keras model of the EfficientNet family becomes a graph of fixed shape.

The model's own layers are walked, nested models too, so that each operator keeps its Keras name.
What only matters in training (dropout, augmentation) falls away; BatchNorm and the normalization
are folded by `converters.passes`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from converters.graph import (
    FEATURES,
    INPUT,
    LOGITS,
    PROBABILITIES,
    Activation,
    Add,
    Affine,
    Convolution,
    Dense,
    Floats,
    Function,
    GlobalAverage,
    GlobalMaximum,
    GlobalPool,
    Graph,
    Multiply,
    Operator,
    Pad,
    Padding,
    Reshape,
    Shape,
)
from converters.passes import simplify
from converters.preprocessing import Preprocessing
from edgenet.errors import UnsupportedModelError, UsageError

SUPPORTED = (
    "edgenet converts EfficientNet B0-B7, V2 and Lite0-4: functional or Sequential Keras models of "
    "(depthwise) convolutions, BatchNorm, squeeze-and-excite, residual sums and a dense head"
)
_FUNCTIONS: dict[str, Function] = {
    "linear": "linear",
    "relu": "relu",
    "relu6": "relu6",
    "silu": "silu",
    "swish": "silu",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "softmax": "softmax",
}
# Pixels; keras.applications asks for as many.
_SMALLEST = 32
# The operator of a preprocessing that the user told.
_TOLD = "preprocess"
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


def freeze(
    model: Any,
    *,
    preprocess: Preprocessing | None = None,
    input_size: int | None = None,
    batch: int = 1,
) -> Graph:
    """The graph of a Keras model: uint8 RGB in, logits, probabilities and pooled features out.

    Args:
        model: A built `keras.Model`, functional or Sequential, with one image input and one output.
        preprocess: How pixels 0..255 become what the model takes, where it has no layer for it.
        input_size: Height and width in pixels, where the model leaves them open.
        batch: Images a run.

    Raises:
        UnsupportedModelError: The model has a layer, an input or a head outside the family.
        UsageError: The input size or the preprocessing must be told, or is told against the model.
    """
    walk = _Walk(input_shape=_input_shape(model, input_size, batch))
    if preprocess is not None:
        walk.emit(Affine(_TOLD, (INPUT,), _TOLD, preprocess.scale, preprocess.offset))
    output = walk.model(model, [walk.operators[-1].output if walk.operators else INPUT])[0]
    used = _reaching(walk.operators, output)
    _check_preprocessing(used, preprocess)
    operators, logits, probabilities = _head(walk, used, output)
    graph = Graph(model.name, walk.shapes[INPUT], tuple(operators), (logits, probabilities))
    return _named_outputs(simplify(graph))


def _input_shape(model: Any, input_size: int | None, batch: int) -> Shape:
    if layer_graph(model) is None:
        raise UnsupportedModelError(
            f"{model.name} is a subclassed model, or not built: its layers cannot be read; "
            f"{SUPPORTED}"
        )
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise UnsupportedModelError(f"{model.name} must have one input and one output; {SUPPORTED}")
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[3] != 3:
        raise UnsupportedModelError(
            f"{model.name} takes {shape}, not RGB images (height, width, 3); {SUPPORTED}"
        )
    height, width = (input_size if n is None else n for n in shape[1:3])
    if height is None or width is None:
        raise UsageError(f"{model.name} leaves its input size open: add --input-size PIXELS")
    if input_size is not None and input_size < _SMALLEST:
        raise UsageError(f"{input_size} pixels are too few: give --input-size {_SMALLEST} or more")
    if input_size is not None and (height, width) != (input_size, input_size):
        raise UsageError(f"{model.name} takes {height}x{width} images: leave --input-size off")
    return (batch, height, width, 3)


def _reaching(operators: Sequence[Operator], output: str) -> list[Operator]:
    """The operators that the output depends on: a nested model may have further outputs."""
    needed, used = {output}, []
    for operator in reversed(operators):
        if operator.output in needed:
            needed.update(operator.inputs)
            used.append(operator)
    return used[::-1]


def _check_preprocessing(operators: Sequence[Operator], told: Preprocessing | None) -> None:
    """The first operator tells whether the network normalizes its pixels itself."""
    first = next((operator for operator in operators if operator.name != _TOLD), None)
    if first is None:
        raise UnsupportedModelError(f"the model computes nothing; {SUPPORTED}")
    own = isinstance(first, Affine)
    if told is None and not own:
        raise UsageError(
            "the model has no Rescaling or Normalization layer: tell how its pixels were prepared "
            f"for training with --preprocess {'|'.join(Preprocessing.NAMES)}"
        )
    if told is not None and own and told.name != "raw":
        raise UsageError(
            f"the model prepares its pixels itself (layer {first.name!r}): leave --preprocess off"
        )


def _head(walk: _Walk, used: Sequence[Operator], output: str) -> tuple[list[Operator], str, str]:
    """The operators, ending in a softmax or sigmoid, and the names of both outputs."""
    operators, last = list(used), used[-1]
    shape = walk.shapes[output]
    if len(shape) != 2:
        raise UnsupportedModelError(
            f"the model ends in a tensor {shape[1:]}, not in a vector of classes; {SUPPORTED}"
        )
    if isinstance(last, Activation) and last.function in ("softmax", "sigmoid"):
        if shape[1] == 1:
            return _two_classes(operators)
        return operators, last.inputs[0], output
    if shape[1] == 1:
        raise UnsupportedModelError(
            "the model ends in one linear value: end it in a sigmoid or in 2 or more classes"
        )
    operators.append(
        Activation("probabilities", (output,), walk.unique("probabilities"), "softmax")
    )
    return operators, output, operators[-1].output


def _two_classes(operators: list[Operator]) -> tuple[list[Operator], str, str]:
    """One sigmoid as two classes: softmax([0, z]) = [1 - sigmoid(z), sigmoid(z)]."""
    *others, dense, sigmoid = operators
    if not isinstance(dense, Dense):
        raise UnsupportedModelError(
            f"a single sigmoid must follow a dense layer, not {dense.name!r}"
        )
    two = Dense(
        dense.name,
        dense.inputs,
        dense.output,
        np.hstack([np.zeros_like(dense.weights), dense.weights]),
        np.hstack([np.zeros_like(dense.bias), dense.bias]),
        "linear",
    )
    softmax = Activation(sigmoid.name, sigmoid.inputs, sigmoid.output, "softmax")
    return [*others, two, softmax], two.output, softmax.output


def _named_outputs(graph: Graph) -> Graph:
    """Gives the outputs their public names, the pooled features among them."""
    logits, probabilities = graph.outputs
    names = {logits: LOGITS, probabilities: PROBABILITIES}
    pooled = [op.output for op in graph.operators if isinstance(op, GlobalPool) and not op.keep]
    if pooled and pooled[-1] not in names:
        names[pooled[-1]] = FEATURES
    return graph.renamed(names, outputs=tuple(names.values()))


class _Walk:
    """Collects operators while it follows the layers of a model."""

    def __init__(self, input_shape: Shape) -> None:
        self.operators: list[Operator] = []
        self.shapes: dict[str, Shape] = {INPUT: input_shape}
        self._taken = {INPUT, LOGITS, PROBABILITIES, FEATURES, _TOLD}

    def unique(self, name: str) -> str:
        """The name, or with a number where it is taken (shared layers, nested models)."""
        candidate, count = name, 1
        while candidate in self._taken:
            count += 1
            candidate = f"{name}_{count}"
        self._taken.add(candidate)
        return candidate

    def emit(self, operator: Operator) -> str:
        """Appends an operator and returns the name of its output."""
        self.operators.append(operator)
        self.shapes[operator.output] = operator.shape(
            tuple(self.shapes[name] for name in operator.inputs)
        )
        return operator.output

    def model(self, model: Any, arguments: list[str]) -> list[str]:
        """Follows a model applied to tensors; returns the names of its outputs."""
        functional = layer_graph(model)
        assert functional is not None
        names = {
            id(tensor): name for tensor, name in zip(functional.inputs, arguments, strict=True)
        }
        for depth in sorted(functional._nodes_by_depth, reverse=True):
            for node in functional._nodes_by_depth[depth]:
                if not node.is_input:
                    inputs = [names[id(tensor)] for tensor in node.input_tensors]
                    outputs = self.layer(node.operation, inputs)
                    names.update((id(t), n) for t, n in zip(node.outputs, outputs, strict=True))
        return [names[id(tensor)] for tensor in functional.outputs]

    def layer(self, layer: Any, inputs: list[str]) -> list[str]:
        """Emits what a layer does; returns the names of its outputs."""
        kind = type(layer).__name__
        if passes_on(layer):
            return inputs
        if layer_graph(layer) is not None:
            return self.model(layer, inputs)
        handler = _LAYERS.get(kind)
        if handler is None:
            raise UnsupportedModelError(
                f"layer {layer.name!r} ({kind}) is outside the family; {SUPPORTED}"
            )
        return [handler(self, layer, inputs, self.unique(layer.name))]


def layer_graph(model: Any) -> Any | None:
    """The functional model that a model is, or that a Sequential one holds; None of a layer."""
    functional = getattr(model, "_functional", None) or model
    return functional if hasattr(functional, "_nodes_by_depth") else None


def passes_on(layer: Any) -> bool:
    """Whether a layer hands on what it gets, at inference."""
    kind = type(layer).__name__
    return kind in _TRAINING_ONLY or (kind == "Activation" and _function(layer) == "linear")


def _function(layer: Any) -> Function:
    name = getattr(layer.activation, "__name__", str(layer.activation))
    if name not in _FUNCTIONS:
        raise UnsupportedModelError(
            f"layer {layer.name!r} has the activation {name!r}; {SUPPORTED}"
        )
    return _FUNCTIONS[name]


def _activated(walk: _Walk, layer: Any, source: str) -> str:
    """The activation that a convolution or dense layer carries itself."""
    function = _function(layer)
    if function == "linear":
        return source
    name = walk.unique(f"{layer.name}_{function}")
    return walk.emit(Activation(name, (source,), name, function))


_Handler = Callable[[_Walk, Any, list[str], str], str]


def _array(variable: Any) -> Floats:
    return np.asarray(variable, dtype=np.float32)


def _bias(layer: Any, size: int) -> Floats:
    return _array(layer.bias) if layer.use_bias else np.zeros(size, np.float32)


def _convolution(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    depthwise = type(layer).__name__ == "DepthwiseConv2D"
    if layer.data_format != "channels_last" or tuple(layer.dilation_rate) != (1, 1):
        raise UnsupportedModelError(f"layer {name!r} is dilated or channels-first; {SUPPORTED}")
    weights = _array(layer.kernel)
    if (depthwise and weights.shape[3] != 1) or (not depthwise and layer.groups != 1):
        raise UnsupportedModelError(f"layer {name!r} has groups or a depth multiplier; {SUPPORTED}")
    channels = weights.shape[2] if depthwise else weights.shape[3]
    strides = (layer.strides[0], layer.strides[1])
    _, height, width, _ = walk.shapes[inputs[0]]
    padding = Padding()
    if layer.padding == "same":
        padding = Padding.same((height, width), weights.shape[:2], strides)
    bias = _bias(layer, channels)
    convolution = Convolution(
        name, tuple(inputs), name, weights, bias, "linear", strides, padding, depthwise
    )
    return _activated(walk, layer, walk.emit(convolution))


def _dense(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    """On a map, as some build squeeze-and-excite, a dense layer is a 1x1 convolution."""
    weights = _array(layer.kernel)
    bias = _bias(layer, weights.shape[1])
    product: Operator = Dense(name, tuple(inputs), name, weights, bias, "linear")
    if len(walk.shapes[inputs[0]]) == 4:
        kernel = weights[None, None]
        product = Convolution(
            name, tuple(inputs), name, kernel, bias, "linear", (1, 1), Padding(), False
        )
    return _activated(walk, layer, walk.emit(product))


def _batch_norm(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    if layer.axis not in (-1, len(walk.shapes[inputs[0]]) - 1):
        raise UnsupportedModelError(f"layer {name!r} normalizes another axis; {SUPPORTED}")
    mean, variance = (np.asarray(v, np.float64) for v in (layer.moving_mean, layer.moving_variance))
    scale = 1.0 / np.sqrt(variance + layer.epsilon)
    if layer.scale:
        scale = scale * np.asarray(layer.gamma, np.float64)
    offset = -mean * scale
    if layer.center:
        offset = offset + np.asarray(layer.beta, np.float64)
    return _affine(walk, inputs, name, scale, offset)


def _rescaling(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    return _affine(walk, inputs, name, np.asarray(layer.scale), np.asarray(layer.offset))


def _normalization(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    mean, variance = (np.asarray(v, np.float64).reshape(-1) for v in (layer.mean, layer.variance))
    deviation = np.maximum(np.sqrt(variance), 1e-7)  # keras.config.epsilon(), as the layer does
    if layer.invert:
        return _affine(walk, inputs, name, deviation, mean)
    return _affine(walk, inputs, name, 1.0 / deviation, -mean / deviation)


def _affine(walk: _Walk, inputs: list[str], name: str, scale: Any, offset: Any) -> str:
    channels = walk.shapes[inputs[0]][-1]
    scale, offset = (
        np.broadcast_to(np.float64(v), (channels,)).astype(np.float32) for v in (scale, offset)
    )
    return walk.emit(Affine(name, tuple(inputs), name, scale, offset))


def _padding(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    (top, bottom), (left, right) = layer.padding
    return walk.emit(Pad(name, tuple(inputs), name, Padding(top, bottom, left, right)))


def _activation_layer(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    return walk.emit(Activation(name, tuple(inputs), name, _function(layer)))


def _relu(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    limit = None if layer.max_value is None else float(layer.max_value)
    if layer.negative_slope or layer.threshold or limit not in (None, 6.0):
        raise UnsupportedModelError(f"layer {name!r} is neither ReLU nor ReLU6; {SUPPORTED}")
    return walk.emit(Activation(name, tuple(inputs), name, "relu" if limit is None else "relu6"))


def _softmax(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    return walk.emit(Activation(name, tuple(inputs), name, "softmax"))


def _global_pool(
    kind: type[GlobalPool], walk: _Walk, layer: Any, inputs: list[str], name: str
) -> str:
    return walk.emit(kind(name, tuple(inputs), name, bool(layer.keepdims)))


def _pool(kind: type[GlobalPool], walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    """Heads that were written for one input size pool by a window as large as the map."""
    _, height, width, _ = walk.shapes[inputs[0]]
    steps = zip((height, width), layer.strides, strict=True)
    once = layer.padding == "valid" or all(size <= stride for size, stride in steps)
    window = tuple(layer.pool_size)
    if window != (height, width) or not once:
        raise UnsupportedModelError(
            f"layer {name!r} ({type(layer).__name__}) pools windows of {window[0]}×{window[1]} in "
            f"a map of {height}×{width}, not the whole map; {SUPPORTED}"
        )
    return walk.emit(kind(name, tuple(inputs), name, keep=True))


def _reshape(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    size = int(np.prod(walk.shapes[inputs[0]][1:]))
    target = tuple(getattr(layer, "target_shape", (size,)))
    if -1 in target:
        target = tuple(size // -int(np.prod(target)) if n == -1 else n for n in target)
    return walk.emit(Reshape(name, tuple(inputs), name, target))


def _add(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    return _fold_pairs(walk, Add, inputs, name)


def _multiply(walk: _Walk, layer: Any, inputs: list[str], name: str) -> str:
    return _fold_pairs(walk, Multiply, inputs, name)


def _fold_pairs(walk: _Walk, kind: type[Add] | type[Multiply], inputs: list[str], name: str) -> str:
    """A sum or product of many tensors as a chain of pairs, the largest map first."""
    ordered = sorted(inputs, key=lambda tensor: -int(np.prod(walk.shapes[tensor])))
    result = ordered[0]
    for count, other in enumerate(ordered[1:]):
        output = name if count == len(ordered) - 2 else walk.unique(f"{name}_{count}")
        result = walk.emit(kind(output, (result, other), output))
    return result


_LAYERS: dict[str, _Handler] = {
    "Conv2D": _convolution,
    "DepthwiseConv2D": _convolution,
    "Dense": _dense,
    "BatchNormalization": _batch_norm,
    "Rescaling": _rescaling,
    "Normalization": _normalization,
    "ZeroPadding2D": _padding,
    "Activation": _activation_layer,
    "ReLU": _relu,
    "Softmax": _softmax,
    "GlobalAveragePooling2D": partial(_global_pool, GlobalAverage),
    "GlobalMaxPooling2D": partial(_global_pool, GlobalMaximum),
    "AveragePooling2D": partial(_pool, GlobalAverage),
    "MaxPooling2D": partial(_pool, GlobalMaximum),
    "Flatten": _reshape,
    "Reshape": _reshape,
    "Add": _add,
    "Multiply": _multiply,
}
