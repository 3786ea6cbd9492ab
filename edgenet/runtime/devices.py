"""The devices of this machine: what each engine can use here, and if not, why and what to do."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from edgenet.errors import DeviceError, UsageError
from edgenet.runtime.engines import ENGINES, Engine

DEVICES = ("cpu", "gpu", "npu")
# A cold import from an SD card takes seconds; an engine that hangs for longer is broken.
_IMPORT_TIMEOUT_S = 60


@dataclass(frozen=True)
class DeviceRow:
    """One device as one engine sees it.

    Attributes:
        engine: The engine's name.
        device: "cpu", "gpu" or "npu".
        delegate: The engine's own word for what reaches the device.
        usable: Whether a session can run there now.
        kind: "hardware", "software", "emulator" or "compiler".
        name: The device's name, as the machine gives it.
        version: The engine's version; None if it is not installed.
        reason: Why it is not usable; None if it is.
        fix: The command that makes it usable; None if it is.
    """

    engine: str
    device: str
    delegate: str
    usable: bool
    kind: str
    name: str
    version: str | None
    reason: str | None
    fix: str | None


def probe() -> list[DeviceRow]:
    """Looks at every engine of `ENGINES`, each imported in a process of its own.

    An engine that crashes while it is imported is a row with its reason, not the end of the probe.
    """
    name = cpu_name()
    with ThreadPoolExecutor(len(ENGINES)) as pool:
        return list(pool.map(lambda engine: _cpu_row(engine, name), ENGINES))


def resolve(device: str, engine: Engine) -> str:
    """The device that `device` comes to with an engine: a name of `DEVICES`.

    Raises:
        UsageError: No such device.
        DeviceError: The device cannot be used.
    """
    if device in ("auto", "cpu"):
        return "cpu"
    if device in DEVICES:
        raise DeviceError(
            f"{engine.name} was asked for the {device} and found only the cpu ({cpu_name()}): "
            f"use --device cpu, or see edgenet devices"
        )
    raise UsageError(f"no device {device!r}: choose one of auto, {', '.join(DEVICES)}")


def cpu_threads(asked: int | None) -> int:
    """The threads to run with: those asked for, else one for each physical core we may use.

    Raises:
        UsageError: Fewer than 1 were asked for.
    """
    if asked is None:
        return physical_cores()
    if asked < 1:
        raise UsageError(f"cannot run on {asked} threads: ask for 1 or more")
    return asked


def physical_cores() -> int:
    """Cores that this process may use, hyper-threads of one core counted once.

    Read from Linux's `/sys/devices/system/cpu/*/topology`; elsewhere, all logical cores count.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    return len({_siblings(cpu) for cpu in os.sched_getaffinity(0)})


def _siblings(cpu: int) -> str:
    topology = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
    try:
        return topology.read_text()
    except OSError:
        return str(cpu)


def cpu_name() -> str:
    """The processor's name, as people know it, or its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    return _model_name(lines) or platform.processor() or platform.machine()


def _model_name(lines: Iterable[str]) -> str | None:
    fields = [line.partition(":") for line in lines]
    # Arm kernels have no "model name", but boards name themselves under "Model" or "Hardware".
    for wanted in ("model name", "Model", "Hardware"):
        for key, _, value in fields:
            if key.strip() == wanted and value.strip():
                return value.strip()
    return None


def _cpu_row(engine: Engine, name: str) -> DeviceRow:
    reason, fix = None, None
    if not engine.installed:
        reason, fix = "not installed", engine.install_line
    elif failure := import_failure(engine.module):
        reason = f"importing it fails: {failure}"
        fix = f"pip install --force-reinstall {engine.package}"
    return DeviceRow(
        engine=engine.name,
        device="cpu",
        delegate=engine.delegate,
        usable=reason is None,
        kind="hardware",
        name=name,
        version=engine.version,
        reason=reason,
        fix=fix,
    )


def import_failure(module: str) -> str | None:
    """Imports a module in a fresh process: the last line of its error, or None if it went well."""
    command = [sys.executable, "-c", f"import {module}"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_IMPORT_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return f"it did not end in {_IMPORT_TIMEOUT_S} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode < 0:
        return f"the process was killed by signal {-done.returncode}"
    return lines[-1] if lines else f"exit status {done.returncode}"
