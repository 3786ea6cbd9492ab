"""ONNX files on the GPU, by ONNX Runtime's WebGPU plugin."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from threading import RLock
from typing import Any

from edgenet.runtime import vulkan
from edgenet.runtime.onnx_plugin import PluginSession

# Without it the plugin offers no device on machines whose only driver is a software one.
_ALLOW_SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"

# All sessions share one GPU context, which crashes where two threads call it at once. A session may
# be dropped while its thread is within a call of another one.
_TURN = RLock()


class WebGpuSession(PluginSession):
    """The GPU through Vulkan."""

    def _turns(self) -> AbstractContextManager[Any]:
        return _TURN

    def _prepare(self) -> None:
        os.environ.setdefault(_ALLOW_SOFTWARE, "1")
        vulkan.adapter()

    def _found(self, library: Any) -> tuple[str, str]:
        found = vulkan.adapter()
        return found.kind, found.name
