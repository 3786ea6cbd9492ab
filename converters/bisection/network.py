"""What bisection sees of a file, int8 or float: steps in order, and ways to run parts of it.

A step is one operator; `returned` is a set of steps, by index, that compute in float where the file
computes in int8. A value passes from one step to the next in float where both are in float; at the
border of such an island it passes through int8 as before.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import permutations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.bisection.feed import Feed
from converters.formats.pixel_groups import GROUPS, spread_like
from converters.graph import LOGITS, VALUES, Floats
from edgenet.errors import UsageError
from edgenet.images import Pixels
from edgenet.measure.accuracy import sqnr_db

Levels = NDArray[np.int8]
# Weights rounded to 8 bits keep 30 dB and more; those of a rewritten operator are other numbers.
_SAME_WEIGHTS_DB = 20.0
# To (height, width, in, out) from TFLite's order of a convolution's weights, and from the others'.
_CONVOLUTIONS = ((1, 2, 3, 0), (2, 3, 1, 0))
# Operators that hand answers on as they are, or as probabilities, by the formats' names for them.
_HANDING_ON = frozenset(
    [
        *("softmax", "reshape", "flatten", "squeeze", "unsqueeze", "expanddims", "transpose"),
        *("identity", "cast", "convert", "quantize", "dequantize", "quantizelinear"),
        *("dequantizelinear", "fakequantize"),
    ]
)


@dataclass(frozen=True)
class Step:
    """One operator of a file.

    Attributes:
        name: Its own, within the file.
        layer: The Keras layer that it came from, as far as names tell.
        kind: What its format calls it, as in CONV_2D.
        tensor: What it makes, by the name that the float reference has for it too.
        elements: The size of that tensor.
        macs: Multiply-accumulate operations.
        quantized: It computes in int8, or in float on what was rounded for it: it can be returned
            to float.
    """

    name: str
    layer: str
    kind: str
    tensor: str
    elements: int
    macs: int
    quantized: bool


class Probe(ABC):
    """A loaded model that hands out some tensors of one batch; maps are channels last."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    @abstractmethod
    def _run(self, batch: NDArray[Any]) -> list[Floats]:
        """The tensors of a batch in the form and size that the file takes."""

    def run(self, images: Pixels) -> Iterator[list[Floats]]:
        """The tensors of images (N × height × width × 3), a batch of the file's own size a time.

        A last batch that is not full is filled up for the run and cut again.
        """
        for batch, count in self._feed.batches(images):
            yield [tensor[:count] for tensor in self._run(batch)]


class Network(ABC):
    """A file taken apart; `steps` are in the order in which they run.

    `answer` is the step that makes the logits, or a regression's values: neither a softmax, nor
    what only moves or rounds values. `classes` counts them; `regresses` tells that they are values.
    """

    steps: tuple[Step, ...]
    answer: int
    feed: Feed
    classes: int
    regresses: bool

    @abstractmethod
    def probe(self, taps: Sequence[int], returned: Collection[int] = ()) -> Probe:
        """The file with these steps returned to float, handing out the tensors of `taps`."""

    @abstractmethod
    def alone(self, taps: Sequence[int]) -> Probe:
        """The file all in float, with each of `taps` run beside it in int8 on float inputs.

        It hands out two tensors a tap: the step's in float, and the step's in int8.
        """

    @abstractmethod
    def constants(self, tensor: str) -> tuple[Floats, ...]:
        """The float constants of the operator that makes a tensor: weights first, then the bias."""

    @abstractmethod
    def function(self, tensor: str) -> str:
        """The activation that makes a tensor of a float file: "relu", "relu6", else "linear"."""

    @abstractmethod
    def _kind(self, node: Any) -> str:
        """What the format calls a node of the file."""

    @abstractmethod
    def _source(self, node: Any) -> Any | None:
        """The node that makes the first of what a node reads, or None."""

    @abstractmethod
    def _number(self, node: Any) -> int | None:
        """The step that a node is, or is the end of, or None."""

    def levels(self, number: int) -> Levels | None:
        """The int8 weights of a step, (..., in, out), whose products are added two by two.

        None where it has none: a depthwise convolution, say, or all of a format whose engine adds
        in 32 bits.
        """
        return None

    @cached_property
    def index(self) -> Mapping[str, int]:
        """The step that makes each tensor."""
        return {step.tensor: number for number, step in enumerate(self.steps)}

    @cached_property
    def quantized(self) -> tuple[int, ...]:
        """The steps that can be returned to float."""
        return tuple(number for number, step in enumerate(self.steps) if step.quantized)

    def _answering(self, vectors: Mapping[str, tuple[Any | None, int]]) -> tuple[int, int, bool]:
        """Finds the step that makes the output called logits or values, or else the first output.

        Args:
            vectors: The outputs of one row an image, in order: the node that makes each, and its
                size.

        Returns:
            Its number, how many classes or values it has, and whether they are values, as one alone
            always is.

        Raises:
            UsageError: There is none, or it is no step's.
        """
        if not vectors:
            raise UsageError("the file hands out no vector of classes: it is no classifier")
        name = next((known for known in (LOGITS, VALUES) if known in vectors), next(iter(vectors)))
        node, classes = vectors[name]
        node = self._acting(node)
        number = None if node is None else self._number(node)
        if number is None:
            stands = "nothing in it" if node is None else self._kind(node)
            raise UsageError(
                f"the file's output {name!r} is made by {stands}, which bisect cannot take apart: "
                "export the file with its logits as its output"
            )
        return number, classes, name == VALUES or classes == 1

    def _acting(self, node: Any | None) -> Any | None:
        """The node itself, or that before it which does more than hand on what it gets."""
        while node is not None and self._kind(node).replace("_", "").lower() in _HANDING_ON:
            node = self._source(node)
        return node


