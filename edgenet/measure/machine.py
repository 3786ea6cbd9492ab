"""What a measurement was taken on."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgenet.runtime.engines import ENGINES
from edgenet.runtime.processors import cpu_name, processors

_CPUINFO = Path("/proc/cpuinfo")
# Flags as the Linux kernel prints them: arch/x86/include/asm/cpufeatures.h and
# Documentation/arch/arm64/elf_hwcaps.rst.
_ISA = (
    *("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"),
    *("neon", "asimd", "fphp", "asimddp", "i8mm", "bf16", "sve", "sve2"),
)
INT8_X86 = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})
"""Those with which x86 multiplies and adds 8-bit values in one instruction."""


def describe() -> dict[str, Any]:
    """The machine, ready for JSON; nothing heavy is imported.

    "cores" are the logical processors that this process may use, "engines" the versions installed,
    "isa" the instructions that decide how fast int8 and 16-bit floats are (empty where the system
    does not tell).
    """
    return {
        "cpu": cpu_name(),
        "cores": len(processors()),
        "os": platform.platform(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "engines": {e.name: e.version for e in ENGINES if e.installed},
        "isa": _isa(),
    }


def adds_in_16_bits(isa: Sequence[str]) -> bool:
    """Whether int8 kernels add two products in 16 bits, where they may overflow.

    That is x86 without VNNI, where a product takes three instructions: vpmaddubsw, vpmaddwd and
    vpaddd (Intel's "Deep Learning with AVX-512 and DL Boost").

    Args:
        isa: The processor's instructions, as `describe` names them.
    """
    return "avx2" in isa and not INT8_X86.intersection(isa)


def _isa() -> list[str]:
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    # All processors are taken to be alike: the first line of flags counts.
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "").split()
    return [name for name in _ISA if name in flags]
