"""A quantized network's answers in each engine, without the rest of a conversion."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from converters.formats import lower
from converters.graph import INPUT, Floats, Graph
from converters.scheme.recipe import Recipe
from edgenet.bundle import (
    Artifact,
    Bundle,
    InputSpec,
    Manifest,
    OutputSpec,
    Verification,
    record_of,
)
from edgenet.images import Pixels
from edgenet.runtime.loading import load_artifact


def input_spec(graph: Graph, crop_fraction: float, interpolation: str) -> InputSpec:
    """What a graph takes, and how photos are brought to it."""
    batch, height, width, channels = graph.input_shape
    shape = (batch, height, width, channels)
    return InputSpec(INPUT, shape, "uint8", "NHWC", "in the model", crop_fraction, interpolation)


def answers(
    graph: Graph,
    recipe: Recipe | None,
    precision: str,
    format: str,
    spec: InputSpec,
    batches: Iterable[Pixels],
) -> Floats:
    """The logits of batches of images, images × classes, by a file in its engine."""
    with TemporaryDirectory() as name:
        bundle = _bundle(Path(name), graph, recipe, precision, format, spec)
        with load_artifact(bundle, bundle.artifact(format)) as session:
            return np.concatenate([session.run(batch) for batch in batches])


def _bundle(
    folder: Path, graph: Graph, recipe: Recipe | None, precision: str, format: str, spec: InputSpec
) -> Bundle:
    """What a session needs of a bundle: one file and what it takes and gives."""
    files = lower(graph, format, precision, recipe, folder)
    records = tuple(record_of(folder, file) for file in files)
    unverified = Verification(images=0, agreement=0.0, sqnr_db=None, max_error=float("inf"))
    manifest = Manifest(
        source={},
        precision=precision,
        input=spec,
        outputs=tuple(OutputSpec(name, graph.shapes[name]) for name in graph.outputs),
        labels=None,
        recipe=None,
        calibration=None,
        artifacts=(Artifact(format, precision, records, unverified),),
        reference=None,
    )
    return Bundle(folder, manifest)
