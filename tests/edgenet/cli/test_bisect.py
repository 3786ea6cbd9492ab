"""`edgenet bisect` names the layers that cost the accuracy, in a table and as JSON."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import sys

import pytest

from converters.pipeline import convert
from edgenet.bundle import MANIFEST
from edgenet.cli.main import main
from tests.converters.bisection.conftest import Frozen

KEYS = ["bundle", "format", "images", "agreement", "r2", "sqnr_db", "operators", "goal", "restore"]
OPERATOR_KEYS = [
    *("layer", "operator", "tensor", "kind", "macs", "compared", "sqnr_db", "own_sqnr_db"),
    *("worst", "returned", "overflows"),
]
RESTORE_KEYS = ["operators", "agreement", "r2", "sqnr_db", "float_macs_share", "reached"]


def bisect(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["bisect", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_json_has_the_contracts_keys(capsys, tiny_bundle, texture_folder, format):
    code, out, _ = bisect(
        capsys, tiny_bundle, "--format", format, "--images", texture_folder, "--count", 12, "--json"
    )
    document = json.loads(out)
    assert code == 0
    assert list(document) == KEYS
    assert (document["bundle"], document["format"]) == (str(tiny_bundle), format)
    assert document["images"] == 12
    assert all(list(entry) == OPERATOR_KEYS for entry in document["operators"])
    assert list(document["restore"]) == RESTORE_KEYS
    assert document["restore"]["reached"]
    assert document["restore"]["agreement"] >= document["goal"]["agreement"] == 0.99
    assert document["restore"]["sqnr_db"] >= document["goal"]["sqnr_db"] == 20
    returned = {entry["layer"] for entry in document["operators"] if entry["returned"]}
    assert returned == set(document["restore"]["operators"])


def test_damaged_images_are_left_out_where_that_is_asked(
    capsys, tiny_bundle, texture_folder, tmp_path
):
    for number in range(4):
        shutil.copy(texture_folder / f"{number:03}.png", tmp_path)
    (tmp_path / "002.png").write_bytes((tmp_path / "002.png").read_bytes()[:60])
    arguments = [tiny_bundle, "--format", "onnx", "--images", tmp_path, "--json"]
    code, _, err = bisect(capsys, *arguments)
    assert code == 1
    assert err.rstrip().endswith("mend it, or add --skip-damaged")
    code, out, err = bisect(capsys, *arguments, "--skip-damaged")
    assert (code, json.loads(out)["images"]) == (0, 3)
    assert err.count("left out 002.png") == 1


def test_the_table_names_layers_and_says_what_to_do(capsys, tiny_bundle, texture_folder):
    code, out, _ = bisect(
        capsys, tiny_bundle, "--images", texture_folder, "--count", 12, "--goal-sqnr", 30
    )
    assert code == 0
    assert "12 images of" in out.splitlines()[0]
    rows = [line for line in out.splitlines() if line.startswith("block2a_dwconv ")]
    assert len(rows) == 1
    assert out.count("worst") == 5
    assert "for agreement 0.99 and 30 dB return to float" in out


def test_the_worst_are_told_once_more_after_the_table(capsys, tiny_bundle, texture_folder):
    arguments = [tiny_bundle, "--images", texture_folder, "--count", 12]
    _, out, _ = bisect(capsys, *arguments)
    table, _, rest = out.partition("\n\n")
    marked = [line for line in table.splitlines() if "worst" in line]
    title, _, _, *told = rest.partition("\n\n")[0].splitlines()
    assert title == "what loses most by itself:"
    assert sorted(line.split()[0] for line in told) == sorted(line.split()[0] for line in marked)
    losses = [float(line.split()[-1]) for line in told]
    assert losses == sorted(losses)
    operators = json.loads(bisect(capsys, *arguments, "--json")[1])["operators"]
    assert [entry["layer"] for entry in operators if entry["worst"]] == [
        line.split()[0] for line in marked
    ]


def advised(out: str) -> list[str]:
    """The command at the end of a report."""
    *_, says, command = out.splitlines()
    assert says == "with all other options as they were, this does so:"
    return shlex.split(command)


def test_it_ends_in_the_command_that_restores_the_answers(
    capsys, monkeypatch, tiny_bundle, tiny_models, texture_folder, tmp_path
):
    common = ["--format", "onnx", "--images", texture_folder, "--count", 24]
    _, out, _ = bisect(capsys, tiny_bundle, *common, "--goal-sqnr", 24)
    given = float(re.search(r"which gives [\d.]+ and ([\d.]+) dB:", out)[1])
    tool, *arguments, layers = advised(out)
    assert tool == "edgenet"
    assert arguments == ["convert", tiny_models["b"].name, "--int8", "--keep-float"]

    monkeypatch.chdir(tiny_models["b"].parent)
    others = ["--to", "onnx", "--calibration", texture_folder, "--calibration-images", 40]
    others += ["-o", tmp_path / "mixed"]
    assert main([*arguments, layers, *map(str, others)]) == 0
    capsys.readouterr()
    _, out, _ = bisect(capsys, tmp_path / "mixed", *common, "--goal-sqnr", 60)
    agreement, ratio = re.search(r"agreement ([\d.]+), SQNR ([\d.]+) dB", out).groups()
    assert float(agreement) >= 0.99
    assert float(ratio) > given - 1

    # What is in float already stays there.
    more = advised(out)[-1].split(",")
    assert sorted(layers.split(",")) == more[: layers.count(",") + 1]
    assert len(more) == len({*more}) > layers.count(",") + 1


@pytest.mark.parametrize(
    ("target", "told"),
    [(None, True), ("cpu-arm", True), ("intel-npu", False), ("ethos-u99", False)],
)
def test_a_target_that_runs_no_floats_beside_int8_gets_no_command(
    capsys, tiny_bundle, texture_folder, tmp_path, target, told
):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["source"] = {"model": "mine", "weights_sha256": "0" * 64}
    if target is not None:
        manifest |= {"target": {"name": target, "activations": "int8"}, "compiled": []}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    common = ["--format", "onnx", "--images", texture_folder, "--count", 4, "--goal-sqnr", 35]
    _, out, _ = bisect(capsys, bundle, *common)
    assert ("edgenet convert MODEL --int8 --keep-float " in out) is told
    assert "return to float" in out


def test_files_of_any_maker_get_no_command(capsys, tiny_bundle, texture_folder):
    files = [tiny_bundle / "model.onnx", "--reference", tiny_bundle / "reference/model.tflite"]
    _, out, _ = bisect(capsys, *files, "--images", texture_folder, "--count", 4, "--goal-sqnr", 35)
    assert "return to float" in out
    assert "edgenet convert" not in out


@pytest.mark.parametrize(
    ("flags", "here"),
    [
        ("avx2", "cuts them off, as this one does. edgenet convert"),
        ("avx2 avx_vnni", "cuts them off, unlike this one. edgenet convert"),
        ("", "cuts them off. edgenet convert"),
    ],
    ids=["overflows", "does not", "unknown"],
)
def test_weights_that_some_processors_overflow_with_are_told(
    capsys, monkeypatch, tiny_models, texture_folder, tmp_path, flags, here
):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    monkeypatch.setattr("edgenet.measure.machine._CPUINFO", tmp_path / "cpuinfo")
    wide = Frozen.of(tiny_models["lite"], tmp_path).overflowing(tmp_path)
    reference = ["--reference", wide.file("onnx", "fp32")]
    common = ["--images", texture_folder, "--count", 4, "--goal-agreement", 0, "--goal-sqnr", 0]
    code, out, _ = bisect(capsys, wide.file("onnx", "int8"), *reference, *common)
    assert code == 0
    last = out.splitlines()[-1]
    assert last.startswith(f"in {out.count('overflows')} operators neighbouring weights")
    assert here in last


def test_a_file_that_meets_the_goal_is_left_alone(capsys, tiny_bundle, texture_folder):
    arguments = ["--images", texture_folder, "--count", 12]
    arguments += ["--goal-agreement", 0, "--goal-sqnr", 0]
    _, out, _ = bisect(capsys, tiny_bundle, *arguments)
    assert out.rstrip().endswith("nothing needs float for agreement 0 and 0 dB")


def test_two_files_are_bisected_like_the_bundle_that_they_are_of(
    capsys, tiny_bundle, texture_folder
):
    common = ["--images", texture_folder, "--count", 12, "--json"]
    whole = json.loads(bisect(capsys, tiny_bundle, "--format", "tflite", *common)[1])
    file = tiny_bundle / "model.tflite"
    reference = ["--reference", tiny_bundle / "reference" / "model.tflite"]
    alone = json.loads(bisect(capsys, file, *reference, *common, "--crop-fraction", 1.0)[1])
    assert alone["format"] == "tflite"
    assert [entry["layer"] for entry in alone["operators"]] == [
        entry["layer"] for entry in whole["operators"]
    ]


def test_without_a_folder_it_takes_crops_of_photographs(capsys, tiny_bundle):
    code, out, _ = bisect(capsys, tiny_bundle, "--count", 4, "--goal-agreement", 0)
    assert code == 0
    assert out.startswith("4 images of crops of scikit-image's photographs")


def test_without_photographs_it_asks_for_a_folder_first(capsys, tiny_bundle, monkeypatch):
    monkeypatch.setattr("edgenet.photographs.find_spec", lambda name: None)
    code, out, err = bisect(capsys, tiny_bundle)
    assert (code, out) == (5, "")
    assert "edgenet: error: name a folder of images with --images DIR" in err
    assert err.endswith(": pip install scikit-image\n")


def test_it_says_which_file_it_takes_where_the_first_can_not_be_taken(
    capsys, tiny_bundle, tiny_float_bundle, monkeypatch
):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)
    arguments = ["--reference", tiny_float_bundle / "model.onnx", "--count", 4, "--json"]
    code, out, err = bisect(capsys, tiny_bundle, *arguments)
    assert code == 0
    assert json.loads(out)["format"] == "onnx"
    assert "edgenet: bisecting the ONNX file: what TFLite needs is not installed" in err


def test_the_float_file_of_another_network_is_refused(
    capsys, tiny_bundle, tiny_models, texture_folder, tmp_path
):
    other = convert(tiny_models["lite"], tmp_path / "other", formats=("tflite",), precision="fp32")
    common = ["--images", texture_folder, "--count", 12]
    code, out, err = bisect(capsys, tiny_bundle, "--reference", other.path, *common)
    assert (code, out) == (2, "")
    assert "the reference is another network" in err
    assert "--reference" in err


def test_another_bundle_can_be_the_reference(capsys, tiny_bundle, tiny_float_bundle, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_bundle, bare)
    shutil.rmtree(bare / "reference")
    code, _, err = bisect(capsys, bare, "--count", 4)
    assert code == 2
    assert "--reference" in err
    arguments = ["--count", 4, "--goal-agreement", 0, "--reference", tiny_float_bundle]
    assert bisect(capsys, bare, *arguments)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{float}"], "edgenet convert --int8"),
        (["{tmp}/none"], "no such bundle or file"),
        (["{bundle}", "--images", "{tmp}/none"], "no such folder of images"),
        (["{bundle}", "--count", "0"], "at least one image"),
        (["{bundle}", "--goal-agreement", "99"], "between 0 and 1"),
        (["{bundle}", "--count", "-3"], "at least one image"),
        (["{bundle}", "--goal-agreement", "nan"], "--goal-agreement nan"),
        (["{bundle}", "--goal-sqnr", "nan"], "--goal-sqnr nan"),
        (["{bundle}", "--goal-sqnr", "inf"], "--goal-sqnr inf"),
        (["{bundle}", "--goal-sqnr=-inf"], "--goal-sqnr -inf"),
        (
            ["{bundle}", "--crop-fraction", "1.0"],
            "--crop-fraction is for the photos of --images DIR",
        ),
        (["{bundle}", "--skip-damaged"], "--skip-damaged is for the photos of --images DIR"),
        (["{bundle}", "--images", "{tmp}", "--crop-fraction", "nan"], "at most 1, not nan"),
        (["{bundle}", "--images", "{tmp}", "--crop-fraction", "0"], "at most 1, not 0.0"),
        (["{bundle}", "--images", "{tmp}", "--crop-fraction", "1.5"], "at most 1, not 1.5"),
        (["{bundle}", "--format", ""], "the value of format is empty"),
        (["{bundle}", "--format", "caffe"], "caffe"),
        (["{bundle}", "--preprocess", "tf"], "--preprocess"),
        (["{bundle}/model.tflite"], "--reference FLOAT_FILE"),
        (["{bundle}/model.xml", "--reference", "{bundle}"], "no known format"),
        (["{bundle}/model.tflite", "--format", "onnx"], "--format"),
        (["{bundle}/model.tflite", "--reference", "{bundle}", "--preprocess", "vgg"], "vgg"),
    ],
)
def test_mistakes_are_told_in_one_line(
    capsys, tiny_bundle, tiny_float_bundle, tmp_path, arguments, message
):
    places = {"bundle": tiny_bundle, "float": tiny_float_bundle, "tmp": tmp_path}
    code, out, err = bisect(capsys, *(text.format(**places) for text in arguments))
    assert (code, out) == (2, "")
    (line,) = [line for line in err.splitlines() if line.startswith("edgenet: error: ")]
    assert message in line
