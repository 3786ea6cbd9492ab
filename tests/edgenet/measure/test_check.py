"""`edgenet.check`: what the command does, as a function."""

from __future__ import annotations

import json

import pytest

import edgenet
from edgenet.bundle import Bundle
from edgenet.cli.main import main
from edgenet.errors import UsageError

MEASURED = ("format", "agreement", "sqnr_db", "top1", "drop_points", "passed", "failures")


def measured(document):
    return [{name: result[name] for name in MEASURED} for result in document["results"]]


def test_the_function_finds_what_the_command_prints(capsys, tiny_bundle, texture_folder):
    checked = edgenet.check(tiny_bundle, evaluate=texture_folder, images=40, max_drop=5)
    options = ("--evaluate", str(texture_folder), "--images", "40", "--max-drop", "5", "--json")
    assert main(["check", str(tiny_bundle), *options]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert checked.passed
    assert measured(checked.document) == measured(printed)
    assert set(checked.document) == set(printed)
    assert checked.document["images_sha256"] == printed["images_sha256"]


def test_an_open_bundle_is_taken_and_a_limit_that_is_missed_told(tiny_bundle, texture_folder):
    bundle, seen = Bundle.open(tiny_bundle), list[tuple[str, int, int, str]]()
    options = {"evaluate": texture_folder, "images": 20, "formats": "onnx", "min_sqnr": 90}
    checked = edgenet.check(bundle, progress=lambda *step: seen.append(step), **options)
    assert not checked.passed
    assert seen == [("checking", done, 20, "images") for done in (16, 20)]
    (result,) = checked.document["results"]
    assert result["failures"][0].startswith("the SQNR is ")


def test_an_open_bundle_gives_the_reference(tiny_bundle, tiny_float_bundle):
    giver = Bundle.open(tiny_float_bundle)
    checked = edgenet.check(tiny_bundle, images=2, formats="onnx", reference=giver)
    assert checked.document["reference"]["bytes"] == giver.artifact("tflite").bytes


def test_a_baseline_is_compared_with(tiny_bundle, texture_folder, tmp_path):
    options = {"evaluate": texture_folder, "images": 20, "formats": ["onnx"]}
    before = edgenet.check(tiny_bundle, **options).document
    before["results"][0]["noise"] = [energy / 10 for energy in before["results"][0]["noise"]]
    before["results"][0]["sqnr_db"] += 10
    (tmp_path / "before.json").write_text(json.dumps(before))
    checked = edgenet.check(tiny_bundle, baseline=tmp_path / "before.json", **options)
    assert not checked.passed
    assert "SQNR fell from" in checked.document["regressions"][0]


@pytest.mark.parametrize(("drop", "told"), [(None, True), (4, True), (6, False), (0, False)])
def test_images_too_few_for_the_drop_that_is_allowed_are_told(
    tiny_bundle, texture_folder, drop, told
):
    lines: list[str] = []
    options = {"evaluate": texture_folder, "images": 20, "formats": "onnx"}
    edgenet.check(tiny_bundle, max_drop=drop, report=lines.append, **options)
    start = f"of 20 images one is 5.0 points of top-1, and {drop or 1} may be lost: "
    assert any(line.startswith(start) for line in lines) is told


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"images": 0}, "at least one image"),
        ({"crop_fraction": 1.0}, "name the folder too"),
        ({"crop_fraction": 2.0, "evaluate": "nowhere"}, "at most 1, not 2.0"),
        ({"max_drop": 1.0}, "needs labels"),
        ({"min_r2": 0.9}, "a classifier"),
        ({"baseline": "nowhere.json"}, "nowhere.json"),
    ],
)
def test_what_cannot_be_is_refused(tiny_bundle, options, message):
    with pytest.raises(UsageError, match=message):
        edgenet.check(tiny_bundle, **options)
