"""Freezing: a Keras model of the EfficientNet family becomes a graph of fixed shape.

The model's own layers are walked, nested models too, so that each operator keeps its Keras name.
What only matters in training (dropout, augmentation) falls away; BatchNorm and the normalization
are folded by `converters.passes`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from itertools import takewhile
from typing import Any

import numpy as np

from converters.frontend.float32 import in_float32
from converters.frontend.layers import TO_PROBABILITIES
from converters.frontend.supported import SUPPORTED
from converters.frontend.trace import TOLD
from converters.frontend.walk import Walk, layer_graph, output_names, resized_to
from converters.graph import (
    FEATURES,
    INPUT,
    LOGITS,
    PROBABILITIES,
    VALUES,
    Activation,
    Add,
    Affine,
    Dense,
    GlobalPool,
    Graph,
    Multiply,
    Operator,
    Pad,
    Reshape,
    Shape,
)
from converters.grey import in_colour
from converters.passes import simplify
from converters.preprocessing import NAMES, Preprocessing
from converters.segments import segments
from edgenet.bundle import CLASSIFICATION, REGRESSION
from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.models.specs import SMALLEST_INPUT

# Of pixels 0..255 that are prepared, by the name of the preparation.
_RANGES = {"unit": "0..1", "tf": "-1..1"}
# Images of 0..1 may be as dark in the mean; those of -1..1 are about 0.
_DARKEST = 0.1
# Networks take numbers up to 255.
_LARGEST_SCALE = 10
ADDED = "probabilities"
"""The operator that makes probabilities of a model's linear values."""
WITH_SIGMOID = 'keras.Sequential([model, keras.layers.Activation("sigmoid")]).save("m.keras")'
"""What has a model end in a sigmoid, in Python."""


def freeze(
    model: Any,
    *,
    preprocess: Preprocessing | None = None,
    input_size: int | None = None,
    batch: int = 1,
    task: str = CLASSIFICATION,
) -> Graph:
    """The graph of a Keras model: uint8 RGB in, logits, probabilities and pooled features out.

    Args:
        model: A built `keras.Model`, functional or Sequential, with one image input and one output.
        preprocess: How pixels 0..255 become what the model takes, where it has no layer for it.
        input_size: Height and width in pixels, where the model leaves them open.
        batch: Images a run.
        task: Of `edgenet.bundle.TASKS`; a regression's graph hands out values instead of logits
            and probabilities.

    Raises:
        UnsupportedModelError: The model has a layer, an input or a head outside the family.
        UsageError: The input size or the preprocessing must be told, or is told against the model;
            or a weight is no finite number.
    """
    _require_float32(model)
    shape = _input_shape(model, input_size, batch)
    walk = Walk(shape, open=None in model.inputs[0].shape[1:3])
    if preprocess is not None:
        walk.emit(Affine(TOLD, (INPUT,), TOLD, preprocess.scale, preprocess.offset))
    with in_float32(model):
        output = walk.model(model, [walk.operators[-1].output if walk.operators else INPUT])[0]
    used = _begun_in_float(_reaching(walk.operators, output))
    _check_preprocessing(walk, used, preprocess)
    _require_finite(used)
    _require_vector(walk.shapes[output])
    head = _values if task == REGRESSION else _classes
    operators, *answers = head(walk, used, output)
    if shape[3] == 1:
        operators = in_colour(operators)
    graph = Graph(model.name, (*shape[:3], 3), tuple(operators), tuple(answers))
    return _named_outputs(_read_once(simplify(graph)))


def _input_shape(model: Any, input_size: int | None, batch: int) -> Shape:
    if layer_graph(model) is None:
        raise UnsupportedModelError(
            f"{model.name} is a subclassed model, or not built, so that its layers cannot be read: "
            "save keras.Model(x, model.call(x)), where x = keras.Input(shape)"
        )
    if len(model.inputs) != 1:
        raise UnsupportedModelError(
            f"{model.name} has {len(model.inputs)} inputs: save a model of one"
        )
    if len(model.outputs) != 1:
        raise UnsupportedModelError(
            f"{model.name} has {len(model.outputs)} outputs ({', '.join(output_names(model))}): "
            "choose one of them by edgenet convert --head NAME"
        )
    shape = tuple(model.inputs[0].shape)
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise UnsupportedModelError(
            f"{model.name} takes {shape}, not RGB images (height, width, 3) or grey ones (height, "
            f"width, 1); {SUPPORTED}"
        )
    _require_float_grey(model, shape[3])
    resized = resized_to(model) if None in shape[1:3] else None
    own = resized or (input_size, input_size)
    height, width = (size if n is None else n for n, size in zip(shape[1:3], own, strict=True))
    if height is None or width is None:
        raise UsageError(f"{model.name} leaves its input size open: add --input-size PIXELS")
    if input_size is not None and input_size < SMALLEST_INPUT:
        raise UsageError(
            f"{input_size} pixels are too few: give --input-size {SMALLEST_INPUT} or more"
        )
    if input_size is not None and (height, width) != (input_size, input_size):
        raise UsageError(f"{model.name} takes {height}x{width} images: leave --input-size off")
    return (batch, height, width, shape[3])