def channels_last(values: Floats) -> Floats:
    """A map as a probe hands it out, from one with its channels first; a vector as it is."""
    return values.transpose(0, 2, 3, 1) if values.ndim == 4 else values


def float_constants(
    reference: Network | None, tensor: str, rounded: Sequence[Floats]
) -> list[Floats]:
    """A step's constants in float: the reference's if `rounded` are those rounded, else `rounded`.

    Args:
        reference: The float network, in any format; layouts may differ.
        tensor: What the step makes.
        rounded: The step's constants, dequantized: weights first, then the bias.
    """
    found = reference.constants(tensor) if reference is not None else ()
    if len(found) != len(rounded):
        return list(rounded)
    weights = _matching(found[0], rounded[0]) if rounded else None
    if weights is None:
        return list(rounded)
    pairs = zip(found[1:], rounded[1:], strict=True)
    # A bias over groups of pixels is the same for each pixel.
    return [weights, *(np.resize(theirs, ours.shape) for theirs, ours in pairs)]


def aligned(steps: Sequence[Step], answer: int, reference: Network | None) -> tuple[Step, ...]:
    """The steps with the reference's names, where their own do not tell what they make.

    Those are the logits, layers that no name tells, and maps in groups of pixels. Such a map costs
    what the reference's does: what its convolution multiplies by zero is no work of the network's.

    Args:
        steps: A file's.
        answer: The one that makes the logits.
        reference: The float network; None leaves the steps as they are.
    """
    if reference is None:
        return tuple(steps)
    logits = reference.steps[reference.answer].tensor
    named = [
        replace(step, tensor=logits) if number == answer else _ungrouped(step, reference)
        for number, step in enumerate(steps)
    ]
    layers = {step.tensor: step.layer for step in reference.steps}
    return tuple(
        step if own.layer != own.tensor else replace(step, layer=layers.get(step.tensor, own.layer))
        for step, own in zip(named, steps, strict=True)
    )


def _grouped(theirs: Floats, rounded: Floats) -> Floats | None:
    """`theirs` as `rounded` holds them, where that is the convolution over groups of pixels."""
    if theirs.ndim != 4 or rounded.ndim != 4:
        return None
    for our_axes, their_axes in product(_CONVOLUTIONS, repeat=2):
        ours = rounded.transpose(our_axes)
        spread = spread_like(theirs.transpose(their_axes), ours)
        if spread is not None and _same(spread, ours):
            return np.ascontiguousarray(spread.transpose(np.argsort(our_axes)))
    return None


def _same(theirs: Floats, rounded: Floats) -> bool:
    ratio = sqnr_db(theirs.reshape(1, -1), rounded.reshape(1, -1))
    return ratio is None or ratio >= _SAME_WEIGHTS_DB


def _ungrouped(step: Step, reference: Network) -> Step:
    tensor = step.tensor.removesuffix(GROUPS)
    if tensor == step.tensor or tensor not in reference.index:
        return step
    return replace(step, tensor=tensor, macs=reference.steps[reference.index[tensor]].macs)


def _matching(theirs: Floats, rounded: Floats) -> Floats | None:
    """`theirs` in the axes of `rounded`, where the one is the other but for its rounding."""
    if theirs.size != rounded.size:
        return _grouped(theirs, rounded)
    # Axes of one value stand elsewhere in each format, and there may be more of them.
    theirs, ours = theirs.squeeze(), rounded.squeeze()
    for axes in permutations(range(theirs.ndim)):
        turned = theirs.transpose(axes)
        if turned.shape == ours.shape and _same(turned, ours):
            return np.ascontiguousarray(turned.reshape(rounded.shape), np.float32)
    return None
