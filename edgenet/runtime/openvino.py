"""OpenVINO IR, in OpenVINO's CPU plugin."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from edgenet.errors import DeviceError
from edgenet.images import Pixels
from edgenet.runtime.devices import cpu_name
from edgenet.runtime.session import Floats, Loaded, Session


@dataclass(frozen=True)
class _Handle:
    request: Any
    input: Pixels
    outputs: Mapping[str, Floats]


class OpenvinoSession(Session):
    """One infer request, which can serve one thread at a time."""

    def _load(self) -> Loaded:
        library = import_module(self._plan.engine.module)
        core = library.Core()
        if self._plan.precision == "bf16":
            require_bf16(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        compiled = core.compile_model(str(self._plan.model), "CPU", self._properties())
        taken = compiled.input(0)
        self._require_input(taken.shape, taken.element_type.to_dtype())
        self._require_outputs([name for port in compiled.outputs for name in port.names])
        request = compiled.create_infer_request()
        outputs = {
            output.name: request.get_tensor(compiled.output(output.name)).data
            for output in self._plan.outputs
        }
        delegate = ",".join(compiled.get_property("EXECUTION_DEVICES"))
        handle = _Handle(request, request.get_input_tensor(0).data, outputs)
        return Loaded(handle, delegate, 1.0)

    def _run(self, handle: _Handle, images: Pixels, output: str) -> Floats:
        np.copyto(handle.input, images)
        handle.request.infer()
        return handle.outputs[output].copy()

    def _properties(self) -> dict[str, Any]:
        # By itself the plugin computes in bf16 on processors that have it, whatever the file says.
        hint = "bf16" if self._plan.precision == "bf16" else "f32"
        return {
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": self._plan.threads,
            "INFERENCE_PRECISION_HINT": hint,
        }


def require_bf16(capabilities: Iterable[str]) -> None:
    """Refuses a CPU that would compute a bf16 file in float32, which is another network.

    Args:
        capabilities: The CPU plugin's OPTIMIZATION_CAPABILITIES.

    Raises:
        DeviceError: "BF16" is not among them.
    """
    if "BF16" not in capabilities:
        raise DeviceError(
            f"this cpu ({cpu_name()}) has no bf16, which takes AVX-512 BF16 or AMX: "
            "convert with --precision fp16 or int8 instead"
        )
