"""OpenVINO IR, in OpenVINO's plugin for the CPU, the GPU or the NPU."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from edgenet.errors import DeviceError
from edgenet.images import Pixels
from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.placement import PartialError, Placement, counts, share, tally
from edgenet.runtime.processors import cpu_name
from edgenet.runtime.records import Loaded
from edgenet.runtime.session import Floats, Session

_NO_OPERATORS = ("Constant", "Parameter", "Result")


@dataclass(frozen=True)
class _Handle:
    request: Any
    input: Pixels
    outputs: Mapping[str, Floats]


class OpenvinoSession(Session):
    """One infer request, which can serve one thread at a time."""

    resizes = True

    def _load(self) -> Loaded:
        library = import_module(self._plan.engine.module)
        core = library.Core()
        plugin = self._plan.delegate.name
        _require_device(core, plugin)
        if self._plan.precision == "bf16" and plugin == "CPU":
            require_bf16(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
        model = core.read_model(str(self._plan.model))
        if self._plan.resized:
            model.reshape(list(self._shape))
        placements = () if plugin == "CPU" else self._placements(core, model)
        elsewhere = tuple(p for p in placements if p.device != self._plan.delegate.device)
        target = f"HETERO:{plugin},CPU" if elsewhere else plugin
        compiled = core.compile_model(model, target, self._properties())
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
        fraction = share(counts(placements, self._plan.delegate.device)) if elsewhere else 1.0
        if plugin == "CPU":
            threads = compiled.get_property("INFERENCE_NUM_THREADS")
            return Loaded(handle, delegate, fraction, threads=threads)
        name = core.get_property(plugin, "FULL_DEVICE_NAME")
        return Loaded(handle, delegate, fraction, elsewhere, name=name)

    def _placements(self, core: Any, model: Any) -> tuple[Placement, ...]:
        """Every operator's place, by the plugin's own word.

        Raises:
            PartialError: It refuses some, and they may not run on the CPU.
        """
        delegate = self._plan.delegate
        taken = core.query_model(model, delegate.name)
        placements = placed(model, taken, delegate.device)
        refused = any(p.device != delegate.device for p in placements)
        if refused and not self._plan.allow_fallback:
            raise PartialError(delegate.device, delegate.name, placements)
        return placements

    def _run(self, handle: _Handle, images: Pixels, output: str) -> Floats:
        np.copyto(handle.input, images)
        # Shared, or it would copy every output into a dictionary that nobody reads.
        handle.request.infer(share_outputs=True)
        return handle.outputs[output].copy()

    @staticmethod
    def _told(message: str) -> list[str]:
        # Before the reason stand the source files that it came through.
        return [line for line in message.splitlines() if not line.startswith("Exception from ")]

    def _properties(self) -> dict[str, Any]:
        if self._plan.delegate.device != "cpu":
            return {"PERFORMANCE_HINT": "LATENCY"} | self._exactly()
        properties = cpu_properties(self._plan.precision, self._plan.threads)
        return {"PERFORMANCE_HINT": "LATENCY"} | properties

    def _exactly(self) -> dict[str, Any]:
        """GPUs and NPUs compute in half floats by themselves; an NPU can nothing else."""
        exact = self._plan.precision == "fp32" and self._plan.delegate.device == "gpu"
        return {"INFERENCE_PRECISION_HINT": "f32"} if exact else {}


def placed(model: Any, taken: Container[str], device: str) -> tuple[Placement, ...]:
    """Where each operator would run; what computes nothing is none, as in other engines.

    Args:
        model: As OpenVINO reads it.
        taken: The names of the nodes that the device takes.
        device: Its name.
    """
    return tally(
        (op.get_type_name(), device if op.get_friendly_name() in taken else "cpu")
        for op in model.get_ordered_ops()
        if op.get_type_name() not in _NO_OPERATORS
    )


def cpu_properties(precision: str, threads: int) -> dict[str, Any]:
    """What the CPU plugin is told of any file, be it compiled for latency or for throughput."""
    return {
        "INFERENCE_NUM_THREADS": threads,
        # By itself the plugin computes in bf16 on processors that have it, whatever the file says.
        "INFERENCE_PRECISION_HINT": "bf16" if precision == "bf16" else "f32",
    }


def _require_device(core: Any, plugin: str) -> None:
    """A plugin lists the devices that its driver found: "GPU", or "GPU.0" and "GPU.1"."""
    if not any(device.partition(".")[0] == plugin for device in core.available_devices):
        raise UnusableError(f"OpenVINO's {plugin} plugin finds no device")


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
