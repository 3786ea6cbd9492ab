"""TFLite files, in LiteRT or the older tflite-runtime; both have the same interpreter class."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from edgenet.bundle import OutputSpec
from edgenet.images import Pixels
from edgenet.runtime.session import Floats, Loaded, Session

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

    def _load(self) -> Loaded:
        library = import_module(self._plan.engine.module)
        interpreter = library.Interpreter(
            model_path=str(self._plan.model), num_threads=self._plan.threads
        )
        interpreter.allocate_tensors()
        taken = interpreter.get_input_details()[0]
        self._require_input(taken["shape"], taken["dtype"])
        outputs = _output_indices(interpreter, self._plan.outputs)
        self._require_outputs(outputs)
        handle = _Handle(
            set_input=interpreter.set_tensor,
            invoke=interpreter.invoke,
            read=interpreter.get_tensor,
            input=taken["index"],
            outputs=outputs,
        )
        fraction = delegated_fraction(interpreter)
        delegate = self._plan.engine.delegate if fraction else "none"
        return Loaded(handle, delegate, fraction)

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
    if not operators:
        return None
    maker = {int(tensor): op["index"] for op in operators for tensor in op["outputs"]}
    inputs = {op["index"]: op["inputs"] for op in operators}
    taken: set[int] = set()
    for part in listed:
        if part["op_name"] == _PARTITION:
            taken |= _between(part, maker, inputs)
    return len(taken) / len(operators)


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