def _require_float_grey(model: Any, channels: int) -> None:
    """Grey that is made of RGB is no whole number, and a file does not round it."""
    dtype = str(model.inputs[0].dtype)
    if channels == 1 and "float" not in dtype:
        old, new = f'"{dtype}"', '"float32"'
        raise UnsupportedModelError(
            f"{model.name} takes grey images of {dtype}, and what edgenet makes of RGB is in "
            "floats: save what this makes: floats = keras.models.model_from_json(model.to_json()"
            f".replace({old!r}, {new!r})); floats.set_weights(model.get_weights())"
        )


def _require_float32(model: Any) -> None:
    """Mixed precision keeps its weights in float32, as files and their proof need them."""
    for layer in model._flatten_layers():
        if getattr(layer, "quantization_mode", None):
            raise UnsupportedModelError(
                f"layer {layer.name!r} is quantized by Keras ({layer.quantization_mode}): give the "
                "model as it was before quantize()"
            )
        if layer.weights and layer.variable_dtype != "float32":
            raise UnsupportedModelError(
                f"layer {layer.name!r} keeps its weights in {layer.variable_dtype}: build the "
                "model again under keras.config.set_dtype_policy('float32'), give it these weights "
                "by set_weights, and save that"
            )


def _require_finite(operators: Sequence[Operator]) -> None:
    for operator in operators:
        for field in fields(operator):
            value = getattr(operator, field.name)
            if isinstance(value, np.ndarray) and not np.isfinite(value).all():
                raise UsageError(
                    f"layer {operator.name!r} has weights that are nan or infinite: its training "
                    "diverged; take an earlier checkpoint"
                )


def _reaching(operators: Sequence[Operator], output: str) -> list[Operator]:
    """The operators that the output depends on: a nested model may have further outputs."""
    needed, used = {output}, []
    for operator in reversed(operators):
        if operator.output in needed:
            needed.update(operator.inputs)
            used.append(operator)
    return used[::-1]


def _begun_in_float(operators: list[Operator]) -> list[Operator]:
    """Turns pixels into floats ahead of padding that comes first, as it would pad bytes."""
    first = operators[0] if operators else None
    if not (isinstance(first, Pad) and first.inputs == (INPUT,)):
        return operators
    pixels = Affine(TOLD, (INPUT,), TOLD, np.ones(3, np.float32), np.zeros(3, np.float32))
    return [pixels, replace(first, inputs=(TOLD,)), *operators[1:]]


def _read_once(graph: Graph) -> Graph:
    """Refuses pixels that go two ways: lowerings fold one normalization into what reads it."""
    readers = graph.consumers[INPUT]
    if len(readers) > 1:
        ways = " and ".join(repr(reader.name) for reader in readers)
        raise UnsupportedModelError(f"pixels are prepared in more than one way, by {ways}")
    return graph


def _check_preprocessing(
    walk: Walk, operators: Sequence[Operator], told: Preprocessing | None
) -> None:
    """The first operator tells whether the network normalizes its pixels itself."""
    computing = (op for op in operators if op.name != TOLD and not isinstance(op, Pad))
    first = next(computing, None)
    if first is None:
        raise UnsupportedModelError(f"the model computes nothing; {SUPPORTED}")
    own = first.name in walk.preparing
    if told is None and not own:
        raise UsageError(
            "the model has no Rescaling or Normalization layer: tell how its pixels were prepared "
            f"for training with --preprocess {'|'.join(NAMES)}"
        )
    others, does = _other_pixels(operators) if own else ((), "")
    if told is None and others:
        raise UsageError(
            f"the model {does} (layer {first.name!r}), as if they were "
            f"{' or '.join(_RANGES[name] for name in others)} in training, and photos have 0..255: "
            f"add --preprocess {' or '.join(others)}, or --preprocess raw where they were 0..255"
        )
    fitting = ("raw", *others)
    if told is not None and own and told.name not in fitting:
        size = walk.shapes[INPUT][1:]
        raise UsageError(
            f"the model prepares its pixels itself (layer {first.name!r}): leave --preprocess off; "
            "where they were prepared before that as well, convert what keras.Sequential(["
            f'keras.Input({size}), {told.layer}, model]).save("m.keras") writes'
        )


