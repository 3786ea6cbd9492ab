"""`edgenet convert`: the report on stdout, progress on stderr, an exit code for each end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgenet.bundle import MANIFEST, Bundle
from edgenet.cli.main import main

DOCUMENT_KEYS = [
    *("bundle", "source", "precision", "reference_bytes", "artifacts", "compiled", "evaluation")
]
ARTIFACT_KEYS = [
    *("format", "precision", "files", "bytes", "images", "agreement", "sqnr_db", "max_error"),
    "p50_ms",
]


def convert(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["convert", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_the_table_has_a_row_for_each_format(capsys, tiny_models, tiny_labels, tmp_path):
    code, out, err = convert(
        capsys, tiny_models["lite"], "--labels", tiny_labels, "-o", tmp_path / "out"
    )
    assert code == 0
    for text in ("format", "of fp32", "agreement", "SQNR dB", "p50 ms", "verified against Keras"):
        assert text in out
    rows = [line.split() for line in out.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["tflite", "onnx", "openvino"]
    assert all(row[4] == "1.0000" for row in rows)
    for step in ("loading", "asking Keras", "lowering to tflite", "timing"):
        assert f"edgenet: {step}" in err
        assert step not in out
    assert Bundle.open(tmp_path / "out").formats == ("tflite", "onnx", "openvino")


def test_json_is_one_document_with_the_contracts_keys(
    capsys, tiny_models, texture_folder, tmp_path
):
    code, out, err = convert(
        *(capsys, tiny_models["lite"], "--int8", "--to", "onnx,openvino", "--json"),
        *("--calibration", texture_folder, "--calibration-images", 16, "-o", tmp_path / "out"),
    )
    assert code == 0
    document = json.loads(out)
    assert list(document) == DOCUMENT_KEYS
    assert document["bundle"] == str(tmp_path / "out")
    assert document["precision"] == "int8"
    assert document["source"]["file"] == "tiny-lite.keras"
    assert [artifact["format"] for artifact in document["artifacts"]] == ["onnx", "openvino"]
    for artifact in document["artifacts"]:
        assert list(artifact) == ARTIFACT_KEYS
        assert sum(Path(file).stat().st_size for file in artifact["files"]) == artifact["bytes"]
        assert artifact["p50_ms"] > 0
    assert document["evaluation"] is None
    assert "calibrating: 10 of 10" in err  # and 6 aside, to measure on


def evaluated(capsys, model, folder, place, *arguments) -> str:
    code, out, _ = convert(
        *(capsys, model, "--int8", "--to", "onnx", "--effort", "fast", "-o", place),
        *("--calibration", folder, "--calibration-images", 16, "--evaluate", folder, *arguments),
    )
    assert code == 0
    return out


def test_what_was_measured_on_labelled_images_is_told_and_kept(
    capsys, tiny_models, texture_folder, tmp_path
):
    given = capsys, tiny_models["b"], texture_folder
    out = evaluated(*given, tmp_path / "out", "--max-drop", 100)
    manifest = Bundle.open(tmp_path / "out").manifest
    found = manifest.evaluation
    (result,) = found["results"]
    low, high = result["drop_interval"]
    assert found["images"] == 100
    assert low <= result["drop_points"] <= high
    assert f"evaluated on 100 images: fp32 is right on {found['reference_top1']:.1%}" in (
        out.replace(" %", "%")
    )
    header, row = out.splitlines()[-3], out.splitlines()[-1]
    images = manifest.artifacts[0].verified.images
    assert header.index(f"agreement of {images}") < header.index("agreement of 100")
    drop = f"{result['drop_points']:.2f} ({low:.2f}..{high:.2f})"
    assert row.endswith(f"{100 * result['top1']:.1f} %{drop:>21}{result['agreement']:18.4f}")
    again = evaluated(*given, tmp_path / "2", "--max-drop", 100, "--json")
    assert json.loads(again)["evaluation"] == found


def test_without_o_the_bundle_is_named_after_model_and_precision(
    capsys, tiny_models, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    assert convert(capsys, tiny_models["lite"], "--precision", "fp16", "--to", "onnx")[0] == 0
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-lite-fp16"]


def test_the_gate_exits_3_and_writes_nothing(
    capsys, tiny_bundle, tiny_models, texture_folder, tmp_path
):
    """By a recipe whose ranges clip nearly all."""
    recipe = json.loads((tiny_bundle / MANIFEST).read_text())["recipe"]
    ranges = recipe["ranges"]
    for name in ranges:
        ranges[name] = [end / 50 for end in ranges[name]]
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    code, out, err = convert(
        *(capsys, tiny_models["b"], "--int8", "--to", "onnx", "-o", tmp_path / "out"),
        *("--calibration", texture_folder, "--recipe", tmp_path / "recipe.json"),
        *("--evaluate", texture_folder, "--max-drop", 1),
    )
    assert code == 3
    assert out == ""
    assert err.splitlines()[-1].startswith("edgenet: error: int8 in onnx: the top-1 drop is ")
    assert "nothing was written" in err
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.json"]


def test_strict_int8_that_is_too_noisy_exits_3_and_writes_nothing(
    capsys, tiny_models, texture_folder, tmp_path
):
    code, out, err = convert(
        *(capsys, tiny_models["lite"], "--int8", "--to", "onnx", "-o", tmp_path / "out"),
        *("--calibration", texture_folder, "--calibration-images", 16),
        *("--max-drop", 0.01, "--strict", "--effort", "fast"),
    )
    assert code == 3
    assert out == ""
    assert err.splitlines()[-1].startswith("edgenet: error: int8 keeps ")
    assert "--max-drop" in err.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []


def test_a_drop_is_allowed_without_labels_and_a_recipe_replays(
    capsys, tiny_models, texture_folder, tmp_path
):
    common = (
        *(tiny_models["lite"], "--int8", "--to", "onnx", "--json", "--without", "lifting, silu"),
        *("--calibration", texture_folder, "--calibration-images", 16, "--effort", "fast"),
    )
    code, out, err = convert(capsys, *common, "-o", tmp_path / "first", "--max-drop", 50)
    assert code == 0
    assert json.loads(out)["precision"] == "int8"
    assert "int8 keeps" in err
    recipe = tmp_path / "first" / "manifest.json"
    assert "looking for rewrites" in err
    code, _, err = convert(capsys, *common, "-o", tmp_path / "again", "--recipe", recipe)
    assert code == 0
    assert "looking for rewrites" not in err
    assert Bundle.open(tmp_path / "again").manifest == Bundle.open(tmp_path / "first").manifest


def test_layers_that_are_named_stay_in_float(capsys, tiny_models, texture_folder, tmp_path):
    code, out, err = convert(
        *(capsys, tiny_models["lite"], "--int8", "--to", "onnx", "-o", tmp_path / "out"),
        *("--calibration", texture_folder, "--calibration-images", 16, "--effort", "fast"),
        *("--keep-float", "top_conv, block1a_*,"),
    )
    assert code == 0
    assert f"{tmp_path / 'out'}: int8-mixed, each file verified" in out
    assert "edgenet: 3 layers in float" in err
    recipe = Bundle.open(tmp_path / "out").manifest.recipe
    assert recipe["float_operators"] == ["block1a_dwconv", "block1a_project_conv", "top_conv"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["gone.keras"], 2, "gone.keras: no such file, and no variant either"),
        (["text.keras"], 2, "not a Keras model"),
        (["b9"], 2, "no such file, and no variant either"),
        (["b0"], 2, "--weights FILE"),
        (["MODEL", "--to", "coreml"], 2, "take of tflite, onnx, openvino"),
        (["MODEL", "--max-drop", "1"], 2, "add --evaluate DIR"),
        (["MODEL", "--calibration", "empty", "--int8"], 2, "no images in empty"),
        (["MODEL", "-o", "full"], 2, "name another place with -o"),
        (["MODEL", "-o", "text.keras"], 2, "name another place with -o"),
        (["MODEL", "--range-rule", "magic"], 2, "take one of by-role"),
        (["MODEL", "--without", "silu,sleep"], 2, "take one of outliers, streams, silu"),
        (["MODEL", "--head", "other"], 2, "no head 'other': take one of predictions"),
        (["MODEL", "--effort", "some"], 2, "take one of fast, thorough"),
        (["MODEL", "--keep-float", "top_conv"], 2, "nothing for --keep-float to decide in fp32"),
        (["MODEL", "--int8", "--keep-float", "tp_conv"], 2, "the nearest are top_conv"),
        (["MODEL", "--int8", "--strict"], 2, "what may be lost: add --max-drop"),
        (["MODEL", "--int8", "--recipe", "gone.json"], 2, "cannot read the recipe gone.json"),
        (["MODEL", "--int8", "--recipe", "text.keras"], 2, "text.keras is not JSON"),
        (["MODEL", "--weights", "w.h5"], 2, "go with a variant, not a file"),
    ],
)
def test_a_mistake_is_one_line_with_its_code(
    capsys, tiny_models, tmp_path, monkeypatch, arguments, code, said
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.keras").write_text("not a model")
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    replaced = [str(tiny_models["lite"]) if a == "MODEL" else a for a in arguments]
    found, out, err = convert(capsys, *replaced)
    assert found == code
    assert out == ""
    last = err.splitlines()[-1]
    assert last.startswith("edgenet: error: ")
    assert said in last
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


@pytest.mark.parametrize("arguments", [["--precision", "int4"], ["--int8", "--precision", "fp16"]])
def test_an_argument_that_is_none_is_usage(capsys, arguments):
    assert main(["convert", *arguments]) == 2
    assert "(edgenet convert --help tells what there is)" in capsys.readouterr().err
