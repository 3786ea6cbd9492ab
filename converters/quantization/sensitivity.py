"""Sensitivity analysis: what quantizing any set of tensors, and nothing else, costs the logits.

One session serves all sets, since the rounding of each tensor can be switched on in it: building a
session for each set would take longer than running it. What lies before the first rounded tensor is
the same for all sets, so further sessions start inside the network, where only one tensor is alive.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from converters.formats.cost import in_float
from converters.formats.onnx_nodes import channels_first
from converters.graph import INPUT, Activation, Excess, Floats, Graph, Unscaled, is_silu
from converters.quantization.parallel import in_order
from converters.quantization.simulate import (
    Image,
    Runner,
    noise,
    replaced,
    rounding,
    runner,
)
from converters.scheme.parameters import Quantization
from converters.segments import segments

# Each holds the weights of all that comes after it.
_STAGES = 4
_ALL_BUT_CHANNELS = "all-but-channels"


@dataclass(frozen=True, eq=False)
class _Stage:
    """The network from the tensor `source` on, whose value for each image is in `feeds`."""

    run: Runner
    switches: Sequence[str]
    feeds: Sequence[Mapping[str, Image | Floats]]
    answer: str

    def answers(self, tensors: Collection[str]) -> Floats:
        """With the rounding of these tensors switched on."""
        switches = {f"{name}/on": np.array(name in tensors) for name in self.switches}
        answers = in_order(lambda feed: self.run({**feed, **switches}), self.feeds)
        return np.concatenate([found[self.answer] for found in answers])


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
        made = {operator.output: place for place, operator in enumerate(graph.operators)}
        self._values = graph.regresses
        self.held = [name for name in held if name in made]
        quantizations = {name: held[name] for name in self.held}
        shifted = [name for name in self.held if corrected and _is_made_up_for(graph, name)]
        places = {INPUT: -1, **{name: made[name] for name in _cuts(graph)}}
        sources = [graph.answer, *(name for name in places if name != INPUT)]
        shifts = [f"{name}/shift" for name in shifted]
        run = runner(_watched(graph, quantizations, shifted, sources), [*sources, *shifts])
        found = list(in_order(lambda image: run({INPUT: image}), images))
        self._reference = np.concatenate([values[graph.answer] for values in found])
        model = replaced(graph, quantizations, partial(_switched, set(shifted)), [graph.answer])
        for name in shifted:
            shift = np.mean([values[f"{name}/shift"] for values in found], axis=0)
            model.graph.initializer.append(numpy_helper.from_array(shift, f"{name}/shift"))
        self._stages = []
        for source, place in places.items():
            switches = [name for name in self.held if made[name] > place]
            tail = runner(_tail(model, graph, source, switches), [graph.answer])
            values = images if source == INPUT else [values[source] for values in found]
            self._stages.append(
                _Stage(tail, switches, [{source: value} for value in values], graph.answer)
            )

    def noise(self, tensors: Collection[str]) -> float:
        """The noise of rounding these tensors alone, as a share of the logits' energy."""
        rounded = set(tensors) & set(self.held)
        if not rounded:
            return 0.0
        last = next(stage for stage in reversed(self._stages) if rounded.issubset(stage.switches))
        return noise(last.answers(rounded), self._reference, self._values)


def _is_made_up_for(graph: Graph, tensor: str) -> bool:
    """Whether biases make up for a tensor's means: of a map whose readers are linear in it."""
    readers = graph.consumers[tensor]
    linear = not any(isinstance(op, Activation | Unscaled | Excess) for op in readers)
    return linear and not graph.is_vector(tensor)


