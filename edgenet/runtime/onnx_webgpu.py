"""ONNX files on the GPU, by ONNX Runtime's WebGPU plugin, which is a package of its own."""

from __future__ import annotations

import os
from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from edgenet.runtime import vulkan
from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.onnx_accelerated import AcceleratedSession

# Without it the plugin offers no device on machines whose only driver is a software one.
_ALLOW_SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"
# A cache lets two first calls through at once, and ONNX Runtime refuses the second.
_TURN = Lock()


class PluginSession(AcceleratedSession):
    """A provider that is a library of its own, registered with ONNX Runtime once a process."""

    def _provider_options(self) -> dict[str, str]:
        return {}

    def _prepare(self) -> None:
        """What must be in place before the library is loaded; UnusableError if it cannot be."""

    def _add_provider(self, library: Any, options: Any) -> None:
        self._prepare()
        name = self._plan.delegate.name
        devices = register(library, name, self._plan.delegate.module)
        if not devices:
            raise UnusableError(f"{name} offers no device")
        options.add_provider_for_devices(devices[:1], self._provider_options())


class WebGpuSession(PluginSession):
    """The GPU through Vulkan."""

    def _prepare(self) -> None:
        os.environ.setdefault(_ALLOW_SOFTWARE, "1")
        vulkan.adapter()

    def _found(self, library: Any) -> tuple[str, str]:
        found = vulkan.adapter()
        return found.kind, found.name


@cache
def _registered(name: str, module: str) -> None:
    path = import_module(module).get_library_path()
    import_module("onnxruntime").register_execution_provider_library(name, path)


def register(library: Any, name: str, module: str) -> list[Any]:
    """Registers a plugin's library, once, and lists its devices, GPUs and NPUs before CPUs."""
    with _TURN:
        _registered(name, module)
    found = [device for device in library.get_ep_devices() if device.ep_name == name]
    cpu = library.OrtHardwareDeviceType.CPU
    return sorted(found, key=lambda device: bool(device.device.type == cpu))
