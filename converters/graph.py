"""The frozen graph: what a Keras EfficientNet computes at inference, as a short list of operators.

Tensors are float32, channels last, of fixed shape, and known by name. An operator has the name of
the Keras layer that it came from, and a tensor that of the last layer folded into what makes it, so
that a report can speak of layers. The one input holds RGB pixels, 0..255. Every format is lowered
from this graph alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from converters.description import Description

Shape = tuple[int, ...]
Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
Function = Literal[
    "linear",
    "relu",
    "relu6",
    "leaky_relu",
    "elu",
    "silu",
    "gelu",
    "gelu_tanh",
    "sigmoid",
    "tanh",
    "softmax",
]

INPUT = "image"
LOGITS = "logits"
PROBABILITIES = "probabilities"
VALUES = "values"
FEATURES = "features"


@dataclass(frozen=True)
class Padding:
    """Zeros around a map, in pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def __add__(self, other: Padding) -> Padding:
        return Padding(
            self.top + other.top,
            self.bottom + other.bottom,
            self.left + other.left,
            self.right + other.right,
        )

    @classmethod
    def same(
        cls, size: tuple[int, int], kernel: tuple[int, int], strides: tuple[int, int]
    ) -> Padding:
        """TensorFlow's SAME: ceil(size / stride) out, an odd zero at the bottom right."""
        (top, bottom), (left, right) = (
            _same_along(n, k, s) for n, k, s in zip(size, kernel, strides, strict=True)
        )
        return cls(top, bottom, left, right)


def _same_along(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True, eq=False)
class Operator:
    """A step: it reads the tensors `inputs` and makes the tensor `output`."""

    name: str
    inputs: tuple[str, ...]
    output: str

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """The output's shape, from the inputs'."""
        return inputs[0]

    def macs(self, output: Shape) -> int:
        """Multiply-accumulate operations of one image, for an output of that shape."""
        return 0


@dataclass(frozen=True, eq=False)
class Affine(Operator):
    """x * scale + offset, channel by channel; both have shape (channels,)."""

    scale: Floats
    offset: Floats

    def as_convolution(self) -> Convolution:
        """The same by a depthwise convolution, whose weights have a scale for each channel."""
        return Convolution(
            self.name,
            self.inputs,
            self.output,
            weights=self.scale.reshape(1, 1, -1, 1),
            bias=self.offset,
            function="linear",
            strides=(1, 1),
            padding=Padding(),
            depthwise=True,
        )


@dataclass(frozen=True, eq=False)
class Unscaled(Affine):
    """Divides the gains of a scaled SiLU out again, for its sigmoid.

    See `converters.quantization.silu`.
    """


@dataclass(frozen=True, eq=False)
class Lifted(Affine):
    """Multiplies a map by gains, for the depthwise convolutions that read it.

    See `converters.quantization.lifting`.
    """


