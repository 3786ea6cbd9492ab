"""`edgenet bench` reports every configuration asked for, with the contract's keys."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edgenet.cli.main import main
from edgenet.runtime.probing import examine
from tests.devices import GPUS, require

RESULT_KEYS = [
    *("bundle", "format", "precision", "engine", "device", "device_used", "delegated_fraction"),
    *("kind", "device_name", "emulated", "time_elsewhere"),
    *("threads", "batch", "load_ms", "first_ms", "rss_mb", "p50_ms", "p90_ms", "p95_ms", "p99_ms"),
    *("mean_ms", "throughput_per_s", "runs", "warmup_runs"),
]
QUICK = ["--runs", "3", "--min-time", "0"]


def bench(capsys, *arguments) -> tuple[int, str, str]:
    code = main(["bench", *map(str, arguments)])
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out, captured.err


def test_json_has_the_contracts_keys(capsys, tiny_bundle):
    code, out, _ = bench(capsys, tiny_bundle, *QUICK, "--json", "--threads", 1)
    document = json.loads(out)
    assert code == 0
    assert list(document) == ["machine", "results"]
    assert {"cpu", "cores", "os", "python", "numpy", "engines", "isa"} == set(document["machine"])
    assert [r["format"] for r in document["results"]] == ["tflite", "onnx", "openvino"]
    for result in document["results"]:
        assert set(result) == set(RESULT_KEYS)
        assert result["runs"] == 3
        assert result["threads"] == 1
        assert result["device_used"] == "cpu"
        assert 0 < result["p50_ms"] <= result["p90_ms"] <= result["p95_ms"] <= result["p99_ms"]
        assert result["warmup_runs"] >= 10
        assert min(result[key] for key in ("load_ms", "first_ms", "rss_mb")) > 0


def test_several_bundles_and_formats_are_rows_of_one_table(capsys, tiny_bundle, tiny_float_bundle):
    bundles = [tiny_bundle, tiny_float_bundle, tiny_bundle]
    code, out, _ = bench(capsys, *bundles, *QUICK, "--format", "onnx,tflite")
    rows = [line.split() for line in out.splitlines()[3:]]
    assert code == 0
    assert [(row[0], row[1], row[2]) for row in rows] == [
        (str(tiny_bundle), "onnx", "int8"),
        (str(tiny_bundle), "tflite", "int8"),
        (str(tiny_float_bundle), "onnx", "fp32"),
        (str(tiny_float_bundle), "tflite", "fp32"),
    ]


def test_a_photo_can_be_the_input(capsys, tiny_bundle, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (50, 30), "teal").save(photo)
    code, out, _ = bench(capsys, tiny_bundle, *QUICK, "--format", "tflite", "--image", photo)
    assert code == 0
    assert "litert" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{tmp}/none"], 2, "no such bundle"),
        (["{tmp}"], 1, "is not a bundle"),
        (["{bundle}", "--runs", "0"], 2, "--runs 0"),
        (["{bundle}", "--min-time", "-1"], 2, "--min-time -1"),
        (["{bundle}", "--min-time", "inf"], 2, "--min-time inf"),
        (["{bundle}", "--image", "{tmp}/none.jpg"], 2, "none.jpg"),
        (["{bundle}", "--device", "npu", "--format", "openvino"], 4, "npu"),
        (["{bundle}", "--delegate-option", "a=b"], 2, "--delegate"),
        (["{bundle}", "--format", "tflite,caffe"], 2, "caffe"),
    ],
)
def test_mistakes_are_told_in_one_line(capsys, tiny_bundle, tmp_path, arguments, code, message):
    filled = [text.format(tmp=tmp_path, bundle=tiny_bundle) for text in arguments]
    found, out, err = bench(capsys, *filled)
    assert (found, out) == (code, "")
    (line,) = [line for line in err.splitlines() if line.startswith("edgenet: error: ")]
    assert message in line


def test_emulated_times_are_never_among_the_measured(capsys, tiny_float_bundle):
    require(GPUS[0])
    kind = examine(GPUS[0]).kind
    options = [*QUICK, "--format", "tflite", "--device", "gpu"]
    code, out, _ = bench(capsys, tiny_float_bundle, *options, "--json")
    (result,) = json.loads(out)["results"]
    assert (code, result["device_used"], result["kind"]) == (0, "gpu", kind)
    assert (result["p50_ms"] is None) == (kind != "hardware")
    assert (result["emulated"] is None) == (kind == "hardware")
    _, table, _ = bench(capsys, tiny_float_bundle, *options)
    assert table.startswith("by a software driver") == (kind != "hardware")
