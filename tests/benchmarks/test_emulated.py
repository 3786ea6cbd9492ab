"""What this machine lacks to emulate another is told as the commands that add it."""

from __future__ import annotations

import pytest

from benchmarks import _emulated
from tests.test_project import PYPROJECT

APT, PIP = "apt install qemu-user-static", "pip install -e '.[benchmarks]'"


@pytest.mark.parametrize(
    ("tools", "packages", "commands"),
    [
        ({"apt-get", "dpkg"}, set(), f"{APT} && {PIP}"),
        ({"apt-get", "dpkg"}, {"uv"}, APT),
        ({"apt-get", "dpkg", _emulated.QEMU}, set(), PIP),
    ],
)
def test_each_lack_is_told_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tools: set[str], packages: set[str], commands: str
) -> None:
    monkeypatch.setattr(_emulated.shutil, "which", lambda name: name if name in tools else None)
    monkeypatch.setattr(_emulated, "find_spec", lambda name: name if name in packages else None)
    assert _emulated.missing() == f"no emulated device: {commands}"


def test_nothing_lacks_where_all_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_emulated.shutil, "which", lambda name: name)
    assert _emulated.missing() is None


def test_that_command_brings_uv() -> None:
    extra = PYPROJECT.split("\nbenchmarks = ", 1)[1].splitlines()[0]
    assert '"uv>=' in extra