@dataclass(frozen=True, eq=False)
class Linear(Operator):
    """A convolution or a matrix product; `bias` has a value for each output channel.

    `function` is an activation that every engine computes inside the operator: linear, relu or
    relu6. `scales`, (out,), say that the weights have been rounded to whole multiples of them.
    """

    weights: Floats
    bias: Floats
    function: Function
    scales: Floats | None = field(default=None, kw_only=True)

    def scaled(self, scale: Floats, offset: Floats) -> Linear:
        """The same operator with what enters its function multiplied and shifted by channel."""
        return replace(
            self,
            weights=self._scaled_weights(scale),
            bias=(self.bias * scale + offset).astype(np.float32),
            scales=None if self.scales is None else self.scales * np.abs(scale),
        )

    def reading(self, gain: Floats) -> Linear:
        """The same operator for an input whose channels are multiplied by a gain, (in,)."""
        # In all kinds of weights, depthwise ones too, the last axis but one is the channel read.
        # Where an output has weights of several channels, they are no multiples of its scale now.
        weights = (self.weights / gain[:, None]).astype(np.float32)
        return replace(self, weights=weights, scales=None)

    def _scaled_weights(self, scale: Floats) -> Floats:
        return (self.weights * scale).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Convolution(Linear):
    """A convolution over a map.

    `weights` are (height, width, in, out); where `depthwise`, (height, width, channels, 1).
    """

    strides: tuple[int, int]
    padding: Padding
    depthwise: bool

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width, in pixels."""
        return self.weights.shape[0], self.weights.shape[1]

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        batch, height, width, _ = inputs[0]
        p = self.padding
        return (
            batch,
            (height + p.top + p.bottom - self.kernel[0]) // self.strides[0] + 1,
            (width + p.left + p.right - self.kernel[1]) // self.strides[1] + 1,
            self.bias.size,
        )

    def macs(self, output: Shape) -> int:
        return prod(output[1:3]) * self.weights.size

    def reading(self, gain: Floats) -> Linear:
        # A depthwise one has a scale for each channel, which takes the gain: its levels stay.
        kept = None if self.scales is None or not self.depthwise else self.scales / gain
        return replace(super().reading(gain), scales=kept)

    def _scaled_weights(self, scale: Floats) -> Floats:
        by_channel = scale[:, None] if self.depthwise else scale
        return (self.weights * by_channel).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Dense(Linear):
    """A matrix product: `weights` are (in, out)."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], self.bias.size)

    def macs(self, output: Shape) -> int:
        return self.weights.size


@dataclass(frozen=True, eq=False)
class Activation(Operator):
    """A function of each value (softmax: of each vector of classes).

    `gelu_tanh` is GELU by its authors' approximation with tanh, Hendrycks and Gimpel 2016.
    """

    function: Function


def is_silu(operator: Operator) -> bool:
    """Whether an operator is x * sigmoid(x)."""
    return isinstance(operator, Activation) and operator.function == "silu"


@dataclass(frozen=True, eq=False)
class LeakyRelu(Activation):
    """Values above zero as they are, and those below it times `slope`."""

    function: Function = field(default="leaky_relu", init=False)
    slope: float