def _watched(
    graph: Graph,
    held: Mapping[str, Quantization],
    shifted: Sequence[str],
    outputs: Sequence[str],
) -> onnx.ModelProto:
    """The float model, which tells by how much rounding a tensor would lower each channel."""

    def make(name: str, owner: str) -> Iterator[onnx.NodeProto]:
        exact, rounded, lost = f"{name}/exact", f"{name}/rounded", f"{name}/lost"
        yield helper.make_node("Identity", [exact], [name])
        if name != owner:
            yield from rounding(name, exact, rounded)
            return
        source = exact
        producer = graph.producers[name]
        if is_silu(producer):
            source = f"{name}/product"
            factors = [producer.inputs[0], f"{name}/sigmoid/rounded"]
            yield helper.make_node("Mul", factors, [source])
        yield from rounding(name, source, rounded)
        yield helper.make_node("Sub", [exact, rounded], [lost])
        yield helper.make_node("ReduceMean", [lost, _ALL_BUT_CHANNELS], [f"{name}/shift"])

    model = replaced(graph, {name: held[name] for name in shifted}, make, outputs)
    if not shifted:
        return model
    # The first in which axes are an input.
    model.opset_import[0].version = max(model.opset_import[0].version, 18)
    axes = np.array([0, 2, 3], np.int64)
    model.graph.initializer.append(numpy_helper.from_array(axes, _ALL_BUT_CHANNELS))
    for name in shifted:
        shift = helper.make_tensor_value_info(f"{name}/shift", TensorProto.FLOAT, None)
        model.graph.output.append(shift)
    return model


def _switched(shifted: Collection[str], name: str, owner: str) -> Sequence[onnx.NodeProto]:
    exact, rounded, then = f"{name}/exact", f"{name}/rounded", f"{name}/then"
    held = list(rounding(name, exact, rounded if name in shifted else then))
    if name in shifted:
        held.append(helper.make_node("Add", [rounded, f"{name}/shift"], [then]))
    branches = {}
    for branch, nodes in (
        ("then", held),
        ("else", [helper.make_node("Identity", [exact], [f"{name}/else"])]),
    ):
        value = helper.make_tensor_value_info(f"{name}/{branch}", TensorProto.FLOAT, None)
        branches[f"{branch}_branch"] = helper.make_graph(nodes, f"{name}/{branch}", [], [value])
    return [helper.make_node("If", [f"{owner}/on"], [name], name=f"{name}/if", **branches)]


def _cuts(graph: Graph) -> Iterator[str]:
    """The tensors that cut the graph in stages of nearly equal time."""
    parts = segments(graph)
    times = [sum(in_float(graph, op, "onnx") for op in segment.operators) for segment in parts]
    length = sum(times) / _STAGES
    stage = 1
    for segment, passed in zip(parts[:-1], accumulate(times), strict=False):
        if passed >= stage * length:
            yield segment.result
            stage = int(passed / length) + 1


def _tail(
    model: onnx.ModelProto, graph: Graph, source: str, switches: Iterable[str]
) -> onnx.ModelProto:
    """What a model computes from one tensor on, which alone is alive there."""
    nodes = list(model.graph.node)
    inputs = list(model.graph.input)
    if source != INPUT:
        start = next(place for place, node in enumerate(nodes) if source in node.output)
        nodes = nodes[start + 1 :]
        shape = channels_first(graph.shapes[source])
        inputs = [helper.make_tensor_value_info(source, TensorProto.FLOAT, shape)]
    for name in switches:
        inputs.append(helper.make_tensor_value_info(f"{name}/on", TensorProto.BOOL, []))
    read = set(_read(nodes))
    constants = [constant for constant in model.graph.initializer if constant.name in read]
    body = helper.make_graph(nodes, source, inputs, model.graph.output, constants)
    tail = helper.make_model(body, opset_imports=model.opset_import)
    tail.ir_version = model.ir_version
    return tail


def _read(nodes: Iterable[onnx.NodeProto]) -> Iterator[str]:
    """The names that nodes read, in their branches too."""
    for node in nodes:
        yield from node.input
        for attribute in node.attribute:
            yield from _read(attribute.g.node)
