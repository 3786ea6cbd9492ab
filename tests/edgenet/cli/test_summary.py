"""`edgenet summary`: variants without Keras, files with it, diagrams, refusals."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edgenet.cli import summary
from edgenet.errors import UnsupportedModelError, UsageError


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    summary.add_arguments(parser)
    return summary.run(parser.parse_args(arguments))


def test_b0_reads_from_image_to_classes(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("b0") == 0
    lines = capsys.readouterr().out.splitlines()
    stages = [line.split() for line in lines[2:14]]
    assert [cells[0] for cells in stages] == [
        "input",
        "stem",
        *"1234567",
        "head",
        "pool",
        "classifier",
    ]
    for line, shape in zip(lines[3:14], ["112×112×32", "112×112×16", "56×56×24"], strict=False):
        assert shape in line
    assert "224×224×3" in lines[3]
    assert "7×7×1280" in lines[11]
    assert "1280" in lines[12]
    assert lines[-1] == "b0: 5,330,571 parameters, 0.386 G MACs"


def test_json_holds_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("lite0", "--json", "--input-size", "64") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["input_shape"] == [64, 64, 3]
    assert document["parameters"] == 4_694_024
    assert document["macs"] == sum(stage["macs"] for stage in document["stages"])
    assert document["stages"][3] == {
        "stage": "2",
        "operator": "MBConv6",
        "input_shape": [32, 32, 16],
        "output_shape": [16, 16, 24],
        "kernel": 3,
        "stride": 2,
        "expansion": 6,
        "se_widths": [],
        "repeats": 2,
        "parameters": 15_024,
        "macs": 16 * 1024 * 96 + 256 * 96 * (9 + 24) + 256 * 144 * (24 + 9 + 24),
    }


def test_a_variant_needs_no_keras() -> None:
    code = (
        "import sys, argparse; from edgenet.cli import summary\n"
        "summary.run(argparse.Namespace(model='b7', input_size=None, svg=None, json=False))\n"
        "assert not {'numpy', 'keras', 'tensorflow'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)


def test_svg(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("b0", "--svg", str(tmp_path / "b0.svg")) == 0
    root = ElementTree.parse(tmp_path / "b0.svg").getroot()
    texts = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[0] == capsys.readouterr().out.splitlines()[-1]
    assert "MBConv6 5×5 · 4 blocks" in texts
    assert "stage 6 · stride 2 · SE 28, 48 · 2,044,396 parameters" in texts


def test_a_file_is_read_as_a_variant_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from edgenet.models.efficientnet import efficientnet

    efficientnet("lite0", input_size=64).save(tmp_path / "m.keras")
    run("lite0", "--input-size", "64", "--json")
    expected = json.loads(capsys.readouterr().out)
    run(str(tmp_path / "m.keras"), "--json")
    assert json.loads(capsys.readouterr().out) == expected | {"model": "efficientnetlite0"}


def test_another_family_is_refused(tmp_path: Path) -> None:
    import keras

    keras.applications.MobileNetV2(weights=None, alpha=0.35).save(tmp_path / "m.keras")
    with pytest.raises(UnsupportedModelError, match="EfficientNet B0-B7, Lite and V2"):
        run(str(tmp_path / "m.keras"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nope"], "no such file, and no variant either"),
        (["b0", "--input-size", "8"], "--input-size 32 or more"),
        (["b0", "--svg", ""], "an empty path: cannot be written"),
        (["b0", "--svg", "no/such/folder/b0.svg"], "cannot be written"),
    ],
)
def test_mistakes_are_told(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(*arguments)
