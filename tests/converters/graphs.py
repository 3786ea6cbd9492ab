"""Graphs and Keras models to lower, and their answers in each engine itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from converters.formats import lower
from converters.graph import (
    INPUT,
    LOGITS,
    PROBABILITIES,
    Activation,
    Add,
    Affine,
    Concatenate,
    Convolution,
    Dense,
    GlobalAverage,
    GlobalMaximum,
    GlobalPool,
    Graph,
    LeakyRelu,
    Multiply,
    Operator,
    Pad,
    Padding,
    Reshape,
)
from converters.quantization.calibrate import calibrate
from converters.quantization.ranges import choose
from converters.scheme.recipe import Recipe

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]
Answers = dict[str, Floats]


def pixels(count: int, height: int = 64, width: int = 64, seed: int = 0) -> Pixels:
    """Smooth random images: blobs of 8 × 8 colours."""
    random = np.random.default_rng(seed)
    blobs = random.integers(0, 256, (count, 8, 8, 3)).astype(np.float64)
    rows = np.linspace(0, 7, height).round().astype(int)
    columns = np.linspace(0, 7, width).round().astype(int)
    noise = random.normal(0, 12, (count, height, width, 3))
    return np.clip(blobs[:, rows][:, :, columns] + noise, 0, 255).astype(np.uint8)


def relative_error(reference: Floats, found: Floats) -> float:
    """The largest difference as a share of the largest value."""
    return float(np.abs(reference - found).max() / np.abs(reference).max())


def spread_error(reference: Floats, found: Floats) -> float:
    """The largest difference as a share of the largest deviation from the mean image's answer."""
    spread = np.abs(reference - reference.mean(axis=0)).max()
    return float(np.abs(reference - found).max() / spread)


def run_onnx(model: bytes | Path, images: Pixels, outputs: tuple[str, ...]) -> Answers:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # More would wait for each other, spinning, and take the cores from the other tests.
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        options,
        providers=["CPUExecutionProvider"],
    )
    return _stacked(images, session.get_inputs()[0].shape[0], outputs, _onnx_call(session, outputs))


def _onnx_call(session: Any, outputs: tuple[str, ...]) -> Callable[[Pixels], list[Floats]]:
    return lambda batch: session.run(list(outputs), {INPUT: batch})


def run_tflite(path: Path, images: Pixels, outputs: tuple[str, ...]) -> Answers:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path), num_threads=1)
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]
    index = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}

    def call(batch: Pixels) -> list[Floats]:
        interpreter.set_tensor(taken["index"], batch)
        interpreter.invoke()
        return [interpreter.get_tensor(index[name]) for name in outputs]

    return _stacked(images, taken["shape"][0], outputs, call)


def run_openvino(path: Path, images: Pixels, outputs: tuple[str, ...]) -> Answers:
    import openvino

    model = openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return _stacked(
        images,
        model.inputs[0].shape[0],
        outputs,
        lambda batch: [np.array(model(batch)[name]) for name in outputs],
    )


def _stacked(
    images: Pixels, batch: int, outputs: tuple[str, ...], call: Callable[[Pixels], list[Floats]]
) -> Answers:
    rows = [call(images[start : start + batch]) for start in range(0, len(images), batch)]
    columns = zip(*rows, strict=True)
    return {n: np.concatenate(column) for n, column in zip(outputs, columns, strict=True)}


ENGINES = {"tflite": run_tflite, "onnx": run_onnx, "openvino": run_openvino}


def answers(
    graph: Graph,
    format: str,
    precision: str,
    recipe: Recipe | None,
    images: Pixels,
    folder: Path,
) -> Answers:
    """All outputs of a graph, lowered into `folder` and run in the format's engine."""
    home = folder / f"{format}-{precision}"
    home.mkdir(exist_ok=True)
    model, *_ = lower(graph, format, precision, recipe, home)
    return ENGINES[format](model, images, graph.outputs)


def float_answers(graph: Graph, images: Pixels) -> Answers:
    """All outputs of a float graph, by ONNX Runtime."""
    from converters.formats.onnx import build

    return run_onnx(build(graph, "fp32").SerializeToString(), images, graph.outputs)


