"""Editing a QDQ file: operators return to float by reading past the quantizers between them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from converters.bisection.onnx_wiring import Bounds, QuantizationParameters, Wiring
from converters.graph import Floats


@dataclass(frozen=True, eq=False)
class Tap:
    """A tensor to hand out: as it is, or as levels."""

    name: str
    quantization: QuantizationParameters | None = None

    def value(self, found: NDArray[Any]) -> Floats:
        """The tensor in float32."""
        return found if self.quantization is None else self.quantization.dequantized(found)


class Edit:
    """A copy of a graph that grows node by node; the graph itself stays as it is."""

    def __init__(self, model: Any, wiring: Wiring) -> None:
        self._source, self._wiring = model, wiring
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}
        # By tensor that a node in float makes, the one that holds it within its bounds.
        self._floats: dict[str, str] = {}
        # Nodes that move levels, a second time for floats, by what they make.
        self._turned_nodes: set[str] = set()

    def kept(self, node: Any) -> None:
        """Adds a node as it is."""
        self._nodes.append(node)

    def float_step(self, node: Any) -> None:
        """Adds a node that computes in float anyway; it reads float where there is some.

        No quantizer between it and another such node is passed over: it would be `returned`.
        """
        added = deepcopy(node)
        for place, name in enumerate(node.input):
            added.input[place] = self._float(name)
        self._nodes.append(added)
        self._floats[node.output[0]] = node.output[0]

    def returned(self, node: Any, constants: Mapping[str, Floats], bounds: Bounds) -> None:
        """Adds an int8 node as a float one.

        Args:
            node: The node; what it reads from other float nodes it reads past their quantizers.
            constants: Its constants in float, by the names under which it reads them.
            bounds: Of what it makes, where its quantizer's saturation stood for them.
        """
        added = deepcopy(node)
        for place, name in enumerate(node.input):
            if name in constants:
                added.input[place] = self._constant(f"{name}/restored", constants[name])
            else:
                added.input[place] = self._float(name)
        self._nodes.append(added)
        output = node.output[0]
        self._floats[output] = output
        if bounds != (None, None) and node.op_type not in ("Relu", "Clip"):
            self._floats[output] = self._clipped(output, bounds)

    def shadow(self, node: Any) -> Tap:
        """Adds an int8 node a second time, behind quantizers that read what is float now."""
        added = deepcopy(node)
        output = f"{node.output[0]}/alone"
        added.name, added.output[0] = output, output
        self._nodes.append(added)
        quantizer = self._wiring.quantizer(node.output[0])
        if quantizer is None:
            return Tap(output)
        rounded = deepcopy(quantizer)
        rounded.name = rounded.output[0] = f"{output}/quantized"
        rounded.input[0] = output
        self._nodes.append(rounded)
        return self._levels(rounded)

    def tap(self, name: str, is_float: bool) -> Tap:
        """What a node makes: in float, or as the levels of its quantizer."""
        quantizer = self._wiring.quantizer(name)
        if is_float or quantizer is None:
            return Tap(self._floats.get(name, name))
        return self._levels(quantizer)

    def finish(self, taps: Sequence[Tap]) -> Any:
        """The model that hands out these tensors."""
        model = onnx.ModelProto()
        model.CopyFrom(self._source)
        graph = model.graph
        del graph.node[:], graph.output[:], graph.value_info[:]
        graph.node.extend(self._needed({tap.name for tap in taps}))
        graph.initializer.extend(self._constants.values())
        names = dict.fromkeys(tap.name for tap in taps)
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        return model

    def _needed(self, names: set[str]) -> list[Any]:
        """The nodes that lead to these tensors; ONNX Runtime would run the others too."""
        nodes = []
        for node in reversed(self._nodes):
            if not names.isdisjoint(node.output):
                names.update(node.input)
                nodes.append(node)
        return nodes[::-1]

    def _levels(self, quantizer: Any) -> Tap:
        return Tap(quantizer.output[0], self._wiring.quantization(quantizer))

    def _float(self, name: str) -> str:
        """What `name` is in float, where what it is rounded from is float; else itself."""
        path = self._wiring.path(name)
        if not path or path[-1].input[0] not in self._floats:
            return name
        source = self._floats[path[-1].input[0]]
        # What turns levels between quantizers turns floats as well.
        for node in reversed(path[1:-1]):
            source = self._turned(node, source)
        return source

    def _turned(self, node: Any, source: str) -> str:
        output = f"{node.output[0]}/turned"
        if output not in self._turned_nodes:
            added = deepcopy(node)
            added.name = added.output[0] = output
            added.input[0] = source
            self._nodes.append(added)
            self._turned_nodes.add(output)
        return output

    def _clipped(self, name: str, bounds: Bounds) -> str:
        output = f"{name}/clipped"
        # A name left empty is an input left out.
        ends = [
            "" if end is None else self._constant(f"clip/{end}", np.float32(end)) for end in bounds
        ]
        self._nodes.append(helper.make_node("Clip", [name, *ends], [output], name=output))
        return output

    def _constant(self, name: str, values: Any) -> str:
        self._constants[name] = numpy_helper.from_array(np.asarray(values, np.float32), name)
        return name
