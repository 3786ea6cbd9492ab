"""TFLite files, taken apart by their flatbuffer and run with XNNPACK as they ship."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from converters.bisection.feed import Feed
from converters.bisection.names import layer_of, without_export_number
from converters.bisection.network import Network, Probe, Step, aligned, float_constants
from converters.bisection.tflite_edit import (
    LEVELS,
    Edit,
    code_of,
    dequantized,
    ends_of_products,
    is_constant,
    scaled,
)
from converters.bisection.tflite_products import merge_scales, multiplies_floats
from converters.graph import Floats
from converters.preprocessing import Preprocessing
from edgenet.errors import UsageError
from edgenet.runtime.processors import cpu_threads

_Codes = schema.BuiltinOperator
_KINDS = {value: name for name, value in vars(_Codes).items() if isinstance(value, int)}
_BORDERS = (_Codes.QUANTIZE, _Codes.DEQUANTIZE)
# What TensorFlow calls an output, whatever layer makes it.
_NAMELESS = ("StatefulPartitionedCall", "PartitionedCall", "Identity")
_LINEAR = (_Codes.CONV_2D, _Codes.DEPTHWISE_CONV_2D, _Codes.FULLY_CONNECTED)
_FUNCTIONS = {
    schema.ActivationFunctionType.RELU: "relu",
    schema.ActivationFunctionType.RELU6: "relu6",
}


class TfliteNetwork(Network):
    """A .tflite file of one subgraph."""

    def __init__(
        self,
        path: Path,
        reference: Network | None = None,
        preprocessing: Preprocessing | None = None,
    ) -> None:
        self._model = _read(path)
        merge_scales(self._model)
        self._graph = self._model.subgraphs[0]
        self._ends = ends_of_products(self._model)
        self._reference = reference
        self._makers = {int(made.outputs[0]): made for made in self._graph.operators}
        self._operators = [
            operator for operator in self._graph.operators if self._is_step(operator)
        ]
        layers = without_export_number([self._layer(operator) for operator in self._operators])
        self._place = {id(operator): n for n, operator in enumerate(self._operators)}
        vectors = [index for index in map(int, self._graph.outputs) if self._is_vector(index)]
        self.answer, self.classes, self.regresses = self._answering(
            {
                self._name(index): (
                    self._makers.get(index),
                    int(self._graph.tensors[index].shape[1]),
                )
                for index in vectors
            }
        )
        steps = list(map(self._step, self._operators, layers))
        self.steps = aligned(steps, self.answer, reference)
        self.feed = self._feed(preprocessing)

    def probe(self, taps: Sequence[int], returned: Collection[int] = ()) -> Probe:
        edit = self._edited(returned)
        return self._probe(edit, [edit.value(self._made(tap)) for tap in taps])

    def alone(self, taps: Sequence[int]) -> Probe:
        edit = self._edited(self.quantized)
        wanted: list[int] = []
        for tap in taps:
            shadow = edit.shadow(self._operators[tap])
            wanted += [edit.value(self._made(tap)), shadow]
        return self._probe(edit, wanted)

    def constants(self, tensor: str) -> tuple[Floats, ...]:
        number = self.index.get(tensor)
        if number is None:
            return ()
        return tuple(self._dequantized_constants(self._operators[number]))

    def function(self, tensor: str) -> str:
        number = self.index.get(tensor)
        options = None if number is None else self._operators[number].builtinOptions
        return _FUNCTIONS.get(getattr(options, "fusedActivationFunction", None), "linear")

    def _edited(self, returned: Collection[int]) -> Edit:
        edit = Edit(self._model)
        chosen = set(returned)
        for operator in self._graph.operators:
            number = self._place.get(id(operator))
            if number is not None and number in chosen:
                end = self._ends.get(id(operator))
                edit.returned(operator, self._float_constants(number), end)
            else:
                edit.kept(operator, self._code(operator))
        return edit

    def _probe(self, edit: Edit, wanted: Sequence[int]) -> Probe:
        return _TfliteProbe(edit.finish(wanted), self.feed)

    def _float_constants(self, number: int) -> list[Floats]:
        rounded = self._dequantized_constants(self._operators[number])
        return float_constants(self._reference, self.steps[number].tensor, rounded)

    def _dequantized_constants(self, operator: Any) -> list[Floats]:
        return [
            dequantized(self._model, self._graph.tensors[index])
            for index in operator.inputs
            if is_constant(self._model, self._graph.tensors, index, numeric=True)
        ]

    def _is_step(self, operator: Any) -> bool:
        """Whether it makes values of images: it is no border, and no arithmetic on shapes."""
        batch = self._graph.tensors[self._graph.inputs[0]].shape[0]
        made = self._graph.tensors[operator.outputs[0]]
        return (
            self._code(operator) not in _BORDERS
            and (made.type == schema.TensorType.FLOAT32 or made.type in LEVELS)
            # A scalar may have no shape at all.
            and made.shape is not None
            and list(made.shape[:1]) == [batch]
        )

    def _code(self, operator: Any) -> int:
        return code_of(self._model, operator)

    def _made(self, number: int) -> int:
        return int(self._operators[number].outputs[0])

    def _name(self, index: int) -> str:
        return str(self._graph.tensors[index].name.decode())

    def _tensor_name(self, operator: Any, layer: str) -> str:
        if self._is_nameless(operator):
            return f"{layer}/Softmax"
        return self._name(operator.outputs[0]).removesuffix("/quantized")

    def _is_nameless(self, operator: Any) -> bool:
        name = self._name(operator.outputs[0])
        return self._code(operator) == _Codes.SOFTMAX and name.startswith(_NAMELESS)

    def _layer(self, operator: Any) -> str:
        if self._is_nameless(operator):
            operator = self._acting(operator) or operator
        constants = [
            self._name(index)
            for index in operator.inputs
            if is_constant(self._model, self._graph.tensors, index)
        ]
        return layer_of(self._name(operator.outputs[0]), constants)

    def _step(self, operator: Any, layer: str) -> Step:
        code, output = self._code(operator), self._graph.tensors[operator.outputs[0]]
        macs = 0
        if code in _LINEAR:
            weights = self._graph.tensors[operator.inputs[1]].shape
            pixels = prod(output.shape[1:-1]) if code != _Codes.FULLY_CONNECTED else 1
            macs = int(pixels * prod(weights))
        return Step(
            name=self._name(operator.outputs[0]),
            layer=layer,
            kind=self._kind(operator),
            tensor=self._tensor_name(operator, layer),
            elements=int(prod(output.shape)),
            macs=macs,
            quantized=output.type in LEVELS
            or (code in _LINEAR and multiplies_floats(self._model, operator)),
        )

    def _feed(self, preprocessing: Preprocessing | None) -> Feed:
        (index, *others) = self._graph.inputs
        if others:
            raise UsageError("the file has several inputs: bisect takes networks of one image")
        tensor = self._graph.tensors[index]
        quantization = (1.0, 0)
        if tensor.type in LEVELS and scaled(tensor):
            parameters = tensor.quantization
            quantization = (float(parameters.scale[0]), int(parameters.zeroPoint[0]))
        dtype = LEVELS.get(tensor.type, np.float32)
        return Feed.of(list(map(int, tensor.shape)), dtype, preprocessing, quantization)

    def _is_vector(self, index: int) -> bool:
        shape = self._graph.tensors[index].shape
        return shape is not None and len(shape) == 2

    def _kind(self, node: Any) -> str:
        code = self._code(node)
        return _KINDS.get(code, str(code))

    def _source(self, node: Any) -> Any | None:
        return self._makers.get(int(node.inputs[0]))

    def _number(self, node: Any) -> int | None:
        return self._place.get(id(node))


class _TfliteProbe(Probe):
    def __init__(self, data: bytes, feed: Feed) -> None:
        super().__init__(feed)
        self._interpreter = _interpreter(data)
        self._input = self._interpreter.get_input_details()[0]["index"]
        self._outputs = self._interpreter.get_output_details()

    def _run(self, batch: NDArray[Any]) -> list[Floats]:
        self._interpreter.set_tensor(self._input, batch)
        self._interpreter.invoke()
        return [self._value(detail) for detail in self._outputs]

    def _value(self, detail: dict[str, Any]) -> Floats:
        values: NDArray[Any] = self._interpreter.get_tensor(detail["index"])
        if values.dtype == np.float32:
            return values
        scale, zero_point = detail["quantization"]
        return (values.astype(np.float32) - np.float32(zero_point)) * np.float32(scale)


def _interpreter(data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=data, num_threads=cpu_threads(None))
    interpreter.allocate_tensors()
    return interpreter


def _read(path: Path) -> Any:
    data = path.read_bytes()
    try:
        root = schema.Model.GetRootAs(data, 0)
        model = schema.ModelT.InitFromObj(root)
    except Exception as error:  # What the generated reader raises on other bytes has no base class.
        raise UsageError(f"{path} is no TFLite file ({error})") from error
    if len(model.subgraphs or ()) != 1:
        raise UsageError(f"{path} holds more than one graph: bisect takes none with control flow")
    if stateful := next(filter(_is_of_state, model.subgraphs[0].operators), None):
        kind = _KINDS.get(code_of(model, stateful), "operator")
        raise UsageError(f"{path} keeps a state, by {kind}: bisect takes networks of none")
    try:
        _interpreter(data)
    except (RuntimeError, ValueError) as error:
        reason, *_ = str(error).split("\n")
        raise UsageError(f"LiteRT does not run {path}: {reason}") from error
    return model


def _is_of_state(operator: Any) -> bool:
    """Whether it reads nothing or makes nothing, as what declares and sets variables."""
    return any(
        tensors is None or not np.size(tensors) for tensors in (operator.inputs, operator.outputs)
    )
