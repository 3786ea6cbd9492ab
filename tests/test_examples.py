"""The examples run, as their docstrings say, and answer."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import edgenet
from edgenet import photographs
from edgenet.bundle import MANIFEST, Bundle
from tests.networks import CLASSES

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def started(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def run(name: str, *arguments: object) -> list[str]:
    done = started(name, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def guesses(lines: list[str]) -> dict[str, float]:
    """Label to per cent, of lines such as " 12.5%  stripes 3"."""
    matches = [re.fullmatch(r" *([\d.]+)%  (.+)", line) for line in lines]
    return {match[2]: float(match[1]) for match in matches if match}


def similarity(bundle: Path, first: Path, second: Path) -> float:
    (line,) = run("embed_similarity.py", bundle, first, second)
    return float(line.removeprefix("cosine "))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_short_and_names_its_command(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) < 60
    assert f"\npython examples/{path.name} " in text


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_a_wrong_call_is_told_how_to_be_right(path: Path) -> None:
    done = started(path.name)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"{path.name}: error: the following arguments")


@pytest.mark.parametrize(
    ("name", "arguments"),
    [("classify.py", ("gone", "a.jpg")), ("embed_similarity.py", ("gone", "a.jpg", "b.jpg"))],
)
def test_a_wrong_path_is_one_line(name: str, arguments: tuple[str, ...]) -> None:
    done = started(name, *arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "gone" in line


def test_classify_names_the_right_stripes(tiny_bundle: Path, texture_folder: Path) -> None:
    first, *lines = run("classify.py", tiny_bundle, texture_folder / "003.png")
    assert first.endswith(" on the cpu")
    found = guesses(lines)
    assert len(found) == len(lines) == 5
    assert max(found, key=found.__getitem__) == "stripes 3"


@pytest.mark.parametrize("crop_fraction", [1.0, 0.7])
@pytest.mark.parametrize("interpolation", ["tf-bilinear", "bicubic"])
def test_without_edgenet_a_photo_gets_the_same_answer(
    tiny_bundle: Path, tmp_path: Path, crop_fraction: float, interpolation: str
) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    document = json.loads((bundle / MANIFEST).read_text())
    document["input"] |= {"crop_fraction": crop_fraction, "interpolation": interpolation}
    (bundle / MANIFEST).write_text(json.dumps(document))
    photo = Image.fromarray(next(photographs.crops(1, 150, 97)))
    photo.save(tmp_path / "photo.png")
    with edgenet.load(bundle, format="onnx") as session:
        wanted = session.classify(photo, top=5)
    assert run("without_edgenet.py", bundle, tmp_path / "photo.png") == [
        f"{guess.probability:6.1%}  {guess.label}" for guess in wanted
    ]
    (bundle / "labels.txt").unlink()
    assert [
        line.split()[1] for line in run("without_edgenet.py", bundle, tmp_path / "photo.png")
    ] == [str(guess.index) for guess in wanted]


def test_similarity_is_one_with_itself_and_highest_within_a_class(
    tiny_bundle: Path, texture_folder: Path
) -> None:
    photo, alike, other = (texture_folder / f"{i:03}.png" for i in (3, 3 + CLASSES, 4))
    assert similarity(tiny_bundle, photo, photo) == pytest.approx(1, abs=1e-3)
    assert similarity(tiny_bundle, photo, other) < similarity(tiny_bundle, photo, alike) < 1


@pytest.mark.slow
def test_an_own_model_is_converted_and_answers(tmp_path: Path, texture_folder: Path) -> None:
    first, *lines = run(
        "convert_own_model.py", texture_folder / "003.png", tmp_path / "a" / "b", 96
    )
    assert first.endswith("own-int8: tflite, onnx, openvino")
    found = guesses(lines)
    assert set(found) == {"cat", "dog", "hedgehog"}
    assert sum(found.values()) == pytest.approx(100, abs=0.5)
    assert Bundle.open(tmp_path / "a" / "b" / "own-int8").manifest.precision == "int8"


@pytest.mark.slow
def test_a_fine_tuned_lite_knows_the_cat(tmp_path: Path) -> None:
    cat = next(path for path in photographs._paths() if path.name == "chelsea.png")
    found = guesses(run("fine_tune_lite.py", cat, tmp_path / "lite", 96))
    assert len(found) == 5
    assert found["cat"] > 50
    assert Bundle.open(tmp_path / "lite" / "lite-int8").manifest.precision == "int8"
