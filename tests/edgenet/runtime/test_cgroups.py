"""A quota is found wherever it is: of the process's own group or one above, of either version."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenet.runtime.cgroups import cpu_quota, times_throttled

UNIT = {"proc/self/cgroup": "0::/system.slice/cam.service\n"}
OLDER = {"proc/self/cgroup": "7:memory:/other\n4:cpu,cpuacct:/system.slice/cam.service\n0::/\n"}
OWN = "system.slice/cam.service/"


def system(root: Path, groups: dict[str, str], files: dict[str, str]) -> Path:
    for name, text in {**files, **{f"sys/fs/cgroup/{k}": v for k, v in groups.items()}}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("files", "groups", "quota"),
    [
        (UNIT, {f"{OWN}cpu.max": "150000 100000\n"}, 1.5),
        (UNIT, {f"{OWN}cpu.max": "max 100000\n", "system.slice/cpu.max": "50000 100000\n"}, 0.5),
        (UNIT, {f"{OWN}cpu.max": "300000 100000\n", "system.slice/cpu.max": "200000 100000\n"}, 2),
        (UNIT, {"user.slice/cpu.max": "50000 100000\n"}, None),
        # A container that is told the path of its group outside, and sees its own as the top.
        (UNIT, {"cpu.max": "200000 100000\n"}, 2),
        (
            OLDER,
            {f"cpu/{OWN}cpu.cfs_quota_us": "50000\n", f"cpu/{OWN}cpu.cfs_period_us": "100000\n"},
            0.5,
        ),
        (OLDER, {"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3),
        ({"proc/self/cgroup": "what is this\n"}, {"cpu.max": "200000 100000\n"}, 2),
        ({}, {}, None),
    ],
)
def test_the_narrowest_quota_counts(
    tmp_path: Path, files: dict[str, str], groups: dict[str, str], quota: float | None
) -> None:
    assert cpu_quota(system(tmp_path, groups, files)) == quota


STAT = "nr_periods 9\nnr_throttled {}\nthrottled_usec 70\n"


@pytest.mark.parametrize(
    ("files", "groups", "times"),
    [
        (UNIT, {f"{OWN}cpu.stat": STAT.format(5)}, 5),
        (UNIT, {f"{OWN}cpu.stat": STAT.format(5), "system.slice/cpu.stat": STAT.format(2)}, 7),
        (UNIT, {"cpu.stat": "usage_usec 1\n"}, None),
        (OLDER, {f"cpu/{OWN}cpu.stat": STAT.format(4)}, 4),
        ({}, {"cpu/cpu.stat": STAT.format(3)}, 3),
        ({}, {}, None),
    ],
)
def test_every_quota_that_was_used_up_counts(
    tmp_path: Path, files: dict[str, str], groups: dict[str, str], times: int | None
) -> None:
    assert times_throttled(system(tmp_path, groups, files)) == times