@dataclass(frozen=True, eq=False)
class Pairwise(Operator):
    """Elementwise, of two tensors: their sizes are equal, or one is 1 and is broadcast."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return tuple(max(sizes) for sizes in zip(*inputs, strict=True))


@dataclass(frozen=True, eq=False)
class Add(Pairwise):
    """The sum of two tensors, the larger one first."""


@dataclass(frozen=True, eq=False)
class Multiply(Pairwise):
    """A map times a gate: by channel, by position or by both."""


@dataclass(frozen=True, eq=False)
class Capped(Multiply):
    """min(map · gate, most), where `most` is above zero.

    See `converters.quantization.piecewise`, as for `Excess`.
    """

    most: float


@dataclass(frozen=True, eq=False)
class Excess(Operator):
    """max(x - threshold, 0), of a map and a threshold above zero."""

    threshold: float


@dataclass(frozen=True, eq=False)
class GlobalPool(Operator):
    """One value a channel: (batch, channels), or with 1, 1 between to `keep` the map."""

    keep: bool

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        batch, _, _, channels = inputs[0]
        return (batch, 1, 1, channels) if self.keep else (batch, channels)


@dataclass(frozen=True, eq=False)
class GlobalAverage(GlobalPool):
    """The mean over height and width."""


@dataclass(frozen=True, eq=False)
class GlobalMaximum(GlobalPool):
    """The largest over height and width."""


@dataclass(frozen=True, eq=False)
class Pad(Operator):
    """Zeros around a map, where no convolution could take them in."""

    padding: Padding

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        batch, height, width, channels = inputs[0]
        p = self.padding
        return (batch, height + p.top + p.bottom, width + p.left + p.right, channels)


@dataclass(frozen=True, eq=False)
class Reshape(Operator):
    """The same values in another shape; `target` leaves out the batch."""

    target: Shape

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (inputs[0][0], *self.target)


@dataclass(frozen=True, eq=False)
class Picked(Operator):
    """Some channels of a map, or all of them in another order: those at `channels`, (out,)."""

    channels: NDArray[np.intp]

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], self.channels.size)


@dataclass(frozen=True, eq=False)
class Concatenate(Operator):
    """Channels side by side; for those of vectors see `converters.joins`."""

    def shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (*inputs[0][:-1], sum(shape[-1] for shape in inputs))


Moving = Pad | Reshape | GlobalMaximum
"""Operators that only pass on values of their input, or zeros: they share its quantization."""
Pointwise = Add | Activation | Affine
"""Operators that compute each value from those at the same place of their inputs."""


@dataclass(frozen=True, eq=False)
class Graph:
    """A network: operators in the order in which they run.

    `input_shape` is (batch, height, width, 3). `outputs` names tensors, the answer first: logits,
    probabilities, features; or values, features. `pixels` is what the input holds them as: their
    values are 0..255 in both. `description` is what a file tells of itself, where that is known.
    """

    name: str
    input_shape: Shape
    operators: tuple[Operator, ...]
    outputs: tuple[str, ...]
    pixels: Literal["uint8", "float32"] = "uint8"
    description: Description | None = None

    @property
    def answer(self) -> str:
        """The tensor that the network is for: the logits, or a regression's values."""
        return self.outputs[0]

    @property
    def regresses(self) -> bool:
        """Whether it answers with values instead of classes."""
        return self.answer == VALUES

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """The shape of every tensor, the input's among them."""
        shapes: dict[str, Shape] = {INPUT: self.input_shape}
        for operator in self.operators:
            shapes[operator.output] = operator.shape(
                tuple(shapes[name] for name in operator.inputs)
            )
        return shapes

    @cached_property
    def producers(self) -> Mapping[str, Operator]:
        """The operator that makes each tensor; the input has none."""
        return {operator.output: operator for operator in self.operators}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Operator, ...]]:
        """The operators that read each tensor, in order."""
        consumers: dict[str, tuple[Operator, ...]] = dict.fromkeys(self.shapes, ())
        for operator in self.operators:
            for name in operator.inputs:
                consumers[name] += (operator,)
        return consumers

    @cached_property
    def unrounded(self) -> frozenset[str]:
        """The tensors at the end of the network that every format leaves in float.

        These are the answer and, back to the last convolutions or dense layers, all that only the
        answer is computed from, elementwise.
        """
        found, left = set[str](), [self.answer]
        while left:
            tensor = left.pop()
            found.add(tensor)
            if isinstance(last := self.producers.get(tensor), Pointwise):
                left += [name for name in last.inputs if self._is_term(name)]
        return frozenset(found)

    def _is_term(self, tensor: str) -> bool:
        alone = len(self.consumers[tensor]) == 1 and tensor not in self.outputs
        made = self.producers.get(tensor)
        return alone and self.is_vector(tensor) and isinstance(made, Linear | Pointwise)

    def ends_in_float(self, operator: Operator) -> bool:
        """Whether an operator is in float as it follows the last convolution or dense layer."""
        return not isinstance(operator, Linear) and operator.output in self.unrounded

    def is_vector(self, tensor: str) -> bool:
        """Whether a tensor has one value a channel and image."""
        shape = self.shapes[tensor]
        return len(shape) == 2 or tuple(shape[1:3]) == (1, 1)

    def with_operators(self, operators: list[Operator]) -> Graph:
        """The graph with other operators."""
        return replace(self, operators=tuple(operators))

    def renamed(self, names: Mapping[str, str], outputs: tuple[str, ...]) -> Graph:
        """The graph with some tensors under other names, and these outputs."""
        operators = tuple(
            replace(
                operator,
                inputs=tuple(names.get(name, name) for name in operator.inputs),
                output=names.get(operator.output, operator.output),
            )
            for operator in self.operators
        )
        return replace(self, operators=operators, outputs=outputs)