def recipe_of(graph: Graph, images: Pixels, rule: str = "by-role") -> Recipe:
    """The ranges that images set, for a graph of batch 1."""
    statistics = calibrate(graph, (image[None] for image in images)).tensors
    return choose(graph, statistics, rule)


class Chain:
    """Builds a graph operator by operator; each reads the last tensor unless told otherwise."""

    def __init__(self, height: int, width: int, seed: int = 0, batch: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.shapes = {INPUT: (batch, height, width, 3)}
        self.operators: list[Operator] = []
        self.last = INPUT

    @property
    def channels(self) -> int:
        return self.shapes[self.last][-1]

    def add(self, operator: Operator) -> Chain:
        self.operators.append(operator)
        self.shapes[operator.output] = operator.shape(
            tuple(self.shapes[name] for name in operator.inputs)
        )
        self.last = operator.output
        return self

    def name(self) -> str:
        return f"t{len(self.operators)}"

    def _floats(self, *shape: int) -> Floats:
        return self.random.normal(0, 1, shape).astype(np.float32)

    def affine(self, scale: Any = None, offset: Any = None) -> Chain:
        name, size = self.name(), self.channels
        chosen = (
            self.random.uniform(0.5, 1.5, size) if scale is None else scale,
            self.random.normal(0, 0.5, size) if offset is None else offset,
        )
        scale, offset = (np.broadcast_to(np.float32(v), (size,)) for v in chosen)
        return self.add(Affine(name, (self.last,), name, scale.copy(), offset.copy()))

    def normalize(self) -> Chain:
        """What a network does with its pixels first."""
        return self.affine([1 / 58.4, 1 / 57.1, 1 / 57.4], [-2.1, -2.0, -1.8])

    def convolution(
        self,
        out: int = 4,
        kernel: tuple[int, int] = (1, 1),
        strides: tuple[int, int] = (1, 1),
        padding: Padding | None = None,
        depthwise: bool = False,
        function: Any = "linear",
    ) -> Chain:
        """With `padding` None, TensorFlow's SAME."""
        name, channels = self.name(), self.channels
        if padding is None:
            _, height, width, _ = self.shapes[self.last]
            padding = Padding.same((height, width), kernel, strides)
        shape = (*kernel, channels, 1) if depthwise else (*kernel, channels, out)
        fan = kernel[0] * kernel[1] * (1 if depthwise else channels)
        weights = self._floats(*shape) / np.float32(np.sqrt(fan))
        bias = self._floats(channels if depthwise else out)
        return self.add(
            Convolution(
                name, (self.last,), name, weights, bias, function, strides, padding, depthwise
            )
        )

    def dense(self, out: int, function: Any = "linear") -> Chain:
        name, size = self.name(), self.channels
        weights = self._floats(size, out) / np.float32(np.sqrt(size))
        return self.add(Dense(name, (self.last,), name, weights, self._floats(out), function))

    def activation(self, function: Any) -> Chain:
        name = self.name()
        return self.add(Activation(name, (self.last,), name, function))

    def leaky_relu(self, slope: float = 0.2) -> Chain:
        name = self.name()
        return self.add(LeakyRelu(name, (self.last,), name, slope))

    def pad(self, padding: Padding) -> Chain:
        name = self.name()
        return self.add(Pad(name, (self.last,), name, padding))

    def pool(self, keep: bool = False, kind: type[GlobalPool] = GlobalAverage) -> Chain:
        name = self.name()
        return self.add(kind(name, (self.last,), name, keep))

    def reshape(self, *target: int) -> Chain:
        name = self.name()
        return self.add(Reshape(name, (self.last,), name, target))

    def plus(self, other: str) -> Chain:
        name = self.name()
        return self.add(Add(name, (self.last, other), name))

    def times(self, feature_map: str) -> Chain:
        """A map times the last tensor, its gate."""
        name = self.name()
        return self.add(Multiply(name, (feature_map, self.last), name))

    def join(self, *others: str) -> Chain:
        """The last vector, and others beside it."""
        name = self.name()
        return self.add(Concatenate(name, (self.last, *others), name))

    def gate(self) -> Chain:
        """Squeeze-and-excite, as keras.applications builds it."""
        source, channels = self.last, self.channels
        self.pool().reshape(1, 1, channels)
        self.convolution(2).activation("silu").convolution(channels).activation("sigmoid")
        return self.times(source)

    def head(self, classes: int = 5, pool: type[GlobalPool] = GlobalAverage) -> Graph:
        """Pools, classifies and ends the graph."""
        self.pool(kind=pool).dense(classes)
        return self.graph()

    def summed_head(self, classes: int = 5) -> Graph:
        """Classifies by the mean and by the maximum at once, and ends the graph."""
        source = self.last
        maxima = self.pool(kind=GlobalMaximum).dense(classes).last
        self.last = source
        self.pool().dense(classes).plus(maxima)
        return self.graph()

    def graph(self) -> Graph:
        """Ends the graph: the last tensor is the logits."""
        logits = self.last
        self.add(Activation("softmax", (logits,), PROBABILITIES, "softmax"))
        graph = Graph("chain", self.shapes[INPUT], tuple(self.operators), (logits, PROBABILITIES))
        return graph.renamed({logits: LOGITS}, (LOGITS, PROBABILITIES))


@st.composite
def chains(draw: st.DrawFn) -> Graph:
    """Small networks of what a Keras EfficientNet is made of, before any pass."""
    size = st.integers(5, 12)
    chain = Chain(draw(size), draw(size), seed=draw(st.integers(0, 1000)))
    for _ in range(draw(st.integers(1, 2))):
        chain.affine(draw(st.floats(0.004, 0.02)), draw(st.floats(-2, 0)))
    for step in draw(st.lists(st.sampled_from(sorted(_STEPS)), max_size=6)):
        _STEPS[step](chain, draw)
    if draw(st.booleans()):
        return chain.summed_head()
    return chain.head(pool=draw(st.sampled_from([GlobalAverage, GlobalMaximum])))


def _convolve(chain: Chain, draw: st.DrawFn) -> None:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    strides = (draw(st.integers(1, 2)), draw(st.integers(1, 2)))
    chain.convolution(
        draw(st.integers(1, 6)), kernel, strides, depthwise=draw(st.booleans())
    ).affine()
    function = draw(st.sampled_from([None, "relu", "relu6", "silu", "gelu", "tanh", "leaky_relu"]))
    if function == "leaky_relu":
        chain.leaky_relu()
    elif function is not None:
        chain.activation(function)


def _pad_and_convolve(chain: Chain, draw: st.DrawFn) -> None:
    # Under a kernel's size, as in every network: OpenVINO errs in windows of nothing but zeros.
    chain.pad(Padding(*(draw(st.integers(0, 1)) for _ in range(4))))
    chain.convolution(4, (3, 3), (2, 2), depthwise=draw(st.booleans()))


def _residual(chain: Chain, draw: st.DrawFn) -> None:
    source, channels = chain.last, chain.channels
    chain.convolution(channels, (3, 3)).affine().plus(source)


_STEPS: dict[str, Callable[[Chain, st.DrawFn], Any]] = {
    "affine": lambda chain, draw: chain.affine(),
    "convolve": _convolve,
    "gate": lambda chain, draw: chain.gate(),
    "pad": _pad_and_convolve,
    "residual": _residual,
}


def randomized(model: Any, gain: float = 1.0, seed: int = 0) -> Any:
    """The model with BatchNorm as no network starts with it: each statistic another number.

    A `gain` below 1 keeps the maps of many random blocks from growing until rounding decides.
    """
    import keras

    random = np.random.default_rng(seed)
    for layer in _layers(model):
        if isinstance(layer, keras.layers.BatchNormalization):
            size = layer.moving_mean.shape
            layer.moving_mean.assign(random.normal(0, 0.2, size))
            layer.moving_variance.assign(random.uniform(0.5, 1.5, size))
            layer.gamma.assign(gain * random.uniform(0.7, 1.4, size))
            layer.beta.assign(random.normal(0, 0.2, size))
    return model


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def keras_answers(model: Any, images: Pixels) -> Floats:
    """What the Keras model itself answers, its last activation included."""
    return np.asarray(model(images.astype(np.float32), training=False))


def softmax(logits: Floats) -> Floats:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
