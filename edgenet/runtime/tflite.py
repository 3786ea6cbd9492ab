"""TFLite files, in LiteRT or the older tflite-runtime; both have the same interpreter class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edgenet.bundle import OutputSpec
from edgenet.images import Pixels
from edgenet.runtime.records import Loaded
from edgenet.runtime.session import Floats, Session

_PARTITION = "DELEGATE"
_NONE = -1


@dataclass(frozen=True)
class _Handle:
    set_input: Callable[[int, Pixels], None]
    invoke: Callable[[], None]
    read: Callable[[int], Floats]
    input: int
    outputs: Mapping[str, int]


class TfliteSession(Session):
    """An interpreter with its default delegate (XNNPACK); it can serve one thread at a time."""

    resizes = True

    def _load(self) -> Loaded:
        interpreter = self._interpreter()
        fraction = delegated_fraction(interpreter)
        delegate = self._plan.delegate.name if fraction else "none"
        return Loaded(self._handle_of(interpreter), delegate, fraction)

    def _interpreter(self, **options: Any) -> Any:
        """An interpreter of the plan's model, ready to run."""
        library = import_module(self._plan.engine.module)
        interpreter = library.Interpreter(
            model_path=str(self._plan.model), num_threads=self._plan.threads, **options
        )
        if self._plan.resized:
            interpreter.resize_tensor_input(
                interpreter.get_input_details()[0]["index"], self._shape
            )
        interpreter.allocate_tensors()
        return interpreter

    def _handle_of(self, interpreter: Any) -> _Handle:
        taken = interpreter.get_input_details()[0]
        self._require_input(taken["shape"], taken["dtype"])
        outputs = _output_indices(interpreter, self._plan.outputs)
        self._require_outputs(outputs)
        return _Handle(
            set_input=interpreter.set_tensor,
            invoke=interpreter.invoke,
            read=interpreter.get_tensor,
            input=taken["index"],
            outputs=outputs,
        )

    def _run(self, handle: _Handle, images: Pixels, output: str) -> Floats:
        handle.set_input(handle.input, images)
        handle.invoke()
        return handle.read(handle.outputs[output])


def _output_indices(interpreter: Any, wanted: Iterable[OutputSpec]) -> dict[str, int]:
    """Finds outputs by the names of their tensors, else by those of the signature."""
    found = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    if any(output.name not in found for output in wanted) and interpreter.get_signature_list():
        signature = interpreter.get_signature_runner().get_output_details()
        found.update({name: detail["index"] for name, detail in signature.items()})
    return found


def delegated_fraction(interpreter: Any) -> float | None:
    """The share of a graph's operators that delegates took, 0..1.

    Returns:
        None where the interpreter does not list operators, which is no public call of it.
    """
    found = split(interpreter)
    if found is None or not any(found):
        return None
    taken, left = found
    return len(taken) / (len(taken) + len(left))


def split(interpreter: Any) -> tuple[list[str], list[str]] | None:
    """The types of the operators that delegates took, and of those that they left.

    The interpreter lists the operators of the file and, after them, one `DELEGATE` for each part
    that was taken; a part's operators are those between its outputs and its inputs.

    Returns:
        None where the interpreter does not list operators, which is no public call of it.
    """
    try:
        listed = interpreter._get_ops_details()
    except AttributeError:
        return None
    operators = [op for op in listed if op["op_name"] != _PARTITION]
    maker = {int(tensor): op["index"] for op in operators for tensor in op["outputs"]}
    inputs = {op["index"]: op["inputs"] for op in operators}
    taken: set[int] = set()
    for part in listed:
        if part["op_name"] == _PARTITION:
            taken |= _between(part, maker, inputs)
    names = {op["index"]: str(op["op_name"]) for op in operators}
    return (
        [name for index, name in names.items() if index in taken],
        [name for index, name in names.items() if index not in taken],
    )


def _between(
    part: Mapping[str, Any], maker: Mapping[int, int], inputs: Mapping[int, Iterable[int]]
) -> set[int]:
    borders = {int(tensor) for tensor in part["inputs"]}
    pending = [int(tensor) for tensor in part["outputs"]]
    found: set[int] = set()
    while pending:
        tensor = pending.pop()
        operator = maker.get(tensor, _NONE)
        if tensor not in borders and operator != _NONE and operator not in found:
            found.add(operator)
            pending.extend(int(tensor) for tensor in inputs[operator])
    return found
