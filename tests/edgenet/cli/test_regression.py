"""The commands on a bundle that tells quantities instead of classes."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

import edgenet
from edgenet.cli.main import main
from tests.networks import VALUES, Textures, values_of


def answered(capsys, *arguments: Any) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.fixture
def photo(texture_folder):
    return texture_folder / "000.png"


def test_run_tells_the_values_by_name(capsys, regression_bundle, photo):
    with edgenet.load(regression_bundle) as session:
        expected = session.values(photo)
    code, out, _ = answered(capsys, "run", regression_bundle, photo)
    assert code == 0
    lines = [line.split() for line in out.splitlines()[-len(VALUES) :]]
    assert lines == [[v.label, str(v.index), f"{v.value:.4g}"] for v in expected]
    document = json.loads(answered(capsys, "run", regression_bundle, photo, "--json")[1])
    (result,) = document["results"]
    assert list(result) == ["image", "values", "preprocess_ms", "run_ms", "emulated"]
    assert result["values"] == [vars(value) for value in expected]


def test_run_ranks_no_values(capsys, regression_bundle, photo):
    code, _, err = answered(capsys, "run", regression_bundle, photo, "--top", 3)
    assert code == 2
    assert "--top is for classes, and the bundle is a regression: leave it off" in err


def test_check_holds_the_values_to_their_r2(capsys, regression_bundle, texture_folder):
    arguments = ["check", regression_bundle, "--evaluate", texture_folder]
    code, out, _ = answered(capsys, *arguments, "--min-r2", 0.5)
    assert code == 0
    assert "mean error" in out
    assert not any(word in out for word in ("agreement", "top-1", "cosine", "drop"))
    code, _, err = answered(capsys, *arguments, "--min-r2", 1)
    assert code == 3
    assert "tflite int8 failed: the R² is 0." in err
    assert "what is allowed is set by --min-r2 and --min-sqnr" in err


@pytest.mark.parametrize("limits", [(), ("--min-r2", 0.9), ("--min-sqnr", -100)])
@pytest.mark.parametrize(("count", "told"), [(1, "1 image"), (3, "3 images")])
def test_there_is_no_r2_of_images_that_are_alike(
    capsys, regression_bundle, photo, tmp_path, limits, count, told
):
    for number in range(count):
        (tmp_path / f"{number}.png").write_bytes(photo.read_bytes())
    asked = ["check", regression_bundle, "--evaluate", tmp_path, "--format", "onnx", *limits]
    code, out, err = answered(capsys, *asked)
    assert (code, out) == (2, "")
    assert f"there is no R² to judge by: fp32's values do not vary over {told}; take more" in err


def test_bisect_has_no_r2_of_one_image(capsys, regression_bundle, texture_folder):
    asked = ["bisect", regression_bundle, "--format", "onnx", "--images", texture_folder]
    code, out, err = answered(capsys, *asked, "--count", 1)
    assert (code, out) == (2, "")
    assert "the float values do not vary over 1 image; take more of them with --count" in err


def test_a_value_in_a_small_unit_is_missed_beside_one_in_a_large(
    capsys, regression_bundle, texture_folder, tmp_path
):
    """Of red, which goes to 255, and contrast, to some hundredths, the SQNR is red's alone."""
    arguments = ["check", regression_bundle, "--evaluate", texture_folder, "--format", "onnx"]
    document = json.loads(answered(capsys, *arguments, "--json")[1])
    count = document["images"]
    assert sum(document["reference"]["signal"]) == pytest.approx(count * len(VALUES), rel=1e-3)
    (result,) = document["results"]
    left = 1 - sum(result["noise"]) / sum(document["reference"]["signal"])
    assert result["r2"] <= left + 1e-3
    result.update(r2=1.0, noise=[0.0] * count)
    (tmp_path / "before.json").write_text(json.dumps(document))
    code, _, err = answered(capsys, *arguments, "--baseline", tmp_path / "before.json")
    assert code == 3
    assert "R² fell from 1.0000 to 0." in err


def test_true_values_are_told_beside(capsys, regression_bundle, labelled):
    code, out, _ = answered(
        capsys, "check", regression_bundle, "--evaluate", labelled, "--min-r2", 0, "--json"
    )
    assert code == 0
    document = json.loads(out)
    # Fitted to the textures' own: red to some levels of 255, and contrast to some hundredths.
    assert 0 < document["reference"]["mae"] < 20
    for result in document["results"]:
        low, high = result["mae_growth_interval"]
        assert low <= result["mae_growth"] <= high
        grown = result["mae"] - document["reference"]["mae"]
        assert result["mae_growth"] == pytest.approx(grown, abs=1e-3)
    name = document["worst_value"]
    table = answered(capsys, "check", regression_bundle, "--evaluate", labelled, "--min-r2", 0)[1]
    assert f"MAE growth (95 %) of {name}" in table
    assert f"mean error of {name}" in table


