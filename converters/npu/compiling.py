"""What a target adds to `convert`: the graph that it asks for, and the compiled files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from converters.graph import Graph
from converters.npu.job import Job
from converters.npu.pixels import centred
from converters.quantization.quantize import Quantized
from converters.report import Report
from converters.targets import Target
from edgenet.bundle import Artifact, Compiled, record_of

_FOLDER = "compiled"


def require_compiler_of(target: Target) -> None:
    """Refuses a target whose compiler is not here, before the work.

    Raises:
        MissingExtraError: The message has the command that installs it.
    """
    if target.compiler:
        import_module(target.compiler).require()


def prepared(graph: Graph, target: Target) -> Graph:
    """The graph to quantize for a target.

    Raises:
        UnsupportedModelError: The target cannot take the network's pixels.
    """
    return centred(graph) if target.centres_pixels else graph


def compiled_for(
    target: Target,
    folder: Path,
    artifacts: tuple[Artifact, ...],
    quantized: Quantized,
    report: Report,
) -> tuple[Compiled, ...]:
    """Compiles the target's first format for each of its devices, into `folder`/compiled.

    Args:
        target: Where the network will run.
        folder: The bundle, as far as it is written.
        artifacts: Its verified files.
        quantized: What they were lowered from.
        report: Told what is being done.

    Raises:
        EdgenetError: A compiler fails, or leaves an operator to the CPU.
    """
    if not target.compiler:
        return ()
    artifact = next(a for a in artifacts if a.format == target.formats[0])
    home = folder / _FOLDER
    home.mkdir()
    job = Job(
        model=folder / artifact.files[0].path,
        graph=quantized.of(artifact.format),
        recipe=quantized.recipe.of(artifact.format),
        precision=artifact.precision,
        folder=home,
    )
    found = []
    for device in target.devices:
        report(f"compiling for {device}")
        made = import_module(target.compiler).compile_for(job, device)
        record = record_of(folder, made.path)
        found.append(Compiled(device, artifact.format, made.compiler, record, made.report))
    return tuple(found)
