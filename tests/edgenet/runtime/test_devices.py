from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgenet.runtime.devices import (
    _model_name,
    cpu_name,
    cpu_threads,
    import_failure,
    physical_cores,
    probe,
)
from edgenet.runtime.engines import ENGINES


def test_every_engine_has_a_row_that_is_usable_or_says_why() -> None:
    rows = probe()
    assert [row.engine for row in rows] == [engine.name for engine in ENGINES]
    for row, engine in zip(rows, ENGINES, strict=True):
        assert (row.device, row.kind, row.name) == ("cpu", "hardware", cpu_name())
        assert row.usable == engine.installed
        assert (row.reason is None, row.fix is None) == (row.usable, row.usable)
        assert not row.usable or row.version


def test_a_broken_import_is_told_not_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raising.py").write_text("raise ImportError('lib.so: cannot open')")
    (tmp_path / "crashing.py").write_text("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    (tmp_path / "exiting.py").write_text("raise SystemExit(3)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert import_failure("raising") == "ImportError: lib.so: cannot open"
    assert import_failure("crashing") == "the process was killed by signal 11"
    assert import_failure("exiting") == "exit status 3"
    assert import_failure("json") is None


def test_there_are_no_more_cores_than_processors() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert cpu_threads(None) == physical_cores()
    assert cpu_threads(7) == 7


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
