"""The control groups that this process is in: where Linux keeps quotas and what they did.

A limit holds for all that is below it, so every group counts, from the process's own to the top. A
container sees its own group as the top, wherever it is told to be. Both versions of cgroups are
looked at.

Sources: cgroups(7), "/proc/pid/cgroup"; the kernel's Documentation/admin-guide/cgroup-v2.rst
("cpu.max", "cpu.stat") and Documentation/scheduler/sched-bwc.rst.
"""

from __future__ import annotations

from pathlib import Path

_MOUNT = "sys/fs/cgroup"
_V1 = "cpu"


def cpu_quota(root: Path) -> float | None:
    """The processors' time that this process may take, in processors; None without a limit.

    Args:
        root: Where the system's files are.
    """
    found = [_quota(folder) for folder in _folders(root)]
    return min((quota for quota in found if quota is not None), default=None)


def times_throttled(root: Path) -> int | None:
    """How often a quota was used up and the process had to wait; None where nothing counts it.

    Args:
        root: Where the system's files are.
    """
    counts = [
        int(line.split()[1])
        for folder in _folders(root)
        for line in text_of(folder / "cpu.stat").splitlines()
        if line.startswith("nr_throttled ")
    ]
    return sum(counts) if counts else None


def text_of(path: Path) -> str:
    """What a file of the system tells, "" where there is none."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _folders(root: Path) -> list[Path]:
    """Of this process's groups, its own first, of version 2 and of version 1."""
    lines = text_of(root / "proc/self/cgroup").splitlines()
    entries = [entry for line in lines if len(entry := line.split(":", 2)) == 3]
    paths = {name: path for _, names, path in entries for name in names.split(",")}
    mounts = {"": root / _MOUNT, _V1: root / _MOUNT / _V1}
    return [
        folder
        for name, mount in mounts.items()
        for folder in _upwards(mount, paths.get(name, "/").strip("/"))
    ]


def _upwards(mount: Path, group: str) -> list[Path]:
    parts = group.split("/") if group else []
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]


def _quota(folder: Path) -> float | None:
    """One group's; "max" (version 2) and -1 (version 1) are none."""
    older = [text_of(folder / name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us")]
    try:
        quota, period = map(int, (text_of(folder / "cpu.max") or " ".join(older)).split())
    # "max" is no number, and most groups tell nothing.
    except ValueError:
        return None
    return quota / period if quota > 0 < period else None
