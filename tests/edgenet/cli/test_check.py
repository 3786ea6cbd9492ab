"""`edgenet check` is a gate: it reports, and exits 3 where a limit is missed."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from html import escape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgenet.bundle import MANIFEST, Bundle, record_of
from edgenet.cli.main import main
from edgenet.measure.baseline import RULE
from edgenet.runtime import load

CONTRACT = {"bundle", "reference", "images", "results", "cross_agreement", "passed"}
RESULT_CONTRACT = {
    *("format", "precision", "device", "device_used", "top1", "drop_points", "drop_interval"),
    *("mcnemar_p", "agreement", "sqnr_db", "p50_ms", "passed"),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Twelve smooth random photos, without labels."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(3)
    for index in range(12):
        blobs = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        blobs.resize((40, 40), Image.Resampling.BICUBIC).save(folder / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def labelled(photos, tmp_path_factory) -> Path:
    """The same photos, all said to be of class 0."""
    folder = tmp_path_factory.mktemp("labelled")
    shutil.copytree(photos, folder, dirs_exist_ok=True)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["file", "class_index"])
        writer.writerows([path.name, 0] for path in sorted(folder.glob("*.png")))
    return folder


@pytest.fixture(scope="module")
def spoiled(tiny_float_bundle, tmp_path_factory) -> Path:
    """A bundle whose OpenVINO file is another network: its weights have the opposite sign.

    The manifest vouches for it, as that of a bad conversion would.
    """
    folder = tmp_path_factory.mktemp("spoiled") / "bundle"
    shutil.copytree(tiny_float_bundle, folder)
    weights = next(folder.glob("*.bin"))
    values = np.frombuffer(weights.read_bytes(), np.float32).copy()
    size = np.abs(values)
    # Integers among the constants are tiny as floats; they must stay, or the file would not load.
    values[(size > 1e-4) & (size < 2)] *= -1
    weights.write_bytes(values.tobytes())
    bundle = Bundle.open(folder)
    vouched = tuple(
        replace(a, files=tuple(record_of(folder, folder / file.path) for file in a.files))
        for a in bundle.manifest.artifacts
    )
    (folder / MANIFEST).write_text(replace(bundle.manifest, artifacts=vouched).to_json())
    return folder


def check(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["check", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def check_json(capsys, *arguments) -> tuple[int, dict]:
    code, out, _ = check(capsys, *arguments, "--json")
    return code, json.loads(out)


def test_json_has_the_contracts_keys(capsys, tiny_float_bundle, photos):
    code, document = check_json(capsys, tiny_float_bundle, "--evaluate", photos)
    assert code == 0
    assert set(document) >= CONTRACT
    assert document["bundle"] == str(tiny_float_bundle)
    assert document["reference"]["precision"] == "fp32"
    assert document["reference"]["top1"] is document["reference"]["top5"] is None
    assert document["reference"]["p50_ms"] > 0
    assert document["reference"]["bytes"] == (tiny_float_bundle / "model.tflite").stat().st_size
    assert [len(r["answers"]) for r in (document["reference"], *document["results"])] == [12] * 4
    assert document["images"] == 12
    assert document["passed"] is True
    for result in document["results"]:
        assert set(result) >= RESULT_CONTRACT
        assert result["device_used"] == "cpu"
        assert result["top1"] is result["drop_points"] is result["drop_interval"] is None
    assert [r["format"] for r in document["results"]] == ["tflite", "onnx", "openvino"]
    pairs = [pair["formats"] for pair in document["cross_agreement"]]
    assert pairs == [["tflite", "onnx"], ["tflite", "openvino"], ["onnx", "openvino"]]


def test_labels_add_accuracy_with_its_interval(capsys, tiny_float_bundle, labelled):
    code, document = check_json(capsys, tiny_float_bundle, "--evaluate", labelled)
    assert code == 0
    assert 0 <= document["reference"]["top1"] <= 1
    for result in document["results"]:
        assert result["top1"] == document["reference"]["top1"]
        assert result["drop_points"] == 0
        assert result["drop_interval"][0] < 0 < result["drop_interval"][1]
        assert result["mcnemar_p"] == 1.0


def test_a_doubt_is_told_once_and_in_every_report(capsys, monkeypatch, tiny_bundle, photos):
    told = "no drop means anything"
    monkeypatch.setattr("edgenet.measure.parity.Parity.doubt", told)
    asked = [tiny_bundle, "--evaluate", photos, "--format", "tflite"]
    _, out, err = check(capsys, *asked, "--json")
    assert json.loads(out)["doubt"] == told
    assert f"edgenet: {told}\n" in err
    _, out, err = check(capsys, *asked)
    assert (out.count(f"! {told}"), err.count(told)) == (1, 0)


def test_a_spoiled_file_fails_the_gate_and_the_others_pass(capsys, spoiled, photos):
    code, out, err = check(capsys, spoiled, "--evaluate", photos, "--json")
    document = json.loads(out)
    assert code == 3
    assert document["passed"] is False
    assert {r["format"]: r["passed"] for r in document["results"]} == {
        "tflite": True,
        "onnx": True,
        "openvino": False,
    }
    failed = next(r for r in document["results"] if not r["passed"])
    lines = [line for line in err.splitlines() if "failed" in line]
    assert lines == [f"edgenet: openvino fp32 failed: {failure}" for failure in failed["failures"]]
    assert "edgenet: what is allowed is set by --min-agreement and --min-sqnr\n" in err
    assert "less than the 80.0 dB required" in err


def test_the_table_is_printed_before_the_gate_closes(capsys, spoiled, photos):
    code, out, _ = check(capsys, spoiled, "--evaluate", photos)
    rows = {line.split()[0]: line.split()[-1] for line in out.splitlines() if line.strip()}
    assert code == 3
    assert (rows["tflite"], rows["openvino"]) == ("yes", "no")
    assert "cpu (openvino)" in out


def test_a_stricter_limit_closes_the_gate(capsys, tiny_bundle, photos):
    lenient = ["--min-agreement", 0]
    assert check(capsys, tiny_bundle, "--evaluate", photos, *lenient)[0] == 0
    code, _, err = check(capsys, tiny_bundle, "--evaluate", photos, *lenient, "--min-sqnr", 1000)
    # A file equal to the reference to the bit keeps any SQNR, so only the others can fail.
    _, document = check_json(capsys, tiny_bundle, "--evaluate", photos)
    unequal = [r for r in document["results"] if r["sqnr_db"] is not None]
    assert code == (3 if unequal else 0)
    assert err.count("the SQNR is") == len(unequal)
    assert err.count("what is allowed is set by") == bool(unequal)


def test_the_default_agreement_yields_to_a_drop_or_a_baseline_and_not_to_itself(
    capsys, tiny_bundle, labelled, tmp_path
):
    """Of images that fp32 has wrong as well, int8 may answer some otherwise and lose nothing."""
    asked = [tiny_bundle, "--evaluate", labelled]
    code, document = check_json(capsys, *asked)
    assert code == 3
    for result in document["results"]:
        (failure,) = result["failures"]
        assert failure.endswith("less than the 0.9500 required")
        assert result["drop_points"] == 0
    (tmp_path / "check.json").write_text(json.dumps(document))
    baseline = ["--baseline", tmp_path / "check.json"]
    for bound in (["--max-drop", 0], baseline, [*baseline, "--max-drop", 0]):
        code, found = check_json(capsys, *asked, *bound)
        assert (code, found["passed"]) == (0, True)
        code, found = check_json(capsys, *asked, *bound, "--min-agreement", 0.95)
        assert code == 3
        assert [len(result["failures"]) for result in found["results"]] == [1, 1, 1]


def test_a_default_that_the_baseline_kept_holds(capsys, tiny_bundle, labelled, tmp_path):
    """On few images the baseline cannot tell a loss from chance, and says so."""
    asked = [tiny_bundle, "--evaluate", labelled]
    _, document = check_json(capsys, *asked)
    for result in document["results"]:
        result["agreement"] = 1.0
    (tmp_path / "check.json").write_text(json.dumps(document))
    code, found = check_json(capsys, *asked, "--baseline", tmp_path / "check.json")
    assert code == 3
    for result in found["results"]:
        (failure,) = result["failures"]
        assert failure.endswith("less than the 0.9500 required")


def test_a_file_that_the_baseline_lacks_is_held_to_the_default(
    capsys, tiny_bundle, labelled, tmp_path
):
    asked = [tiny_bundle, "--evaluate", labelled]
    _, document = check_json(capsys, *asked, "--format", "onnx")
    (tmp_path / "check.json").write_text(json.dumps(document))
    code, found = check_json(capsys, *asked, "--baseline", tmp_path / "check.json")
    assert code == 3
    passed = {result["format"]: result["passed"] for result in found["results"]}
    assert passed == {"tflite": False, "onnx": True, "openvino": False}


def test_another_bundle_can_be_the_reference(
    capsys, tiny_bundle, tiny_float_bundle, photos, tmp_path
):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_bundle, bare)
    shutil.rmtree(bare / "reference")
    arguments = ["--evaluate", photos, "--format", "tflite"]
    code, _, err = check(capsys, bare, *arguments)
    assert code == 2
    assert "--reference BUNDLE" in err
    own = check_json(capsys, tiny_bundle, *arguments)[1]["results"][0]
    other = check_json(capsys, bare, *arguments, "--reference", tiny_float_bundle)[1]["results"][0]
    assert other["sqnr_db"] == own["sqnr_db"]
    assert other["agreement"] == own["agreement"]


def test_images_takes_a_sample(capsys, tiny_float_bundle, photos):
    arguments = [tiny_float_bundle, "--evaluate", photos, "--images", 5, "--format", "tflite"]
    _, document = check_json(capsys, *arguments)
    assert document["images"] == 5
    assert document["cross_agreement"] == []


def test_the_crop_fraction_changes_what_is_seen(capsys, tiny_bundle, photos):
    arguments = [tiny_bundle, "--evaluate", photos, "--format", "onnx"]
    arguments += ["--min-agreement", 0]
    whole = check_json(capsys, *arguments, "--crop-fraction", 1.0)[1]["results"][0]
    centre = check_json(capsys, *arguments, "--crop-fraction", 0.3)[1]["results"][0]
    assert whole["sqnr_db"] != centre["sqnr_db"]


def test_without_a_folder_it_takes_crops_of_photographs(capsys, tiny_float_bundle):
    code, out, _ = check(capsys, tiny_float_bundle, "--images", 4)
    assert code == 0
    assert out.startswith("4 images of crops of scikit-image's photographs")


def test_without_photographs_no_session_is_opened(capsys, monkeypatch, tiny_float_bundle):
    monkeypatch.setattr("edgenet.photographs.find_spec", lambda name: None)
    monkeypatch.setattr("edgenet.measure.opening.open_formats", None)
    code, _, err = check(capsys, tiny_float_bundle)
    assert code == 5
    assert err.rstrip().endswith("pip install scikit-image")


def test_the_images_worst_hit_come_with_both_answers(capsys, tiny_bundle, labelled):
    arguments = [tiny_bundle, "--evaluate", labelled, "--min-agreement", 0, "--max-drop", 100]
    _, document = check_json(capsys, *arguments)
    for result in document["results"]:
        worst = result["damage"]["worst"]
        assert len(worst) == 12
        changed = [image["reference"]["index"] != image["ours"]["index"] for image in worst]
        assert sum(changed) == result["damage"]["changed"]
        assert changed == sorted(changed, reverse=True)
        assert {image["label"] for image in worst} == {"stripes 0"}
        assert {image["image"] for image in worst} == {f"{index:02}.png" for index in range(12)}


@pytest.fixture(scope="module")
def baseline(tiny_float_bundle, labelled, tmp_path_factory) -> Path:
    """What the sound float bundle answers to the labelled photos."""
    file = tmp_path_factory.mktemp("baseline") / "check.json"
    with file.open("w") as out, contextlib.redirect_stdout(out):
        main(["check", str(tiny_float_bundle), "--evaluate", str(labelled), "--json"])
    return file


def test_a_run_is_its_own_baseline(capsys, tiny_float_bundle, labelled, baseline):
    arguments = [tiny_float_bundle, "--evaluate", labelled, "--baseline", baseline]
    code, document = check_json(capsys, *arguments)
    assert (code, document["regressions"]) == (0, [])
    assert document["baseline"]["paired"] is True
    assert {change["verdict"] for change in document["baseline"]["changes"]} == {"kept"}
    assert [change["p"] for change in document["baseline"]["changes"]] == [1.0] * 9


def test_what_is_surely_worse_than_the_baseline_closes_the_gate(
    capsys, spoiled, labelled, baseline, tmp_path
):
    lenient = ["--min-agreement", 0, "--max-drop", 100, "--baseline", baseline]
    page, text = tmp_path / "check.html", tmp_path / "check.md"
    arguments = [spoiled, "--evaluate", labelled, *lenient, "--html", page, "--markdown", text]
    code, out, err = check(capsys, *arguments)
    assert code == 3
    assert "worse than the baseline: openvino fp32 cpu: SQNR fell from" in err
    assert "worse than the baseline: tflite" not in err
    assert f"edgenet: {RULE}" in err
    assert "against the baseline" in out
    assert escape(RULE) in page.read_text()
    assert "### against the baseline" in text.read_text()


def test_on_other_images_the_tolerances_decide_and_that_is_told(
    capsys, tiny_float_bundle, labelled, baseline
):
    arguments = [tiny_float_bundle, "--evaluate", labelled, "--baseline", baseline]
    _, _, err = check(capsys, *arguments, "--images", 5, "--max-drop", 100)
    assert "edgenet: the baseline's 12 images are not the 5 of this check: worse is" in err


def test_reports_are_written_beside_the_table(capsys, tiny_bundle, labelled, tmp_path):
    page, text = tmp_path / "check.html", tmp_path / "check.md"
    arguments = [tiny_bundle, "--evaluate", labelled, "--min-agreement", 0, "--max-drop", 100]
    code, _, _ = check(capsys, *arguments, "--html", page, "--markdown", text)
    assert code == 0
    html = page.read_text()
    assert html.count("data:image/jpeg;base64,") == 36
    assert "float: stripes" in html
    assert text.read_text().startswith("## edgenet check: passed")


@pytest.mark.parametrize("option", ["--html", "--markdown"])
def test_a_path_that_cannot_be_written_is_told_before_the_work(
    capsys, monkeypatch, tiny_bundle, photos, tmp_path, option
):
    def unexpected(*_: object) -> None:
        raise AssertionError("compared")

    monkeypatch.setattr("edgenet.measure.parity.compare", unexpected)
    asked = [tiny_bundle, "--evaluate", photos, option, tmp_path / "none" / "report"]
    code, out, err = check(capsys, *asked)
    assert (code, out) == (2, "")
    assert f"cannot be written (No such file or directory): give another path after {option}" in err


def test_the_result_is_printed_even_if_a_report_fails(
    capsys, monkeypatch, spoiled, photos, tmp_path
):
    # As where the disk fills up meanwhile.
    monkeypatch.setattr("edgenet.report.files.require_writable", lambda *_: None)
    code, out, err = check(capsys, spoiled, "--evaluate", photos, "--json", "--html", tmp_path)
    assert code == 2
    assert json.loads(out)["passed"] is False
    assert "openvino fp32 failed: " in err
    assert err.splitlines()[-1].endswith("give another path after --html")


@pytest.fixture(scope="module")
def foreign(photos, tmp_path_factory) -> Path:
    """Photos in a folder, both of them with names that are no UTF-8."""
    folder = tmp_path_factory.mktemp("foreign") / os.fsdecode(b"men\xfc")
    folder.mkdir()
    for number, path in enumerate(sorted(photos.glob("*.png"))[:2]):
        shutil.copy(path, folder / os.fsdecode(b"caf\xe9-%d.png" % number))
    return folder


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "utf-8:strict"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
    ],
)
@pytest.mark.parametrize("json_too", [[], ["--json"]])
def test_names_that_are_no_text_are_shown_with_escapes(
    tiny_float_bundle, foreign, tmp_path, locale, json_too
):
    page, text = tmp_path / "check.html", tmp_path / "check.md"
    reports = ["--html", page, "--markdown", text]
    command = [sys.executable, "-m", "edgenet", "check", tiny_float_bundle, "--format", "tflite"]
    done = subprocess.run(
        [*map(str, command), "--evaluate", os.fsencode(foreign), *map(str, reports), *json_too],
        env={**os.environ, **locale},
        capture_output=True,
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
    assert b"men\\udcfc" in done.stdout
    assert r"caf\udce9-0.png" in page.read_text(encoding="utf-8")
    assert r"men\udcfc" in text.read_text(encoding="utf-8")
    if json_too:
        (result,) = json.loads(done.stdout)["results"]
        found = {image["image"] for image in result["damage"]["worst"]}
        assert found == {os.fsdecode(b"caf\xe9-%d.png" % number) for number in (0, 1)}


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--max-drop", "nan"], 2, "--max-drop nan"),
        (["--max-drop", "inf"], 2, "--max-drop inf"),
        (["--max-drop", "-1"], 2, "--max-drop -1"),
        (["--min-sqnr", "nan"], 2, "--min-sqnr nan"),
        (["--min-sqnr", "inf"], 2, "--min-sqnr inf"),
        (["--evaluate", "{tmp}/none"], 2, "no such folder of images"),
        (["--evaluate", "{tmp}"], 2, "no images in"),
        (["--evaluate", "{photos}", "--images", "0"], 2, "at least one image"),
        (["--images", "{photos}"], 2, "a folder of images is named with --evaluate"),
        (["--evaluate", "{photos}", "--min-agreement", "97"], 2, "between 0 and 1"),
        (["--evaluate", "{photos}", "--device", "gpu", "--format", "openvino"], 4, "gpu"),
        (["--evaluate", "{photos}", "--device", "abacus"], 2, "abacus"),
        (["--evaluate", "{photos}", "--format", "caffe"], 2, "caffe"),
        (["--evaluate", "{photos}", "--reference", "{tmp}/none"], 2, "no such bundle"),
        (["--evaluate", "{photos}", "--threads", "0"], 2, "threads"),
        (["--evaluate", "{photos}", "--crop-fraction", "1.5"], 2, "crop fraction"),
        (["--crop-fraction", "1.0"], 2, "--crop-fraction is for the images of --evaluate DIR"),
        (["--skip-damaged"], 2, "--skip-damaged is for the images of --evaluate DIR"),
        (["--max-drop", "0.5"], 2, "crops of scikit-image's photographs have none"),
        (["--evaluate", "{photos}", "--max-drop", "0.5"], 2, "--max-drop needs labels"),
        (["--evaluate", "{photos}", "--threads", "10000"], 2, "ask for 1 to "),
        (["--evaluate", "{photos}", "--baseline", "{tmp}/none"], 2, "cannot read the baseline"),
        (["--evaluate", "{photos}", "--baseline", "{photos}/00.png"], 2, "--json"),
        (["--evaluate", "{photos}", "--html", "{tmp}"], 2, "--html"),
    ],
)
def test_mistakes_are_told_in_one_line(
    capsys, tiny_bundle, photos, tmp_path, arguments, code, message
):
    filled = [text.format(tmp=tmp_path, photos=photos) for text in arguments]
    found, out, err = check(capsys, tiny_bundle, *filled)
    assert (found, out) == (code, "")
    (line,) = [line for line in err.splitlines() if line.startswith("edgenet: error: ")]
    assert message in line


def test_a_label_that_no_class_has_is_told_before_the_work(
    capsys, monkeypatch, tiny_bundle, photos, tmp_path
):
    def unexpected(*_: object) -> None:
        raise AssertionError("opened")

    monkeypatch.setattr("edgenet.measure.opening.open_formats", unexpected)
    folder = shutil.copytree(photos, tmp_path / "counted from 1")
    rows = [f"{index:02}.png,{index}" for index in range(1, 11)]
    (folder / "labels.csv").write_text("\n".join(["file,class_index", *rows]))
    code, out, err = check(capsys, tiny_bundle, "--evaluate", folder, "--images", 3)
    assert (code, out) == (2, "")
    assert "10.png in " in err
    assert "the model's 10 classes are numbered from 0, to 9" in err


def test_a_stray_image_beside_class_folders_is_told(capsys, tiny_bundle, photos, tmp_path):
    for index in range(10):
        (tmp_path / f"stripes {index}").mkdir()
        shutil.copy(photos / "00.png", tmp_path / f"stripes {index}")
    assert check(capsys, tiny_bundle, "--evaluate", tmp_path, "--max-drop", 100)[0] in (0, 3)
    shutil.copy(photos / "00.png", tmp_path / "confusion.png")
    code, _, err = check(capsys, tiny_bundle, "--evaluate", tmp_path)
    assert code == 2
    assert "confusion.png" in err


def test_formats_may_be_listed_with_spaces(capsys, tiny_float_bundle, photos):
    arguments = [tiny_float_bundle, "--evaluate", photos, "--format", " onnx, tflite"]
    code, document = check_json(capsys, *arguments)
    assert code == 0
    assert [result["format"] for result in document["results"]] == ["onnx", "tflite"]


def test_an_empty_format_is_usage(capsys, tiny_float_bundle):
    assert main(["check", str(tiny_float_bundle), "--format", ""]) == 2
    assert "argument --format: it is empty" in capsys.readouterr().err


def test_a_damaged_image_is_named(capsys, tiny_bundle, photos, tmp_path):
    shutil.copytree(photos, tmp_path, dirs_exist_ok=True)
    broken = tmp_path / "05.png"
    broken.write_bytes(broken.read_bytes()[:60])
    code, out, err = check(capsys, tiny_bundle, "--evaluate", tmp_path)
    assert (code, out) == (1, "")
    assert "05.png" in err
    assert err.rstrip().endswith("mend it, or add --skip-damaged")


def test_damaged_images_are_left_out_where_that_is_asked(capsys, tiny_bundle, photos, tmp_path):
    """The others keep their names and labels."""
    shutil.copytree(photos, tmp_path / "photos")
    broken = tmp_path / "photos" / "05.png"
    broken.write_bytes(broken.read_bytes()[:60])
    arguments = ["--evaluate", tmp_path / "photos", "--skip-damaged", "--format", "onnx", "--json"]
    code, out, err = check(capsys, tiny_bundle, *arguments, "--html", tmp_path / "page.html")
    document = json.loads(out)
    assert code in (0, 3)
    assert err.count("left out 05.png") == 1
    assert document["images"] == len(list(photos.glob("*.png"))) - 1
    (result,) = document["results"]
    with load(tiny_bundle, "onnx") as session:
        for worst in result["damage"]["worst"]:
            (guess,) = session.classify(tmp_path / "photos" / worst["image"], top=1)
            assert guess.index == result["answers"][worst["number"]]
