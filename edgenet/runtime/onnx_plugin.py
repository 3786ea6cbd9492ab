"""ONNX files in a provider of ONNX Runtime that is a library of its own: a plugin."""

from __future__ import annotations

from functools import cache
from importlib import import_module
from threading import Lock
from typing import Any

from edgenet.runtime.delegates import UnusableError
from edgenet.runtime.onnx_accelerated import AcceleratedSession

# A cache lets two first calls through at once, and ONNX Runtime refuses the second.
_TURN = Lock()


class PluginSession(AcceleratedSession):
    """A provider whose library is registered with ONNX Runtime once a process."""

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


def register(library: Any, name: str, module: str) -> list[Any]:
    """Registers a plugin's library, once, and lists its devices, GPUs and NPUs before CPUs."""
    with _TURN:
        _registered(name, module)
    found = [device for device in library.get_ep_devices() if device.ep_name == name]
    cpu = library.OrtHardwareDeviceType.CPU
    return sorted(found, key=lambda device: bool(device.device.type == cpu))


@cache
def _registered(name: str, module: str) -> None:
    path = import_module(module).get_library_path()
    import_module("onnxruntime").register_execution_provider_library(name, path)
