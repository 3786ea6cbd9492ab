from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

import edgenet
from edgenet.bundle import FORMATS, Bundle
from edgenet.cli.main import main
from edgenet.runtime.probing import examine
from tests.devices import GPUS, require


@pytest.fixture
def photo(tmp_path: Path) -> str:
    coarse = np.random.default_rng(1).integers(0, 256, (5, 7, 3), np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(coarse).resize((70, 50)).save(path)
    return str(path)


DOCUMENT_KEYS = [
    *("bundle", "format", "engine", "device", "device_used", "delegate", "kind", "device_name"),
    *("delegated_fraction", "time_elsewhere", "elsewhere", "results"),
]


@pytest.mark.parametrize("format", FORMATS)
def test_json_is_the_contract(
    tiny_bundle: Path, photo: str, format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["run", str(tiny_bundle), photo, photo, "--format", format, "--top", "2", "--json"]
    assert main(asked) == 0
    document = json.loads(capsys.readouterr().out)
    assert list(document) == DOCUMENT_KEYS
    assert (document["format"], document["device_used"]) == (format, "cpu")
    with edgenet.load(tiny_bundle, format) as session:
        expected = session.classify(photo, top=2)
    for result in document["results"]:
        assert list(result) == ["image", "top", "preprocess_ms", "run_ms", "emulated"]
        assert result["image"] == photo
        assert result["top"] == [vars(prediction) for prediction in expected]
        assert min(result["preprocess_ms"], result["run_ms"]) >= 0


def test_the_table_shows_labels_and_where_it_ran(
    tiny_bundle: Path, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle), photo, "--device", "auto", "--top", "3"]) == 0
    out = capsys.readouterr().out
    labels = Bundle.open(tiny_bundle).labels()
    assert labels is not None
    assert sum(label in out for label in labels) >= 3
    assert "ran on cpu" in out
    assert photo in out


@pytest.mark.usefixtures("without_xnnpack")
def test_operators_outside_the_fast_kernels_are_told(
    tiny_bundle: Path, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle), photo, "--format", "tflite"]) == 0
    where = capsys.readouterr().out.splitlines()[0]
    assert "ran on cpu (none, threads " in where
    assert ", 100% of the operators run outside XNNPACK (the engine's fast kernels))" in where


def test_a_broken_image_does_not_stop_the_rest(
    tiny_bundle: Path, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(Path(photo).read_bytes()[:100])
    assert main(["run", str(tiny_bundle), str(broken), photo, "--json"]) == 1
    shown = capsys.readouterr()
    assert [result["image"] for result in json.loads(shown.out)["results"]] == [photo]
    assert "edgenet: error:" in shown.err
    assert "broken.png is a damaged image" in shown.err


def test_an_answer_is_printed_before_the_next_image_is_read(
    tiny_bundle: Path, photo: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    camera = tmp_path / "camera"
    os.mkfifo(camera)
    printed: list[str] = []

    def feed() -> None:
        with camera.open("wb") as opened:  # It opens once the command reads it.
            printed.append(capsys.readouterr().out)
            opened.write(Path(photo).read_bytes())

    feeder = Thread(target=feed, daemon=True)
    feeder.start()
    assert main(["run", str(tiny_bundle), photo, str(camera)]) == 0
    feeder.join()
    (before,), after = printed, capsys.readouterr().out
    assert before.startswith("tflite int8 in litert, ran on cpu")
    assert f"\n\n{photo}: prepared in" in before
    assert after.startswith(f"\n{camera}: prepared in")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["gone.jpg"], 2, "cannot read the image gone.jpg"),
        (["x.jpg", "--top", "0"], 2, "--top 0"),
        (["x.jpg", "--threads", "0"], 2, "0 threads"),
        (["x.jpg", "--format", "coreml"], 2, "no format 'coreml'"),
        (["x.jpg", "--engine", "onnxruntime", "--format", "tflite"], 2, "runs onnx files"),
        (["x.jpg", "--device", "gpu", "--engine", "openvino"], 4, "cannot use the gpu"),
        (["x.jpg", "--device", "tpu"], 2, "no device 'tpu'"),
        (["x.jpg", "--device", "npu", "--delegate", "no.so", "--delegate-option", "x"], 2, "K=V"),
        (["x.jpg", "--device", "npu", "--delegate", "no.so", "--format", "tflite"], 4, "no.so"),
        (["x.jpg", "--device", "gpu", "--delegate", "OpenCL"], 2, "no delegate 'OpenCL'"),
        (["x.jpg", "--engine", "tflite-runtime"], 5, "' (it needs Python 3.10 or 3.11)"),
    ],
)
def test_mistakes_are_one_line_and_a_code(
    tiny_bundle: Path,
    options: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", str(tiny_bundle), *options]) == code
    [line] = [x for x in capsys.readouterr().err.splitlines() if x.startswith("edgenet:")]
    assert message in line


def test_no_bundle_is_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(tmp_path / "gone"), "x.jpg"]) == 2
    assert "no such bundle" in capsys.readouterr().err


def test_of_a_model_file_its_bundle_is_named(
    tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(tiny_bundle / "model.tflite"), "x.jpg"]) == 2
    err = capsys.readouterr().err
    assert "model.tflite is a file, and a bundle is the folder" in err
    assert err.endswith(f"name {tiny_bundle}/\n")


def test_a_run_on_the_gpu_says_what_it_was(
    tiny_float_bundle: Path, photo: str, capsys: pytest.CaptureFixture[str]
) -> None:
    require(GPUS[0])
    found = examine(GPUS[0])
    assert (
        main(["run", str(tiny_float_bundle), photo, "--device", "gpu", "--engine", "litert"]) == 0
    )
    out = capsys.readouterr().out
    assert "ran on gpu (WebGPU" in out
    assert found.kind == "hardware" or f"{found.kind}: {found.name}" in out
