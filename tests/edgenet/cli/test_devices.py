from __future__ import annotations

import json

import pytest

from edgenet.cli.main import main
from edgenet.runtime.delegates import DELEGATES
from edgenet.runtime.engines import ENGINES

KEYS = ["engine", "device", "delegate", "usable", "kind", "name", "version", "reason", "fix"]


def test_json_is_the_contract(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == ["devices"]
    assert [row["engine"] for row in document["devices"]] == [d.engine for d in DELEGATES]
    assert all(list(row) == KEYS for row in document["devices"])


def test_the_table_tells_how_to_mend_what_is_lacking(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["devices"]) == 0
    out = capsys.readouterr().out
    for engine in ENGINES:
        assert engine.name in out
        assert engine.installed or engine.install in out
