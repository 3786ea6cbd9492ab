"""The delegates: each way by which an engine reaches a device.

A new one is an entry in `DELEGATES` and a session class that opens it; `edgenet devices`, `load`
and the tests take it from there. A compiler that only writes files for a device is an entry too,
whose class has nothing but `probe`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgenet.errors import DeviceError, UsageError

DEVICES = ("cpu", "gpu", "npu")

_ENGINE_ITSELF = ""
_VULKAN = (
    "install the GPU's Vulkan driver, or a software one to test with: apt install chromium-common"
)
_ONNX_BUILTIN = "edgenet.runtime.onnx_accelerated:BuiltinSession"
_OPENVINO = "edgenet.runtime.openvino:OpenvinoSession"


@dataclass(frozen=True)
class Delegate:
    """One way of one engine to one device.

    Attributes:
        engine: The engine's name in `edgenet.runtime.engines`, or a compiler's own.
        device: What it reaches, a name of `DEVICES`.
        name: The engine's own word for it.
        session: "module:class" of the session that opens it; its `probe` tells what is here.
        package: The distribution that it needs beside the engine's, or "".
        module: What that distribution is imported as, or "".
        install: The command that installs what it needs.
        driver: What to do where all is installed and no device is found.
        kind: "hardware", "software", "emulator" or "compiler": what it is while nothing is found; a
            session says what it found.
        library: The path of a delegate that the user brings as a shared library, or "".
    """

    engine: str
    device: str
    name: str
    session: str
    package: str = _ENGINE_ITSELF
    module: str = _ENGINE_ITSELF
    install: str = ""
    driver: str = ""
    kind: str = "hardware"
    library: str = ""

    @property
    def installed(self) -> bool:
        """Whether its own package can be found; nothing is imported."""
        from importlib.util import find_spec

        return not self.module or find_spec(self.module.partition(".")[0]) is not None

    def load(self) -> Any:
        """Imports the class that opens it, a `Session` or a compiler's own."""
        from importlib import import_module

        module, _, name = self.session.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class Found:
    """A device that answered a probe: its kind ("hardware", "software", …) and its own name."""

    kind: str
    name: str


class UnusableError(DeviceError):
    """A delegate cannot be used here; `fix` is what would change that, "" if nothing is known."""

    def __init__(self, reason: str, fix: str = "") -> None:
        super().__init__(f"{reason}: {fix}" if fix else reason)
        self.reason = reason
        self.fix = fix


# In order of preference within an engine and a device, among devices of one kind.
DELEGATES = (
    Delegate("litert", "cpu", "XNNPACK", session="edgenet.runtime.tflite:TfliteSession"),
    Delegate(
        "litert",
        "gpu",
        "WebGPU",
        session="edgenet.runtime.litert:GpuSession",
        driver=_VULKAN,
    ),
    Delegate(
        "litert",
        "npu",
        "IntelOpenVINO",
        session="edgenet.runtime.litert_npu:IntelSession",
        package="openvino",
        module="openvino",
        install="pip install 'edgenet[npu-intel]'",
        driver="install the driver of the Intel NPU: "
        "https://github.com/intel/linux-npu-driver/releases",
    ),
    Delegate("tflite-runtime", "cpu", "XNNPACK", session="edgenet.runtime.tflite:TfliteSession"),
    Delegate(
        "onnxruntime", "cpu", "CPUExecutionProvider", session="edgenet.runtime.onnx:OnnxSession"
    ),
    Delegate(
        "onnxruntime",
        "gpu",
        "CUDAExecutionProvider",
        session=_ONNX_BUILTIN,
        driver="pip uninstall onnxruntime && pip install onnxruntime-gpu",
    ),
    Delegate(
        "onnxruntime",
        "gpu",
        "TensorrtExecutionProvider",
        session=_ONNX_BUILTIN,
        driver="pip uninstall onnxruntime && pip install onnxruntime-gpu tensorrt",
    ),
    Delegate(
        "onnxruntime",
        "gpu",
        "DmlExecutionProvider",
        session=_ONNX_BUILTIN,
        driver="pip install onnxruntime-directml on Windows",
    ),
    Delegate(
        "onnxruntime",
        "gpu",
        "WebGpuExecutionProvider",
        session="edgenet.runtime.onnx_webgpu:WebGpuSession",
        package="onnxruntime-ep-webgpu",
        module="onnxruntime_ep_webgpu",
        install="pip install 'edgenet[gpu]' (it needs Python 3.11 or newer)",
        driver=_VULKAN,
    ),
    Delegate(
        "onnxruntime",
        "npu",
        "QNNExecutionProvider",
        session="edgenet.runtime.qnn:QnnSession",
        package="onnxruntime-qnn",
        module="onnxruntime_qnn",
        install="pip install 'edgenet[npu-qualcomm]' (it needs Python 3.11 or newer)",
        driver="run on x86 Linux, where it brings its emulator, or on a Snapdragon with its driver",
    ),
    Delegate("openvino", "cpu", "CPU", session=_OPENVINO),
    Delegate(
        "openvino",
        "gpu",
        "GPU",
        session=_OPENVINO,
        driver="install the driver of the Intel GPU: apt install intel-opencl-icd",
    ),
    Delegate(
        "openvino",
        "npu",
        "NPU",
        session=_OPENVINO,
        driver="install the driver of the Intel NPU: "
        "https://github.com/intel/linux-npu-driver/releases",
    ),
    Delegate(
        "vela",
        "npu",
        "Ethos-U",
        session="edgenet.runtime.compilers:Vela",
        package="ethos-u-vela",
        module="ethosu",
        install="pip install 'edgenet[npu-arm]'",
        driver="pip install --force-reinstall ethos-u-vela",
        kind="compiler",
    ),
)


def delegates(engine: str, device: str | None = None) -> tuple[Delegate, ...]:
    """An engine's delegates in the table, those of one device or all."""
    return tuple(d for d in DELEGATES if d.engine == engine and device in (None, d.device))


_TAKES_LIBRARIES = ("litert", "tflite-runtime")


def named(engine: str, device: str, name: str) -> Delegate:
    """The delegate of an engine with a name of the table, or with the path of a shared library.

    Raises:
        UsageError: The engine has none of that name for the device.
    """
    able = delegates(engine, device)
    for delegate in able:
        if delegate.name.lower() == name.lower():
            return delegate
    if "/" in name or "." in name:
        return _external(engine, device, name)
    for other in delegates(engine):
        if other.name.lower() == name.lower():
            raise UsageError(f"{other.name} is for the {other.device}: add --device {other.device}")
    known = ", ".join(d.name for d in able) or "none"
    library = ", or give the path of a delegate library"
    raise UsageError(
        f"{engine} has no delegate {name!r} for the {device}: choose one of {known}"
        f"{library if engine in _TAKES_LIBRARIES and device != 'cpu' else ''}"
    )


def _external(engine: str, device: str, library: str) -> Delegate:
    if engine not in _TAKES_LIBRARIES:
        raise UsageError(
            f"{engine} takes no delegate library ({library}): use --format tflite with one"
        )
    if device == "cpu":
        raise UsageError(
            f"a delegate library reaches no cpu: say what {library} is for with --device gpu or npu"
        )
    return Delegate(
        engine,
        device,
        library,
        session="edgenet.runtime.tflite_external:ExternalSession",
        driver="ask its vendor for one that is built for this machine and this TFLite",
        library=library,
    )
