"""The processors of this machine: which this process may use, and how many threads to run on."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from edgenet.arguments import whole
from edgenet.errors import UsageError
from edgenet.runtime.cgroups import cpu_quota, text_of

# ONNX Runtime's threads spin while they wait: thousands of them stop a machine.
_MOST_THREADS = 64
_ROOT = Path("/")


def cpu_threads(asked: int | None) -> int:
    """The threads to run with: those asked for, else one for each physical core we may use.

    Raises:
        UsageError: Fewer than 1 were asked for, or so many that engines choke on them; or it is no
            integer.
    """
    if asked is None:
        return physical_cores()
    threads = whole("threads", asked)
    if not 1 <= threads <= most_threads():
        raise UsageError(f"cannot run on {threads} threads: ask for 1 to {most_threads()}")
    return threads


def most_threads() -> int:
    """The threads that engines bear here, of one session or of several that run at once."""
    return max(_MOST_THREADS, 2 * len(processors()))


def physical_cores(root: Path = _ROOT) -> int:
    """Cores that this process may use, hyper-threads of one core counted once.

    A container's quota of time counts as the cores that it fills, the last of them perhaps in part.

    Args:
        root: Where the system's files are: Linux's `/sys/devices/system/cpu/*/topology`, without
            which all logical cores count, and the quota's.
    """
    cores = len({_siblings(processor, root) for processor in processors()})
    quota = cpu_quota(root)
    return cores if quota is None else min(cores, max(1, math.ceil(quota)))


def processors() -> frozenset[int]:
    """The numbers of the logical processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def _siblings(processor: int, root: Path) -> str:
    topology = f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
    return text_of(root / topology) or str(processor)


def cpu_name() -> str:
    """The processor's name, as people know it, or its architecture."""
    lines = text_of(Path("/proc/cpuinfo")).splitlines()
    return _model_name(lines) or platform.processor() or platform.machine()


def _model_name(lines: Iterable[str]) -> str | None:
    fields = [line.partition(":") for line in lines]
    # Arm kernels have no "model name", but boards name themselves under "Model" or "Hardware".
    for wanted in ("model name", "Model", "Hardware"):
        for key, _, value in fields:
            if key.strip() == wanted and value.strip():
                return value.strip()
    return None