def test_errors_are_of_one_value_and_in_its_unit(capsys, regression_bundle, labelled):
    arguments = ["check", regression_bundle, "--evaluate", labelled, "--format", "onnx"]
    document = json.loads(answered(capsys, *arguments, "--min-r2", 0, "--json")[1])
    (result,) = document["results"]
    place = VALUES.index(document["worst_value"])
    photos = [labelled / f"{number}.png" for number in range(12)]
    with edgenet.load(regression_bundle, "onnx") as session:
        told = [session.values(photo)[place].value for photo in photos]
    truth = values_of(Textures.make(12, seed=9).images)[:, place]
    assert result["mae"] == pytest.approx(np.abs(told - truth).mean(), rel=1e-4)


@pytest.fixture
def labelled(tmp_path):
    """Some textures with what they show, in another order than the model's."""
    images = Textures.make(12, seed=9).images
    lines = ["file,contrast,red"]
    for number, (image, (red, contrast)) in enumerate(zip(images, values_of(images), strict=True)):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
        lines.append(f"{number}.png,{contrast},{red}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--max-drop", 1], "nothing for --max-drop to limit, as the bundle is a regression"),
        (["--min-agreement", 0.9], "as the bundle is a regression: take --min-r2"),
        (["--min-r2", 1.1], "--min-r2 1.1: it is at most 1, as in 0.97"),
        (["--min-r2", "nan"], "--min-r2 nan: it is at most 1"),
    ],
)
def test_limits_that_a_regression_has_not(capsys, regression_bundle, options, message):
    code, out, err = answered(capsys, "check", regression_bundle, *options)
    assert (code, out) == (2, "")
    assert message in err


def test_a_classifier_has_no_r2(capsys, tiny_bundle):
    code, _, err = answered(capsys, "check", tiny_bundle, "--min-r2", 0.9)
    assert code == 2
    assert "nothing for --min-r2 to limit, as the bundle is a classifier: take --max-drop" in err


def test_a_check_is_the_baseline_of_the_next(capsys, regression_bundle, texture_folder, tmp_path):
    arguments = ["check", regression_bundle, "--evaluate", texture_folder, "--min-r2", 0.5]
    (tmp_path / "check.json").write_text(answered(capsys, *arguments, "--json")[1])
    reports = ["--html", tmp_path / "c.html", "--markdown", tmp_path / "c.md"]
    code, out, _ = answered(capsys, *arguments, "--baseline", tmp_path / "check.json", *reports)
    assert code == 0
    assert "against the baseline" in out
    assert "| R² | mean error of " in (tmp_path / "c.md").read_text()
    assert "the largest errors" in (tmp_path / "c.html").read_text()


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_bisect_restores_the_r2(capsys, regression_bundle, texture_folder, format):
    arguments = ["bisect", regression_bundle, "--format", format, "--images", texture_folder]
    goal = ["--count", 24, "--goal-agreement", 0.9, "--goal-sqnr", 10]
    code, out, _ = answered(capsys, *arguments, *goal)
    assert code == 0
    assert "24 images" in out
    assert ": R² 0." in out
    assert "for R² 0.9 and 10 dB" in out
    document = json.loads(answered(capsys, *arguments, *goal, "--json")[1])
    assert (document["agreement"], document["goal"]["agreement"]) == (None, None)
    assert document["restore"]["r2"] >= document["goal"]["r2"] == 0.9
    assert document["operators"][-1]["tensor"] == "values"


def test_bench_times_a_photo_to_its_values(capsys, regression_bundle, photo):
    quick = ["--runs", 20, "--min-time", 0, "--threads", 1, "--format", "onnx"]
    asked = ["bench", regression_bundle, *quick, "--image", photo, "--end-to-end", "--json"]
    (result,) = json.loads(answered(capsys, *asked)[1])["results"]
    names = [part.split()[0] for part in result["end_to_end"]["top"].split(", ")]
    assert tuple(names) == VALUES


def test_openvinos_queue_reads_values_back(capsys, regression_bundle, monkeypatch):
    monkeypatch.setattr("edgenet.measure.throughput._SECONDS", 0.01)
    quick = ["--runs", 20, "--min-time", 0, "--threads", 1, "--format", "openvino"]
    code, _, _ = answered(capsys, "bench", regression_bundle, *quick, "--streams", 2)
    assert code == 0