def _other_pixels(operators: Sequence[Operator]) -> tuple[tuple[str, ...], str]:
    """How pixels seem to have been prepared before they came to the model, and what shows it.

    Pixels of 0..255 have no mean within 1 of zero, and no network takes thousands: one whose own
    layers subtract such a mean, or multiply so far, was trained on others.

    Returns:
        Names of `Preprocessing`, none where nothing shows another; and what the model does.
    """
    scale, offset, means = np.ones(3), np.zeros(3), None
    own = (op for op in operators if op.name != TOLD and not isinstance(op, Pad))
    for operator in takewhile(lambda op: isinstance(op, Affine), own):
        assert isinstance(operator, Affine)
        scale, offset = scale * operator.scale, offset * operator.scale + operator.offset
        if means is None and not operator.offset.any():
            continue
        # The pixel that becomes zero; infinite where none does.
        means = np.divide(-offset, scale, out=np.full(3, np.inf), where=scale != 0)
        if (np.abs(means) > 1).any():
            return (), ""
    if means is None:
        large = scale.min() > _LARGEST_SCALE
        return ("unit",) if large else (), f"multiplies its pixels by {scale.mean():.3g}"
    fitting = {"unit": means.mean() > 0, "tf": means.mean() <= _DARKEST}
    names = tuple(name for name in fitting if fitting[name])
    return names, f"subtracts {means.mean():.2g} from its pixels"


def _require_vector(shape: Shape) -> None:
    if len(shape) != 2:
        raise UnsupportedModelError(
            f"the model ends in a tensor {shape[1:]}, not in a vector of classes; {SUPPORTED}"
        )


def _values(walk: Walk, used: Sequence[Operator], output: str) -> tuple[list[Operator], str]:
    """The operators of a regression as they are, and the name of its output."""
    last = _activated_last(walk, list(used), output)[-1]
    if isinstance(last, Activation) and last.function == "softmax":
        raise UnsupportedModelError(
            f"layer {last.name!r} is a softmax, which makes probabilities of classes and no "
            f"values: leave --task {REGRESSION} off"
        )
    return list(used), output


def _classes(walk: Walk, used: Sequence[Operator], output: str) -> tuple[list[Operator], str, str]:
    """The operators, ending in a softmax or sigmoid, and the names of both outputs."""
    operators = _activated_last(walk, list(used), output)
    last, shape = operators[-1], walk.shapes[output]
    if isinstance(last, Activation) and last.function in TO_PROBABILITIES:
        if shape[1] == 1:
            return _two_classes(walk, operators, last)
        return operators, last.inputs[0], output
    _require_logits(operators, output)
    if shape[1] == 1:
        raise UnsupportedModelError(
            f"the model ends in one {function_of(last)} value: add --task {REGRESSION} where that "
            "is what it was trained to tell; where it is positive for the second of two classes, "
            f"convert what {WITH_SIGMOID} writes"
        )
    operators.append(Activation(ADDED, (output,), walk.unique(ADDED), "softmax"))
    return operators, output, operators[-1].output


def _require_logits(operators: Sequence[Operator], output: str) -> None:
    """Refuses a model that ends in probabilities of no one softmax or sigmoid: it has no logits."""
    producers = {operator.output: operator for operator in operators}
    last = producers[output]
    if _is_hard_sigmoid(last, producers):
        raise UnsupportedModelError(
            f"the model ends in a hard sigmoid (layer {last.name!r}), whose values are no logits: "
            f"end in a sigmoid, or add --task {REGRESSION}, which hands them out as they are"
        )
    if _are_probabilities(output, producers):
        raise UnsupportedModelError(
            f"the model ends in probabilities already mixed (layer {last.name!r}): average the "
            f"logits instead, ahead of one softmax or sigmoid, or add --task {REGRESSION}, which "
            "hands them out as they are"
        )


