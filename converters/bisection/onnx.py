"""ONNX files, float or QDQ, taken apart by their nodes and run in ONNX Runtime."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto

from converters.bisection.feed import Feed
from converters.bisection.names import layer_of, without_export_number
from converters.bisection.network import (
    Levels,
    Network,
    Probe,
    Step,
    aligned,
    channels_last,
    float_constants,
)
from converters.bisection.onnx_edit import Edit, Tap
from converters.bisection.onnx_reading import read
from converters.bisection.onnx_wiring import Bounds, Wiring
from converters.formats.pixel_groups import GROUPS
from converters.graph import Floats
from converters.preprocessing import Preprocessing
from edgenet.errors import UsageError
from edgenet.runtime.onnx import FATAL_ONLY
from edgenet.runtime.processors import cpu_threads

_LINEAR = ("Conv", "Gemm", "MatMul")
# Shapes and indices are of these types; pixels and levels are of narrower ones.
_INTEGERS = (TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL)
_CLIPS = ("Relu", "Clip")
_RELU6 = [0.0, 6.0]
_BOUNDS: Mapping[str, Bounds] = {"relu": (0.0, None), "relu6": (0.0, 6.0)}


class OnnxNetwork(Network):
    """An .onnx file; int8 is between QuantizeLinear and DequantizeLinear."""

    def __init__(
        self,
        path: Path,
        reference: Network | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self._model = read(path)
        _require_runnable(path)
        self._wiring = Wiring(self._model.graph)
        self._reference = reference
        infos = _infos(self._model)
        taken = next(i for i in self._model.graph.input if i.name not in self._wiring.constants)
        self._nodes = [
            node
            for node in self._model.graph.node
            if self._wiring.is_step(node) and _is_of_images(infos.get(node.output[0]), taken)
        ]
        shapes = {name: _dims(info) for name, info in infos.items()}
        layers = without_export_number([self._layer(node) for node in self._nodes])
        steps = [
            self._step(node, layer, shapes) for node, layer in zip(self._nodes, layers, strict=True)
        ]
        self._place = {node.output[0]: n for n, node in enumerate(self._nodes)}
        outputs = {output.name: _dims(output) for output in self._model.graph.output}
        self.answer, self.classes, self.regresses = self._answering(
            {
                name: (self._wiring.makers.get(name), dims[1] or shapes.get(name, dims)[-1])
                for name, dims in outputs.items()
                if len(dims) == 2
            }
        )
        self.steps = aligned(steps, self.answer, reference)
        self.feed = Feed.of(_dims(taken), _dtype(taken.type.tensor_type.elem_type), preprocessing)

    def probe(self, taps: Sequence[int], returned: Collection[int] = ()) -> Probe:
        chosen = {self._nodes[number].output[0] for number in returned}
        edit = self._edited(chosen)
        wanted = [
            edit.tap(name, name in chosen) for name in (self._nodes[tap].output[0] for tap in taps)
        ]
        return _OnnxProbe(edit.finish(wanted), wanted, self.feed)

    def alone(self, taps: Sequence[int]) -> Probe:
        edit = self._edited({self._nodes[number].output[0] for number in self.quantized})
        wanted: list[Tap] = []
        for tap in taps:
            wanted += [
                edit.tap(self._nodes[tap].output[0], True),
                edit.shadow(self._nodes[tap]),
            ]
        return _OnnxProbe(edit.finish(wanted), wanted, self.feed)

    def constants(self, tensor: str) -> tuple[Floats, ...]:
        node = self._wiring.makers.get(tensor)
        while node is not None and node.op_type in _CLIPS:
            node = self._wiring.makers.get(node.input[0])
        if node is None:
            return ()
        return tuple(self._wiring.dequantized(name) for name in self._wiring.weights(node))

    def function(self, tensor: str) -> str:
        node = self._wiring.makers.get(tensor)
        if node is None or node.op_type not in _CLIPS:
            return "linear"
        if node.op_type == "Relu":
            return "relu"
        bounds = [float(self._wiring.dequantized(name)) for name in self._wiring.weights(node)]
        return "relu6" if bounds == _RELU6 else "linear"

    def levels(self, number: int) -> Levels | None:
        return self._wiring.levels(self._nodes[number])

    def _edited(self, chosen: Collection[str]) -> Edit:
        edit = Edit(self._model, self._wiring)
        for node in self._model.graph.node:
            name = node.output[0]
            step = self._place.get(name)
            if step is None:
                edit.kept(node)
            elif name in chosen:
                tensor = self.steps[step].tensor
                edit.returned(node, self._float_constants(node, tensor), self._bounds(node, tensor))
            elif self.steps[step].quantized:
                edit.kept(node)
            else:
                edit.float_step(node)
        return edit

    def _bounds(self, node: Any, tensor: str) -> Bounds:
        function = "linear" if self._reference is None else self._reference.function(tensor)
        return _BOUNDS[function] if function in _BOUNDS else self._wiring.bounds(node)

    def _float_constants(self, node: Any, tensor: str) -> dict[str, Floats]:
        names = self._wiring.weights(node)
        rounded = [self._wiring.dequantized(name) for name in names]
        return dict(zip(names, float_constants(self._reference, tensor, rounded), strict=True))

    def _layer(self, node: Any) -> str:
        constants = [name for name in node.input if self._wiring.is_constant(name)]
        return layer_of(self._tensor(node), constants)

    def _tensor(self, node: Any) -> str:
        """What the node makes, named as itself or its quantizer, as the reference has it."""
        name, behind = node.output[0], self._wiring.behind(node.output[0])
        known = (name,) if self._reference is None else self._reference.index
        return next((n for n in (name, behind) if n and n.removesuffix(GROUPS) in known), name)

    def _step(self, node: Any, layer: str, shapes: dict[str, list[int]]) -> Step:
        name = node.output[0]
        shape = shapes.get(name, [])
        macs = 0
        if node.op_type in _LINEAR:
            weights = prod(self._wiring.shape(node.input[1]))
            macs = prod(shape[2:]) * weights if node.op_type == "Conv" else weights
        return Step(
            name=node.name or name,
            layer=layer,
            kind=node.op_type,
            tensor=self._tensor(node),
            elements=prod(shape),
            macs=macs,
            quantized=self._wiring.is_quantized(node),
        )

    def _kind(self, node: Any) -> str:
        return str(node.op_type)

    def _source(self, node: Any) -> Any | None:
        return self._wiring.makers.get(node.input[0])

    def _number(self, node: Any) -> int | None:
        return self._place.get(node.output[0])


class _OnnxProbe(Probe):
    def __init__(self, model: onnx.ModelProto, taps: Sequence[Tap], feed: Feed) -> None:
        super().__init__(feed)
        self._session = _session(model.SerializeToString())
        self._input = self._session.get_inputs()[0].name
        self._taps = taps

    def _run(self, batch: NDArray[Any]) -> list[Floats]:
        values = self._session.run([tap.name for tap in self._taps], {self._input: batch})
        return [
            channels_last(tap.value(value)) for tap, value in zip(self._taps, values, strict=True)
        ]


def _session(model: str | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cpu_threads(None)
    options.log_severity_level = FATAL_ONLY
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _require_runnable(path: Path) -> None:
    try:
        _session(str(path))
    except Exception as error:  # Each reason has a class of its own.
        reason, *_ = str(error).split("\n")
        raise UsageError(f"ONNX Runtime does not run {path}: {reason}") from error


def _infos(model: Any) -> dict[str, Any]:
    """What is known of each tensor's type and shape."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    return {info.name: info for info in (*graph.value_info, *graph.output, *graph.input)}


def _is_of_images(info: Any | None, taken: Any) -> bool:
    """Whether a tensor holds values of images, and no shapes; one of which little is known does."""
    if info is None or not info.type.tensor_type.HasField("shape"):
        return True
    batch = _dims(info)[:1]
    return info.type.tensor_type.elem_type not in _INTEGERS and batch in (_dims(taken)[:1], [0])


def _dims(info: Any) -> list[int]:
    return [int(dim.dim_value) for dim in info.type.tensor_type.shape.dim]


def _dtype(kind: int) -> np.dtype[Any]:
    return np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind))
