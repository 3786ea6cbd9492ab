"""The last stage of `convert`: each format is lowered and verified, and the manifest written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from converters.description import LABELS, in_lines
from converters.fallback import Attempt
from converters.formats import lower
from converters.graph import Floats, Graph
from converters.loading import Loaded
from converters.npu.compiling import compiled_for
from converters.quantization.arrangement import simulated_logits
from converters.quantization.quantize import Quantized
from converters.report import Report
from converters.request import Request
from converters.scheme.recipe import INT8, UNCALIBRATED
from converters.sources import Source
from converters.verify import judge, verify
from converters.versions import versions
from edgenet.bundle import (
    MANIFEST,
    Artifact,
    Bundle,
    Compiled,
    FileRecord,
    Manifest,
    OutputSpec,
    record_of,
)
from edgenet.measure.limits import NO_LIMITS, Limits

# Images on which an engine's int8 is compared with its simulation.
_SIMULATED_ON = 16


def write(request: Request, loaded: Loaded, attempt: Attempt, folder: Path, report: Report) -> None:
    """Writes and verifies one precision, with its manifest, and judges it where that is asked.

    Raises:
        PrecisionError: It does not keep what it must.
        AccuracyError: A file does not answer as it must for another reason.
    """
    manifest = _manifest(request, loaded, attempt, folder)
    writer = _Writer(request, loaded, attempt, Bundle(folder, manifest), report)
    artifacts = tuple(map(writer.artifact, request.formats))
    reference = None if attempt.precision == "fp32" else writer.reference()
    compiled: tuple[Compiled, ...] = ()
    if request.target is not None and writer.quantized is not None:
        compiled = compiled_for(request.target, folder, artifacts, writer.quantized, report)
    manifest = replace(manifest, artifacts=artifacts, reference=reference, compiled=compiled)
    if request.evaluate is not None:
        bundle = Bundle(folder, manifest)
        found = judge(bundle, request.evaluate, request.limits, report, loaded.skip)
        manifest = replace(manifest, evaluation=found)
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")


def _manifest(request: Request, loaded: Loaded, attempt: Attempt, folder: Path) -> Manifest:
    """What can be said before there are files."""
    return Manifest(
        source=loaded.source.description,
        precision=attempt.precision,
        input=loaded.input,
        outputs=tuple(OutputSpec(name, loaded.graph.shapes[name]) for name in loaded.graph.outputs),
        labels=_write_labels(loaded.source, folder),
        recipe=_recipe(attempt),
        calibration=_calibration(loaded, attempt),
        artifacts=(),
        reference=None,
        versions=versions(),
        target=None if request.target is None else request.target.to_json(attempt.precision),
    )


@dataclass(frozen=True)
class _Writer:
    """Lowers the network of an attempt format by format, and has each file verified."""

    request: Request
    loaded: Loaded
    attempt: Attempt
    bundle: Bundle
    report: Report

    @cached_property
    def quantized(self) -> Quantized | None:
        """The network for as many images a run as are asked for."""
        made = self.attempt.quantized
        return None if made is None else made.with_batch(self.request.batch)

    def artifact(self, format: str) -> Artifact:
        """A file of the bundle."""
        precision, folder = self.attempt.precision_of(format), self.bundle.path
        self._tell(format, precision)
        graph, recipe = self.loaded.graph, None
        if self.quantized is not None:
            graph, recipe = self.quantized.of(format), self.quantized.recipe.of(format)
        files = lower(graph, format, precision, recipe, folder, self.request.lowerings.get(format))
        simulated, limits = self._simulated.get(format), self.attempt.limits
        return self._verified(format, precision, files, simulated, limits)

    def reference(self) -> Artifact:
        """The float model, in the first of the formats."""
        format, home = self.request.formats[0], self.bundle.path / "reference"
        self._tell(format, "fp32")
        home.mkdir()
        files = lower(self.loaded.graph, format, "fp32", None, home)
        return self._verified(format, "fp32", files)

    def _tell(self, format: str, precision: str) -> None:
        self.report(f"lowering to {format} {precision} and verifying")

    def _verified(
        self,
        format: str,
        precision: str,
        files: Sequence[Path],
        simulated: Floats | None = None,
        limits: Limits = NO_LIMITS,
    ) -> Artifact:
        records = tuple(record_of(self.bundle.path, file) for file in files)
        images, answers = self.loaded.verification.batches(self.request.batch), self.loaded.answers
        return verify(
            self.bundle,
            format,
            precision,
            records,
            images,
            answers,
            simulated=simulated,
            limits=limits,
            report=self.report,
        )

    @cached_property
    def _simulated(self) -> Mapping[str, Floats]:
        """By format, the logits that int8 should give for the first of the verification images."""
        made = self.attempt.quantized
        if made is None or self.attempt.precision not in INT8:
            return {}
        images = list(islice(self.loaded.verification.batches(1), _SIMULATED_ON))
        # Formats that are alike lower one graph.
        answers: dict[Graph, Floats] = {}
        found: dict[str, Floats] = {}
        for format in self.request.formats:
            if format not in self.request.lowerings:
                graph = made.of(format)
                if graph not in answers:
                    answers[graph] = simulated_logits(graph, made.recipe.of(format), format, images)
                found[format] = answers[graph]
        return found


def _recipe(attempt: Attempt) -> Mapping[str, Any] | None:
    if attempt.quantized is not None:
        return attempt.quantized.recipe.to_json()
    fixed = UNCALIBRATED.get(attempt.precision)
    return None if fixed is None else fixed.to_json()


def _calibration(loaded: Loaded, attempt: Attempt) -> Mapping[str, Any] | None:
    if attempt.quantized is None:
        return None
    seen = {**loaded.calibration.description, "images": attempt.quantized.images}
    return seen | ({"outliers": attempt.quantized.outliers} if attempt.quantized.outliers else {})


def _write_labels(source: Source, folder: Path) -> FileRecord | None:
    if source.labels is None:
        return None
    path = folder / LABELS
    path.write_text(in_lines(source.labels), encoding="utf-8")
    return record_of(folder, path)
