"""The lowerings: each writes the same frozen graph and the same recipe in one format.

A new format is one file here with `lower(graph, precision, recipe, folder)`, its lines in
`LOWERINGS` and `ARRANGEMENTS`, and what its engine's kernels take in `converters.formats.cost`; its
name in `edgenet.bundle`, a session in `edgenet.runtime`, and a network in `converters.bisection`.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from pathlib import Path

from converters.graph import Graph
from converters.scheme.recipe import Recipe
from edgenet.errors import UsageError

LOWERINGS = {
    "tflite": "converters.formats.tflite",
    "onnx": "converters.formats.onnx",
    "openvino": "converters.formats.openvino",
}
# Which tensors of int8 a format holds in levels: all, or only what convolutions and dense layers
# read. Their rounding errors differ, and so do the biases that make up for them.
EVERY_TENSOR, LINEAR_INPUTS = "every tensor", "linear inputs"
ARRANGEMENTS = {"tflite": EVERY_TENSOR, "onnx": EVERY_TENSOR, "openvino": LINEAR_INPUTS}
# The precisions that not every engine has. bf16 is OpenVINO's way to run a float file. Weights in
# int8 under activations that are rounded at run time are fast in XNNPACK alone: ONNX Runtime
# computes ConvInteger slower than float, and OpenVINO does so for matrix products only.
_ONLY = {"bf16": ("openvino",), "dynamic": ("tflite",)}


def alike(formats: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The formats, those together that hold the same tensors in levels and so lose the same."""
    groups: dict[str, tuple[str, ...]] = {}
    for format in formats:
        arrangement = ARRANGEMENTS[format]
        groups[arrangement] = (*groups.get(arrangement, ()), format)
    return tuple(groups.values())


def formats_of(precision: str) -> tuple[str, ...]:
    """The formats that have a precision."""
    return _ONLY.get(precision, tuple(LOWERINGS))


def require_formats(precision: str, formats: Iterable[str]) -> None:
    """Refuses formats that do not have the precision.

    Raises:
        UsageError: It names the formats that do.
    """
    found = formats_of(precision)
    for format in formats:
        if format not in found:
            raise UsageError(f"{format} has no {precision}: take --to {','.join(found)}")


def lower(
    graph: Graph,
    format: str,
    precision: str,
    recipe: Recipe | None,
    folder: Path,
    module: str | None = None,
) -> tuple[Path, ...]:
    """Writes `graph` into `folder` and returns the files, the one that an engine opens first.

    Args:
        graph: The frozen graph.
        format: A key of `LOWERINGS`.
        precision: "fp32"; "fp16" and "bf16" (weights are stored in half precision); "int8",
            "int8-mixed" and "w8a16" (need a recipe); "w8" (weights are stored in int8) and
            "dynamic" (and multiplied in it, where that is faster).
        recipe: The ranges of the activations, their bits, and the operators that stay in float.
        folder: Where the files go; it exists.
        module: The lowering of a target that has its own; None takes the format's.
    """
    lowering = import_module(module or LOWERINGS[format])
    files: tuple[Path, ...] = lowering.lower(graph, precision, recipe, folder)
    return files
