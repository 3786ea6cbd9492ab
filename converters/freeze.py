"""Freezing: a Keras model of the EfficientNet family becomes a graph of fixed shape.

The model's own layers are walked, nested models too, so that each operator keeps its Keras name.
What only matters in training (dropout, augmentation) falls away; `converters.head` makes logits and
probabilities of what the model ends in, and `converters.passes` folds BatchNorm and normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from itertools import takewhile
from typing import Any

import numpy as np

from converters.frontend.float32 import in_float32
from converters.frontend.supported import SUPPORTED
from converters.frontend.trace import TOLD
from converters.frontend.walk import Walk, layer_graph, output_names, resized_to
from converters.graph import (
    INPUT,
    Affine,
    Graph,
    Operator,
    Pad,
    Shape,
)
from converters.grey import in_colour
from converters.head import classes, require_vector, values, with_named_outputs
from converters.passes import simplify
from converters.preprocessing import NAMES, Preprocessing
from edgenet.bundle import CLASSIFICATION, REGRESSION
from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.models.specs import SMALLEST_INPUT

# Of pixels 0..255 that are prepared, by the name of the preparation.
_RANGES = {"unit": "0..1", "tf": "-1..1"}
# Images of 0..1 may be as dark in the mean; those of -1..1 are about 0.
_DARKEST = 0.1
# Networks take numbers up to 255.
_LARGEST_SCALE = 10


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
    require_vector(walk.shapes[output])
    head = values if task == REGRESSION else classes
    operators, *answers = head(walk, used, output)
    if shape[3] == 1:
        operators = in_colour(operators)
    graph = Graph(model.name, (*shape[:3], 3), tuple(operators), tuple(answers))
    return with_named_outputs(_read_once(simplify(graph)))


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
    """Refuses pixels that several operators read: lowerings expect one that normalizes them."""
    readers = graph.consumers[INPUT]
    if len(readers) > 1:
        ways = " and ".join(repr(reader.name) for reader in readers)
        raise UnsupportedModelError(
            f"pixels are prepared in more than one way, by {ways}: build the model with one layer "
            "that prepares them for all that read them"
        )
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
