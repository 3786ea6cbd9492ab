"""The profile of an open session's file, with the machine's peak and what it explains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgenet.errors import EdgenetError
from edgenet.measure.profiling import onnx, openvino, tflite
from edgenet.measure.profiling.findings import explain
from edgenet.measure.profiling.operators import Profile
from edgenet.measure.profiling.peak import Peak, best
from edgenet.runtime import SessionInfo

RUNS = 50

_PROFILERS: dict[str, Callable[[Path, SessionInfo, int], Profile]] = {
    "litert": lambda model, info, runs: tflite.profile(model, info.threads, runs),
    "onnxruntime": lambda model, info, runs: onnx.profile(model, info.threads, runs),
    "openvino": lambda model, info, runs: openvino.profile(
        model, info.threads, runs, info.precision
    ),
}


def profile(model: Path, info: SessionInfo, runs: int = RUNS) -> Profile:
    """Profiles a file on the CPU, in the engine that a session has it in.

    Raises:
        EdgenetError: The engine has no profiler that can be reached, or refuses the file, or its
            profiler saw nothing run.
    """
    if info.device_used != "cpu":
        raise EdgenetError(f"there is no profile of the {info.device_used}: use --device cpu")
    if info.engine not in _PROFILERS:
        raise EdgenetError(
            f"{info.engine} has no profiler that Python reaches: pip install 'edgenet[tflite]'"
        )
    try:
        found = _PROFILERS[info.engine](model, info, runs)
    except EdgenetError:
        raise
    except Exception as error:
        # Engines raise RuntimeError, ValueError and their own.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EdgenetError(f"{info.engine} cannot profile it: {reason}") from error
    if not any(operator.ms for operator in found.operators):
        raise EdgenetError(f"{found.source} saw no operator run: none is of the kernels it times")
    return found


def document(
    found: Profile, info: SessionInfo, isa: Sequence[str], peaks: list[Peak]
) -> dict[str, Any]:
    """A profile as JSON, with the share of the peak that it reaches and what slows it down."""
    limits = best([peak for peak in peaks if peak.threads == info.threads])
    kind = "int8" if info.precision.startswith("int8") else "fp32"
    peak = limits[kind] if limits else None
    written = found.document()
    return {
        **written,
        "gmacs_per_s": written["macs"] / written["total_ms"] / 1e6,
        "peak_gmacs_per_s": peak,
        "findings": explain(found, info.precision, isa, info.delegated_fraction, peak),
    }
