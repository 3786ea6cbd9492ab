"""`edgenet check --baseline` passes for what it compared, not for what it did not."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from edgenet.cli.main import main
from edgenet.measure.baseline import RELABELLED

COUNT = 12
LENIENT = ["--min-agreement", 0, "--max-drop", 100]


def check(capsys, *arguments: Any) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def label(folder: Path, classes: Sequence[int]) -> None:
    """Says of which class each image of a folder is."""
    rows = [f"{number:03}.png,{index}" for number, index in enumerate(classes)]
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *rows]) + "\n")


@pytest.fixture
def photos(texture_folder, tmp_path) -> Path:
    """Some textures, all said to be of class 0."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(COUNT):
        shutil.copy(texture_folder / f"{number:03}.png", folder)
    label(folder, [0] * COUNT)
    return folder


@pytest.fixture
def baseline(capsys, tiny_bundle, photos, tmp_path) -> Path:
    """What the bundle's ONNX file answers to the photos."""
    file = tmp_path / "check.json"
    asked = [tiny_bundle, "--evaluate", photos, *LENIENT, "--format", "onnx", "--json"]
    file.write_text(check(capsys, *asked)[1])
    return file


def test_a_baseline_of_other_formats_is_refused_before_the_work(
    capsys, monkeypatch, tiny_bundle, photos, baseline
):
    monkeypatch.setattr("edgenet.measure.opening.open_formats", None)
    asked = [tiny_bundle, "--evaluate", photos, "--baseline", baseline, "--format"]
    code, out, err = check(capsys, *asked, "tflite,openvino")
    assert (code, out) == (2, "")
    assert "the baseline has no tflite or openvino file to compare with" in err
    assert "ask with --format for what it has (onnx)" in err


def test_one_format_in_common_is_enough(capsys, tiny_bundle, photos, baseline):
    asked = [tiny_bundle, "--evaluate", photos, *LENIENT, "--baseline", baseline, "--json"]
    code, out, _ = check(capsys, *asked, "--format", "tflite,onnx")
    assert code == 0
    assert {change["format"] for change in json.loads(out)["baseline"]["changes"]} == {"onnx"}


def test_a_baseline_of_another_task_is_refused(
    capsys, tiny_bundle, regression_bundle, texture_folder, baseline, tmp_path
):
    code, out, err = check(
        capsys, regression_bundle, "--evaluate", texture_folder, "--baseline", baseline
    )
    assert (code, out) == (2, "")
    assert "the baseline's task is classification and the bundle's regression" in err
    asked = [regression_bundle, "--evaluate", texture_folder, "--min-r2", 0.5, "--json"]
    (tmp_path / "values.json").write_text(check(capsys, *asked)[1])
    asked = [tiny_bundle, "--evaluate", texture_folder, "--baseline", tmp_path / "values.json"]
    code, out, err = check(capsys, *asked)
    assert (code, out) == (2, "")
    assert "the baseline's task is regression and the bundle's classification" in err


def test_labels_that_changed_are_told_and_not_blamed_on_the_file(
    capsys, tiny_bundle, photos, baseline
):
    (before,) = json.loads(baseline.read_text())["results"]
    assert before["top1"] < 1
    label(photos, before["answers"])
    asked = [tiny_bundle, "--evaluate", photos, *LENIENT, "--format", "onnx", "--json"]
    code, out, err = check(capsys, *asked, "--baseline", baseline)
    assert code == 0
    (change,) = [c for c in json.loads(out)["baseline"]["changes"] if c["measure"] == "top1"]
    assert (change["before"], change["after"]) == (1.0, 1.0)
    assert err.count(RELABELLED) == 1


def test_labels_that_are_gone_close_the_gate(capsys, tiny_bundle, photos, baseline):
    (photos / "labels.csv").unlink()
    asked = [tiny_bundle, "--evaluate", photos, "--min-agreement", 0, "--format", "onnx"]
    code, _, err = check(capsys, *asked, "--baseline", baseline)
    assert code == 3
    told = "onnx int8 cpu: top-1 was in the baseline and could not be compared: the images have no"
    assert f"worse than the baseline: {told} labels now" in err
    assert check(capsys, *asked)[0] == 0
