"""ONNX files on Qualcomm's NPU, the Hexagon Tensor Processor (HTP), by ONNX Runtime's QNN plugin.

The plugin runs on the NPU of the machine or, on x86, in Qualcomm's emulator of it: the NPU's own
arithmetic, far slower.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from edgenet.errors import DeviceError
from edgenet.runtime.onnx_plugin import PluginSession, register
from edgenet.runtime.records import Loaded
from edgenet.runtime.stdio import captured

PROVIDER = "QNNExecutionProvider"
MODULE = "onnxruntime_qnn"
# QNN's number of the SoC and the version of its HTP, from LiteRT's table of both
# (litert/vendors/qualcomm/core/schema/soc_table.h).
SOCS: Mapping[str, tuple[int, int]] = {
    "SM8450": (36, 69),
    "SM8550": (43, 73),
    "SM8650": (57, 75),
    "SM8750": (69, 79),
}
EMULATED = "SM8650"
_PRECISIONS = ("int8", "int8-mixed", "w8a16")


def provider_options(soc: str | None) -> dict[str, str]:
    """The plugin's options, for a SoC of `SOCS` or for the machine's own.

    Quantizers at the inputs and outputs stay on the NPU too: by itself the plugin leaves them to
    the CPU, which is a fallback.
    """
    options = {"backend_type": "htp", "offload_graph_io_quantization": "0"}
    if soc is not None:
        model, architecture = SOCS[soc]
        options |= {"soc_model": str(model), "htp_arch": str(architecture)}
    return options


class QnnSession(PluginSession):
    """The HTP: int8 and w8a16 in its integer units."""

    probe_file = "quantized.onnx"

    def _load(self) -> Loaded:
        # It opens float files and answers nonsense: it reads their uint8 pixels as truth values.
        if self._plan.precision not in _PRECISIONS:
            raise DeviceError(
                f"the npu ({PROVIDER}) computes in integers, and this file is "
                f"{self._plan.precision}: make one with edgenet convert --target qualcomm"
            )
        # Its libraries greet on stderr.
        with captured():
            return super()._load()

    def _provider_options(self) -> dict[str, str]:
        return provider_options(EMULATED if self._emulates(self._library()) else None)

    def _found(self, library: Any) -> tuple[str, str]:
        if self._emulates(library):
            return "emulator", f"Qualcomm HTP emulator ({EMULATED})"
        return "hardware", "Qualcomm HTP"

    def _library(self) -> Any:
        return import_module(self._plan.engine.module)

    def _emulates(self, library: Any) -> bool:
        """ONNX Runtime lists the device that the plugin runs on; the emulator's is the CPU."""
        device, *_ = register(library, PROVIDER, MODULE)
        return bool(device.device.type == library.OrtHardwareDeviceType.CPU)
