"""What a compiler is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.graph import Graph
from converters.scheme.recipe import Recipe


@dataclass(frozen=True, eq=False)
class Job:
    """A verified file, with the graph and the recipe that it was lowered from.

    `folder` is where the compiled file goes; it exists.
    """

    model: Path
    graph: Graph
    recipe: Recipe
    precision: str
    folder: Path


@dataclass(frozen=True)
class Made:
    """A compiled file, the compiler with its version, and its report.

    The report has `operators`, how many run on the NPU and on the CPU, and what the compiler
    estimates apart from that: no one measured it.
    """

    path: Path
    compiler: str
    report: Mapping[str, Any]