def _are_probabilities(tensor: str, producers: Mapping[str, Operator]) -> bool:
    """Whether a tensor is of softmaxes and sigmoids alone, summed, scaled or multiplied."""
    operator = producers.get(tensor)
    if isinstance(operator, Activation):
        return operator.function in TO_PROBABILITIES
    if isinstance(operator, Add | Multiply | Affine | Reshape):
        hard = _is_hard_sigmoid(operator, producers)
        return hard or all(_are_probabilities(each, producers) for each in operator.inputs)
    return False


def _is_hard_sigmoid(operator: Operator, producers: Mapping[str, Operator]) -> bool:
    """Whether it is the last of the operators of a hard sigmoid: a ReLU6 brought to 0..1."""
    if not isinstance(operator, Affine) or operator.offset.any():
        return False
    clipped = producers.get(operator.inputs[0])
    of_six = isinstance(clipped, Activation) and clipped.function == "relu6"
    return of_six and bool(np.allclose(operator.scale, 1 / 6))


def function_of(operator: Operator) -> str:
    """The activation that an operator ends in."""
    return str(getattr(operator, "function", "linear"))


def _activated_last(walk: Walk, operators: list[Operator], output: str) -> list[Operator]:
    """The operators with a last softmax or sigmoid moved behind the reshapes that follow it.

    So it takes the logits in the shape in which they are handed out.
    """
    position = len(operators) - 1
    while position > 0 and isinstance(operators[position], Reshape):
        position -= 1
    activation, reshapes = operators[position], operators[position + 1 :]
    if not (isinstance(activation, Activation) and activation.function in TO_PROBABILITIES):
        return operators
    source = activation.inputs[0]
    moved = []
    for reshape in reshapes:
        name = walk.unique(f"{reshape.name}_logits")
        moved.append(replace(reshape, inputs=(source,), output=name))
        source = name
    last = replace(activation, inputs=(source,), output=output)
    return [*operators[:position], *moved, last]


def _two_classes(
    walk: Walk, operators: list[Operator], last: Activation
) -> tuple[list[Operator], str, str]:
    """One sigmoid as two classes: softmax([0, z]) = [1 - sigmoid(z), sigmoid(z)]."""
    if last.function == "softmax":
        raise UnsupportedModelError(
            f"layer {last.name!r} is a softmax of one class, which is always 1: end in a sigmoid"
        )
    *others, dense, _ = operators
    if not (isinstance(dense, Dense) and dense.function == "linear"):
        others = [*others, dense]
        name = walk.unique(f"{last.name}_classes")
        one = np.ones((1, 1), np.float32)
        dense = Dense(name, last.inputs, name, one, np.zeros(1, np.float32), "linear")
    two = replace(
        dense,
        weights=np.hstack([np.zeros_like(dense.weights), dense.weights]),
        bias=np.hstack([np.zeros_like(dense.bias), dense.bias]),
    )
    softmax = replace(last, inputs=(two.output,), function="softmax")
    return [*others, two, softmax], two.output, softmax.output


def _named_outputs(graph: Graph) -> Graph:
    """Gives the outputs their public names, the pooled features among them."""
    public = (LOGITS, PROBABILITIES) if len(graph.outputs) > 1 else (VALUES,)
    names = dict(zip(graph.outputs, public, strict=True))
    # Behind the pooled features nothing else is alive; beside a squeeze's vector its map is.
    cuts = {segment.result for segment in segments(graph)}
    pools = (op for op in graph.operators if isinstance(op, GlobalPool) and not op.keep)
    pooled = [pool.output for pool in pools if pool.output in cuts]
    if pooled and pooled[-1] == graph.answer:
        graph = _handed_out_twice(graph, pooled[-1])
        names[FEATURES] = FEATURES
    elif pooled:
        names[pooled[-1]] = FEATURES
    return graph.renamed(names, outputs=tuple(names.values()))


def _handed_out_twice(graph: Graph, pooled: str) -> Graph:
    """Features that are the answer themselves, as the answer and under their own name."""
    pool = graph.producers[pooled]
    copy = Reshape(f"{pool.name}/copy", (FEATURES,), pooled, graph.shapes[pooled][1:])
    place = graph.operators.index(pool)
    return graph.with_operators(
        [
            *graph.operators[:place],
            replace(pool, output=FEATURES),
            copy,
            *graph.operators[place + 1 :],
        ]
    )
