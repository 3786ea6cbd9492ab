"""ONNX files on the GPU, by ONNX Runtime's WebGPU plugin."""

from __future__ import annotations

import os
from typing import Any

from edgenet.runtime import vulkan
from edgenet.runtime.onnx_plugin import PluginSession

# Without it the plugin offers no device on machines whose only driver is a software one.
_ALLOW_SOFTWARE = "ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER"


class WebGpuSession(PluginSession):
    """The GPU through Vulkan."""

    def _prepare(self) -> None:
        os.environ.setdefault(_ALLOW_SOFTWARE, "1")
        vulkan.adapter()

    def _found(self, library: Any) -> tuple[str, str]:
        found = vulkan.adapter()
        return found.kind, found.name
