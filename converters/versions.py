"""The versions of the tools that make a bundle what it is; the manifest keeps them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

_TOOLS = (
    "edgenet",
    "tensorflow",
    "keras",
    "numpy",
    "Pillow",
    "onnx",
    "onnxruntime",
    "openvino",
    "ai-edge-litert",
    "scikit-image",
)


def versions() -> dict[str, str]:
    """By distribution name; what is not installed is left out."""
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found
