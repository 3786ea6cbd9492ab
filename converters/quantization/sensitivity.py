"""Sensitivity analysis: what quantizing any set of tensors, and nothing else, costs the logits.

The network is cut in stages, a session each. A set of tensors is rounded in the stages that make
them; what lies before is the same for all sets and kept for each image, and what lies behind runs
in sessions that are there already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from converters.formats.cost import in_float
from converters.formats.onnx import build
from converters.formats.onnx_nodes import channels_first
from converters.graph import INPUT, Activation, Excess, Floats, Graph, Unscaled, is_silu
from converters.quantization.parallel import in_order
from converters.quantization.simulate import Image, Runner, noise, replaced, rounding, runner
from converters.scheme.parameters import Quantization
from converters.segments import Segment, segments

# The more there are, the less runs in vain before the first rounded tensor.
_STAGES = 16

# A value of each image.
_Values = Sequence[NDArray[Any]]


@dataclass(frozen=True, eq=False)
class _Stage:
    """The network in float from one tensor, `source`, to another, `result`.

    Attributes:
        graph: The whole graph.
        model: Of the stage.
        held: How the tensors that it makes are held where they are rounded.
        shifts: What is added to some of them where they are rounded: (1, channels, 1, 1).
    """

    graph: Graph
    source: str
    result: str
    model: onnx.ModelProto
    held: Mapping[str, Quantization]
    shifts: dict[str, Floats] = field(default_factory=dict)

    @cached_property
    def exact(self) -> Runner:
        """Runs it in float."""
        return runner(self.model, [self.result])

    @cached_property
    def _rounded(self) -> Runner:
        return self._with_levels(self.held)

    def rounding(self, tensors: Collection[str]) -> Runner:
        """Runs it with these tensors rounded, those that it makes."""
        held = {name: levels for name, levels in self.held.items() if name in tensors}
        if not held:
            return self.exact
        return self._rounded if len(held) == len(self.held) else self._with_levels(held)

    def _with_levels(self, held: Mapping[str, Quantization]) -> Runner:
        def make(name: str, owner: str) -> Iterator[onnx.NodeProto]:
            exact, rounded = f"{name}/exact", f"{name}/rounded"
            if name not in self.shifts:
                yield from rounding(name, exact, name)
                return
            yield from rounding(name, exact, rounded)
            yield helper.make_node("Add", [rounded, f"{name}/shift"], [name])

        model = replaced(self.model, self.graph, held, make)
        for name in held:
            if name in self.shifts:
                shift = numpy_helper.from_array(self.shifts[name], f"{name}/shift")
                model.graph.initializer.append(shift)
        return runner(model, [self.result])

    def observed(self, values: _Values, shifted: Collection[str]) -> _Values:
        """What it makes in float of each image's `source`; learns the shifts of some tensors."""
        own = [name for name in self.held if name in shifted]
        if not own:
            return [found[self.result] for found in self._runs(self.exact, values)]
        watching = runner(_watching(self, own), [self.result, *(f"{name}/shift" for name in own)])
        seen = list(self._runs(watching, values))
        for name in own:
            self.shifts[name] = np.mean([found[f"{name}/shift"] for found in seen], axis=0)
        return [found[self.result] for found in seen]

    def _runs(self, run: Runner, values: _Values) -> Iterator[dict[str, Floats]]:
        return in_order(lambda value: run({self.source: value}), values)


class Sensitivity:
    """Measures, on some images, the noise that rounding any of a network's tensors adds.

    With `corrected`, rounding leaves the mean of each channel as it was in those tensors where bias
    correction will restore it: maps whose readers are linear in them.
    """

    def __init__(
        self,
        graph: Graph,
        held: Mapping[str, Quantization],
        images: Sequence[Image],
        corrected: bool = True,
    ) -> None:
        made = {operator.output for operator in graph.operators}
        self._regresses = graph.regresses
        self.held = [name for name in held if name in made]
        shifted = {name for name in self.held if corrected and _is_made_up_for(graph, name)}
        self._stages = list(_stages(graph, {name: held[name] for name in self.held}))
        # What each stage reads, and the answers.
        self._values: list[_Values] = [images]
        for stage in self._stages:
            self._values.append(stage.observed(self._values[-1], shifted))
        self._reference = np.concatenate(self._values[-1])

    def noise(self, tensors: Collection[str]) -> float:
        """The noise of rounding these tensors alone, as a share of the logits' energy."""
        rounded = set(tensors) & set(self.held)
        if not rounded:
            return 0.0
        first = next(
            place for place, stage in enumerate(self._stages) if rounded.intersection(stage.held)
        )
        steps = [(stage, stage.rounding(rounded)) for stage in self._stages[first:]]

        def answer(value: NDArray[Any]) -> NDArray[Any]:
            for stage, run in steps:
                value = run({stage.source: value})[stage.result]
            return value

        answers = np.concatenate(list(in_order(answer, self._values[first])))
        return noise(answers, self._reference, self._regresses)


