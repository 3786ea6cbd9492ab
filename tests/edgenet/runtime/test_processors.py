from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgenet.errors import UsageError
from edgenet.runtime import processors
from edgenet.runtime.processors import _model_name, cpu_threads, physical_cores


def test_there_are_no_more_cores_than_processors() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert cpu_threads(None) == physical_cores()
    assert cpu_threads(7) == 7


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "250000 100000\n"}, 3),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu.max": "what is this\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "150000\n"}, 8),
    ],
)
def test_a_containers_quota_leaves_fewer_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr(processors, "processors", lambda: frozenset(range(8)))
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert physical_cores(tmp_path) == cores


def test_threads_of_one_core_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "processors", lambda: frozenset(range(4)))
    for number in range(4):
        folder = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 2},{number % 2 + 2}\n")
    assert physical_cores(tmp_path) == 2


@pytest.mark.parametrize("asked", [0, -1, 10_000])
def test_threads_that_no_engine_should_start_are_refused(asked: int) -> None:
    with pytest.raises(UsageError, match="ask for 1 to"):
        cpu_threads(asked)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\n", "Intel(R) Xeon(R)"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 5 Model B\n", "Raspberry Pi 5 Model B"),
        ("processor\t: 0\nBogoMIPS\t: 48.00\n", None),
    ],
)
def test_the_processors_name_is_found(text: str, name: str | None) -> None:
    assert _model_name(text.splitlines()) == name
