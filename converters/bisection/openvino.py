"""OpenVINO IR, float or with FakeQuantize, taken apart by its nodes and run in the CPU plugin.

Only what reads through a FakeQuantize computes in int8: convolutions and matrix products. Returned
to float, they read past it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from numpy.typing import NDArray
from openvino import opset13 as ops

from converters.bisection.feed import Feed
from converters.bisection.names import layer_of
from converters.bisection.network import (
    Levels,
    Network,
    Probe,
    Step,
    aligned,
    channels_last,
    float_constants,
)
from converters.graph import Floats
from converters.preprocessing import Preprocessing
from edgenet.errors import UsageError
from edgenet.runtime.processors import cpu_threads

_LINEAR = {
    "Convolution": ops.convolution,
    "GroupConvolution": ops.group_convolution,
    "MatMul": ops.matmul,
}
_FUNCTIONS = {"Relu": "relu", "Clamp": "relu6"}
_POOLS = ("MaxPool", "ReduceMax", "ReduceMean")
_ACTIVATIONS = ("Elu", "Gelu", "PRelu", "Sigmoid", "Softmax", "Swish", "Tanh")
_OTHERS = ("Add", "Minimum", "Multiply", "Pad", *_ACTIVATIONS, *_FUNCTIONS, *_POOLS)
_FAKE = "FakeQuantize"
_FOLDED = ("Convert", "Multiply", "Reshape")


@dataclass(frozen=True, eq=False)
class _Part:
    """An operator in nodes: `root` computes, `biased` adds its bias, `end` is what others read."""

    root: Any
    biased: Any
    end: Any

    @property
    def linear(self) -> bool:
        return self.root.get_type_name() in _LINEAR

    @property
    def quantized(self) -> bool:
        return self.linear and _maker(self.root, 0).get_type_name() == _FAKE

    @cached_property
    def constants(self) -> tuple[Floats, ...]:
        """Weights, dequantized, and the bias where there is one."""
        weights = _values(_maker(self.root, 1))
        if self.biased is self.root:
            return (weights,)
        return weights, _values(_bias(self.biased)).reshape(-1)

    @property
    def levels(self) -> Levels | None:
        """The int8 weights, (..., in, out), of which a convolution of groups has none."""
        kind = self.root.get_type_name()
        constant = _maker(self.root, 1) if self.linear else None
        while constant is not None and constant.get_type_name() in _FOLDED:
            constant = _maker(constant, 0)
        if kind == "GroupConvolution" or constant is None or constant.get_type_name() != "Constant":
            return None
        if constant.get_element_type() != ov.Type.i8:
            return None
        levels = np.asarray(constant.data)
        if kind == "Convolution":
            return levels.transpose(2, 3, 1, 0)
        return levels.T if self.root.get_attributes()["transpose_b"] else levels

    def duplicate(self) -> Any:
        """The root and its bias a second time, on the same inputs."""
        kind = self.root.get_type_name()
        attributes = dict(self.root.get_attributes())
        product = _LINEAR[kind](*self.root.input_values(), **attributes)
        return product if self.biased is self.root else ops.add(product, _bias(self.biased))

    def release(self, weights: Floats, *bias: Floats) -> None:
        """Reads past the FakeQuantize, with these constants."""
        shape = list(self.root.input_value(1).shape)
        _feed(self.root, 0, _maker(self.root, 0).input_value(0))
        _feed(self.root, 1, ops.constant(weights.reshape(shape)).output(0))
        for values in bias:
            place = [_is_constant(_maker(self.biased, n)) for n in (0, 1)].index(True)
            shape = list(self.biased.input_value(place).shape)
            _feed(self.biased, place, ops.constant(values.reshape(shape)).output(0))


class OpenvinoNetwork(Network):
    """An .xml file with its .bin beside it."""

    def __init__(
        self,
        path: Path,
        reference: Network | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self._model, self._reference = _read(path), reference
        self._parts = list(_parts(self._model))
        self._place = {part.end.friendly_name: n for n, part in enumerate(self._parts)}
        vectors = [output for output in self._model.outputs if len(output.shape) == 2]
        self.answer, self.classes, self.regresses = self._answering(
            {
                name: (_maker(vector.get_node(), 0), int(vector.shape[1]))
                for vector in vectors
                for name in vector.names
            }
        )
        self.steps = aligned(list(map(_step, self._parts)), self.answer, reference)
        taken = self._model.inputs[0]
        shape = list(taken.shape) if taken.partial_shape.is_static else []
        self.feed = Feed.of(shape, taken.element_type.to_dtype(), preprocessing)

    def probe(self, taps: Sequence[int], returned: Collection[int] = ()) -> Probe:
        model, parts = self._copy()
        for number in returned:
            parts[number].release(*self._float_constants(number))
        return _OpenvinoProbe(model, [parts[tap].end for tap in taps], self.feed)

    def alone(self, taps: Sequence[int]) -> Probe:
        model, parts = self._copy()
        # The second copies are made first: they keep the weights that the others lose.
        pairs = [(parts[tap].biased, parts[tap].duplicate()) for tap in taps]
        for number in self.quantized:
            parts[number].release(*self._float_constants(number))
        return _OpenvinoProbe(model, [node for pair in pairs for node in pair], self.feed)

    def constants(self, tensor: str) -> tuple[Floats, ...]:
        number = self.index.get(tensor)
        if number is None or not self._parts[number].linear:
            return ()
        return self._parts[number].constants

    def function(self, tensor: str) -> str:
        number = self.index.get(tensor)
        kind = "" if number is None else self._parts[number].end.get_type_name()
        return _FUNCTIONS.get(kind, "linear")

    def levels(self, number: int) -> Levels | None:
        return self._parts[number].levels

    def _copy(self) -> tuple[Any, list[_Part]]:
        model = self._model.clone()
        return model, list(_parts(model))

    def _float_constants(self, number: int) -> list[Floats]:
        step, part = self.steps[number], self._parts[number]
        return float_constants(self._reference, step.tensor, part.constants)

    def _kind(self, node: Any) -> str:
        return str(node.get_type_name())

    def _source(self, node: Any) -> Any | None:
        return _maker(node, 0)

    def _number(self, node: Any) -> int | None:
        return self._place.get(node.friendly_name)


class _OpenvinoProbe(Probe):
    def __init__(self, model: Any, nodes: Sequence[Any], feed: Feed) -> None:
        super().__init__(feed)
        results = [ops.result(node) for node in nodes]
        properties = {
            "INFERENCE_NUM_THREADS": cpu_threads(None),
            "INFERENCE_PRECISION_HINT": "f32",
        }
        cut = ov.Model(results, model.get_parameters(), "bisection")
        self._compiled = ov.Core().compile_model(cut, "CPU", properties)
        self._count = len(results)

    def _run(self, batch: NDArray[Any]) -> list[Floats]:
        found = self._compiled(batch)
        return [channels_last(np.asarray(found[place])) for place in range(self._count)]


def _read(path: Path) -> Any:
    try:
        return ov.Core().read_model(path)
    except RuntimeError as error:
        raise UsageError(f"{path} is no OpenVINO IR ({error})") from error


def _parts(model: Any) -> Iterator[_Part]:
    """The operators in the order in which they run."""
    taken: set[str] = set()
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if node.friendly_name in taken or _is_constant(node):
            continue
        if kind in _LINEAR:
            part = _linear(node)
            taken |= {part.biased.friendly_name, part.end.friendly_name}
            yield part
        elif kind in _OTHERS:
            yield _Part(node, node, node)


def _linear(root: Any) -> _Part:
    biased = end = root
    reader = _only_reader(root)
    if reader is not None and reader.get_type_name() == "Add" and _bias(reader) is not None:
        biased = end = reader
        reader = _only_reader(biased)
    if reader is not None and reader.get_type_name() in _FUNCTIONS:
        end = reader
    return _Part(root, biased, end)


def _step(part: _Part) -> Step:
    shape = list(part.end.output(0).shape)
    macs, constants = 0, list[str]()
    if part.linear:
        weights = prod(part.root.input_value(1).shape)
        macs = weights * (1 if part.root.get_type_name() == "MatMul" else prod(shape[2:]))
        constants = [_maker(part.root, 1).friendly_name]
    tensor = part.end.friendly_name
    return Step(
        name=part.root.friendly_name,
        layer=layer_of(tensor, constants),
        kind=part.root.get_type_name(),
        tensor=tensor,
        elements=prod(shape),
        macs=macs,
        quantized=part.quantized,
    )


def _maker(node: Any, place: int) -> Any:
    return node.input_value(place).get_node()


def _only_reader(node: Any) -> Any | None:
    readers = [target.get_node() for target in node.output(0).get_target_inputs()]
    return readers[0] if len(readers) == 1 else None


def _is_constant(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return True
    folded = node.get_type_name() in _FOLDED
    return folded and all(_is_constant(value.get_node()) for value in node.input_values())


def _bias(node: Any) -> Any | None:
    """The constant that an addition adds."""
    return next((v.get_node() for v in node.input_values() if _is_constant(v.get_node())), None)


def _values(node: Any) -> Floats:
    """The numbers of a constant; a weight's grouping is left out."""
    kind = node.get_type_name()
    if kind == "Constant":
        return np.asarray(node.data, np.float32)
    if kind == "Multiply":
        return (_values(_maker(node, 0)) * _values(_maker(node, 1))).astype(np.float32)
    return _values(_maker(node, 0))


def _feed(node: Any, place: int, source: Any) -> None:
    node.input(place).replace_source_output(source)