def _is_made_up_for(graph: Graph, tensor: str) -> bool:
    """Whether biases make up for a tensor's means: of a map whose readers are linear in it."""
    readers = graph.consumers[tensor]
    linear = not any(isinstance(op, Activation | Unscaled | Excess) for op in readers)
    return linear and not graph.is_vector(tensor)


def _watching(stage: _Stage, tensors: Sequence[str]) -> onnx.ModelProto:
    """A stage in float, which tells by how much rounding these would lower each channel."""

    def make(name: str, owner: str) -> Iterator[onnx.NodeProto]:
        exact, rounded, lost = f"{name}/exact", f"{name}/rounded", f"{name}/lost"
        yield helper.make_node("Identity", [exact], [name])
        if name != owner:
            yield from rounding(name, exact, rounded)
            return
        source = exact
        producer = stage.graph.producers[name]
        if is_silu(producer):
            source = f"{name}/product"
            factors = [producer.inputs[0], f"{name}/sigmoid/rounded"]
            yield helper.make_node("Mul", factors, [source])
        yield from rounding(name, source, rounded)
        yield helper.make_node("Sub", [exact, rounded], [lost])
        yield helper.make_node("GlobalAveragePool", [lost], [f"{name}/shift"])

    held = {name: stage.held[name] for name in tensors}
    model = replaced(stage.model, stage.graph, held, make)
    for name in tensors:
        shift = helper.make_tensor_value_info(f"{name}/shift", TensorProto.FLOAT, None)
        model.graph.output.append(shift)
    return model


def _stages(graph: Graph, held: Mapping[str, Quantization]) -> Iterator[_Stage]:
    model = build(graph, "fp32", outputs=[graph.answer])
    nodes = list(model.graph.node)
    made = {tensor: place for place, node in enumerate(nodes) for tensor in node.output}
    start = 0
    for source, result in pairwise([INPUT, *_cuts(graph), graph.answer]):
        end = made[result] + 1
        own = {name: levels for name, levels in held.items() if start <= made[name] < end}
        part = _part(model, graph, nodes[start:end], source, result)
        yield _Stage(graph, source, result, part, own)
        start = end


def _cuts(graph: Graph) -> Iterator[str]:
    """The tensors that cut the graph in stages of nearly equal time, where it widens again."""
    parts = segments(graph)
    least = sum(_time(graph, part) for part in parts) / _STAGES
    passed = 0.0
    for part, following in pairwise(parts):
        passed += _time(graph, part)
        reader = following.operators[0]
        if passed >= least and prod(graph.shapes[part.result]) < prod(graph.shapes[reader.output]):
            yield part.result
            passed = 0.0


def _time(graph: Graph, segment: Segment) -> float:
    return sum(in_float(graph, operator, "onnx") for operator in segment.operators)


def _part(
    model: onnx.ModelProto,
    graph: Graph,
    nodes: Sequence[onnx.NodeProto],
    source: str,
    result: str,
) -> onnx.ModelProto:
    """What some of a model's nodes compute of one tensor."""
    inputs = list(model.graph.input)
    if source != INPUT:
        shape = channels_first(graph.shapes[source])
        inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)]
    outputs = [helper.make_tensor_value_info(result, TensorProto.FLOAT, None)]
    read = {name for node in nodes for name in node.input}
    constants = [constant for constant in model.graph.initializer if constant.name in read]
    body = helper.make_graph(nodes, source, inputs, outputs, constants)
    part = helper.make_model(body, opset_imports=model.opset_import)
    part.ir_version = model.ir_version
    return part
