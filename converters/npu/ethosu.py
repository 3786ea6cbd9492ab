"""Arm Ethos-U: Vela compiles the integer part of the network to the NPU's command stream."""

from __future__ import annotations

import csv
import re
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from converters.npu.child import require_compiler, run_compiler
from converters.npu.integer_tflite import integer_part
from converters.npu.job import Job, Made
from edgenet.errors import EdgenetError

_PACKAGE = "ethos-u-vela"
_COUNT = re.compile(r"^(CPU|NPU) operators = (\d+)", re.MULTILINE)
_REFUSED = re.compile(r"operator: (\w+), ofm: '(.+?)'\s*\nReason: (.+)")
_KIB = 1024
_NAMED = 3


def require() -> None:
    """Says what to install, before the work that would be for nothing.

    Raises:
        MissingExtraError: Vela is not installed.
    """
    require_compiler("compiling for Arm Ethos-U", "ethosu", "npu-arm")


def compile_for(job: Job, accelerator: str) -> Made:
    """Compiles for one accelerator, "ethos-u55-128" for example.

    Raises:
        EdgenetError: Vela failed, or left an operator to the CPU.
    """
    with TemporaryDirectory() as scratch:
        source, output = Path(scratch, "model.tflite"), Path(scratch, "out")
        source.write_bytes(integer_part(job.graph, job.precision, job.recipe))
        arguments = [str(source), "--accelerator-config", accelerator, "--output-dir", str(output)]
        printed = run_compiler("Vela", "ethosu.vela", [*arguments, "--show-cpu-operations"])
        operators = _operators(printed)
        if operators["cpu"]:
            raise EdgenetError(_left_out(accelerator, printed))
        (summary,) = output.glob("model_summary_*.csv")
        (compiled,) = output.glob("model_vela.tflite")
        path = job.folder / f"{accelerator}.tflite"
        path.write_bytes(compiled.read_bytes())
        with summary.open(newline="") as file:
            (row,) = csv.DictReader(file)
    compiler = f"{_PACKAGE} {version(_PACKAGE)}"
    return Made(path, compiler, {"operators": operators, "estimated_by_compiler": _estimates(row)})


def _operators(printed: str) -> dict[str, int]:
    found = {place.lower(): int(count) for place, count in _COUNT.findall(printed)}
    if found.keys() != {"cpu", "npu"}:
        raise EdgenetError(
            f"this {_PACKAGE} does not tell where operators run: pip install 'edgenet[npu-arm]'"
        )
    return found


def _left_out(accelerator: str, printed: str) -> str:
    refused = [f"{kind} {name} ({why})" for kind, name, why in _REFUSED.findall(printed)]
    return (
        f"{accelerator} does not run all of this network: {'; '.join(refused[:_NAMED])}: "
        "convert without --target"
    )


def _estimates(row: dict[str, str]) -> dict[str, Any]:
    """Vela's own figures, for the system and the memory mode that it names."""
    return {
        "latency_ms": float(row["inference_time"]) * 1e3,
        "cycles": int(float(row["cycles_total"])),
        "clock_hz": float(row["core_clock"]),
        "sram_bytes": int(float(row["sram_memory_used"]) * _KIB),
        "dram_bytes": int(float(row["dram_memory_used"]) * _KIB),
        "flash_bytes": int(
            (float(row["on_chip_flash_memory_used"]) + float(row["off_chip_flash_memory_used"]))
            * _KIB
        ),
        "system": row["system_config"],
        "memory_mode": row["memory_mode"],
    }
