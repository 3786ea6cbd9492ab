"""The lowerings: each writes the same frozen graph and the same recipe in one format.

A new format is one file here with `lower(graph, precision, recipe, path)` and one line in
`LOWERINGS`.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from converters.graph import Graph
from converters.quantization.recipe import Recipe

LOWERINGS = {
    "tflite": "converters.formats.tflite",
    "onnx": "converters.formats.onnx",
    "openvino": "converters.formats.openvino",
}


def lower(
    graph: Graph, format: str, precision: str, recipe: Recipe | None, folder: Path
) -> tuple[Path, ...]:
    """Writes `graph` into `folder` and returns the files, the one that an engine opens first.

    Args:
        graph: The frozen graph.
        format: A key of `LOWERINGS`.
        precision: "fp32"; "fp16" (weights are stored in half precision); "int8" (needs a recipe).
        recipe: The ranges of the activations, for int8.
        folder: Where the files go; it exists.
    """
    files: tuple[Path, ...] = import_module(LOWERINGS[format]).lower(
        graph, precision, recipe, folder
    )
    return files
