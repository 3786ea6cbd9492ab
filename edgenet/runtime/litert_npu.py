"""TFLite files on Intel's NPU, by LiteRT's `CompiledModel` and its OpenVINO plugin.

Without the NPU the same plugin computes on the CPU, which proves its partition and its answers, and
is told as "software". It needs the OpenVINO that it was built with: with another it is off and says
nothing.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from edgenet.errors import DeviceError
from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.litert import CompiledSession
from edgenet.runtime.records import Loaded

# What LiteRT 2.3.0's plugin is linked with.
_OPENVINO = "2026.3.1"
_FIX = f"pip install 'edgenet[npu-intel]', which brings openvino {_OPENVINO}"


class IntelSession(CompiledSession):
    """The NPU where the machine has one, else the plugin's CPU.

    NPUs compute float files in halves; so does that CPU, in bf16 where it has it.
    """

    def _load(self) -> Loaded:
        _require_openvino()
        if self._plan.precision == "w8a16":
            # It opens such files and answers nonsense: 2 dB of a tiny network's logits are left.
            raise DeviceError(
                "the npu (IntelOpenVINO) misreads w8a16 TFLite files: convert with --target "
                "intel-npu"
            )
        return super()._load()

    def _options(self, library: Any, fallback: bool) -> Any:
        kinds = library.HardwareAccelerator
        backends = library.IntelOpenVinoOptions.GRAPH_BACKEND
        return library.Options(
            hardware_accelerators=kinds.NPU | kinds.CPU if fallback else kinds.NPU,
            cpu_options=library.CpuOptions(num_threads=self._plan.threads),
            intel_openvino_options=library.IntelOpenVinoOptions(
                graph_backend=backends.NPU if _npu() else backends.CPU,
            ),
        )

    def _found(self, log: str) -> tuple[str, str]:
        name = _npu()
        return ("hardware", name) if name else ("software", "OpenVINO's CPU plugin")


def _require_openvino() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("openvino")
    except PackageNotFoundError:
        raise UnusableError(f"it needs openvino {_OPENVINO}", _FIX) from None
    if found != _OPENVINO:
        raise UnusableError(f"it needs openvino {_OPENVINO} and found {found}", _FIX)


@cache
def _npu() -> str | None:
    """The name of the machine's NPU: Linux's driver for it makes these, OpenVINO finds it so."""
    if not any(Path("/dev/accel").glob("accel*")):
        return None
    import openvino

    core = openvino.Core()
    if "NPU" not in core.available_devices:
        return None
    return str(core.get_property("NPU", "FULL_DEVICE_NAME"))
