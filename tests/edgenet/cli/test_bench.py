"""`edgenet bench` reports every configuration asked for, with the contract's keys."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from edgenet.cli.main import main
from edgenet.report.bench import text
from edgenet.runtime.onnx import OnnxSession
from edgenet.runtime.probing import examine
from tests.devices import GPUS, require

CONTRACT = [
    *("format", "precision", "engine", "device", "device_used", "delegated_fraction", "threads"),
    *("batch", "load_ms", "first_ms", "p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms"),
    *("throughput_per_s", "rss_mb", "runs"),
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
    assert {"cpu", "cores", "os", "python", "numpy", "engines", "isa"} == set(document["machine"])
    assert [r["format"] for r in document["results"]] == ["tflite", "onnx", "openvino"]
    for result in document["results"]:
        assert set(CONTRACT) <= set(result)
        assert (result["runs"], result["threads"], result["device_used"]) == (3, 1, "cpu")
        assert 0 < result["min_ms"] <= result["p50_ms"]
        assert result["p90_ms"] is result["p95_ms"] is result["p99_ms"] is None
        assert result["warmup"]["runs"] >= 10
        assert result["load_ms"] >= result["import_ms"] + result["compile_ms"] - 50
        assert min(result[key] for key in ("load_ms", "first_ms", "rss_mb", "bytes")) > 0
        assert sum(result["histogram"]["counts"]) == 3


def test_a_percentile_asked_for_gets_its_runs(capsys, tiny_bundle):
    asked = ["--format", "tflite", "--min-time", "0", "--percentile", "99", "--json"]
    (result,) = json.loads(bench(capsys, tiny_bundle, *asked)[1])["results"]
    assert result["runs"] >= 368
    assert result["p50_ms"] <= result["p90_ms"] <= result["p95_ms"] <= result["p99_ms"]
    for key in ("p50_ms", "p90_ms", "p95_ms", "p99_ms", "mean_ms"):
        low, high = result["intervals"][key]
        assert low <= high


def test_threads_are_swept(capsys, tiny_bundle):
    asked = [tiny_bundle, *QUICK, "--format", "tflite, onnx", "--threads", "1, 2", "--json"]
    results = json.loads(bench(capsys, *asked)[1])["results"]
    assert [(r["threads"], r["format"]) for r in results] == [
        *((1, "tflite"), (1, "onnx")),
        *((2, "tflite"), (2, "onnx")),
    ]


def test_more_threads_than_cores_spoil_the_figure(capsys, tiny_bundle):
    _, out, _ = bench(capsys, tiny_bundle, *QUICK, "--format", "tflite", "--threads", 64)
    assert "! " in out
    assert "64 threads share" in out


def test_a_fresh_process_that_is_killed_costs_its_own_figures_alone(
    capsys, monkeypatch, tiny_bundle, tmp_path
):
    (tmp_path / "ai_edge_litert").mkdir()
    kill = "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    (tmp_path / "ai_edge_litert" / "__init__.py").write_text(kill)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    page, text = tmp_path / "bench.html", tmp_path / "bench.md"
    asked = [tiny_bundle, *QUICK, "--format", "tflite,onnx", "--html", page, "--markdown", text]
    code, out, _ = bench(capsys, *asked, "--json")
    killed, sound = json.loads(out)["results"]
    assert code == 0
    for key in ("load_ms", "import_ms", "compile_ms", "first_ms", "rss_mb", "steady_mb"):
        assert killed[key] is None
        assert sound[key] > 0
    assert killed["p50_ms"] > 0
    (line,) = [line for line in killed["warnings"] if line.startswith("no load times or memory: ")]
    assert line.endswith("failed in a fresh process: it crashed (SIGKILL)")
    assert "no load times or memory" in page.read_text()
    assert "| – | – | – | – |" in text.read_text()


@pytest.mark.usefixtures("without_xnnpack")
def test_operators_outside_the_fast_kernels_are_told(capsys, tiny_bundle):
    _, out, _ = bench(capsys, tiny_bundle, *QUICK, "--format", "tflite,onnx")
    (line,) = [line for line in out.splitlines() if "outside" in line]
    assert line.startswith(f"! {tiny_bundle} tflite, threads ")
    assert line.endswith(": 100% of the operators run outside XNNPACK (the engine's fast kernels)")


def test_other_bundles_are_compared_with_the_first(capsys, tiny_float_bundle, tiny_bundle):
    bundles = [tiny_float_bundle, tiny_bundle]
    asked = [*bundles, "--runs", 20, "--min-time", 0, "--format", "tflite", "--json"]
    document = json.loads(bench(capsys, *asked)[1])
    (pair,) = document["comparisons"]
    assert (pair["base"], pair["other"]) == (str(tiny_float_bundle), str(tiny_bundle))
    low, high = pair["interval"]
    assert low <= pair["ratio"] <= high
    assert pair["differs"] is (low > 1 or high < 1)
    assert f"tflite, threads {pair['threads']}: {tiny_bundle} takes " in text(document)


@pytest.fixture
def onnx_keeps_its_batch(monkeypatch):
    """As a delegate that compiles a file for its own shapes."""
    monkeypatch.setattr(OnnxSession, "resizes", False)


@pytest.mark.usefixtures("onnx_keeps_its_batch")
def test_batches_are_swept_where_the_engine_can(capsys, tiny_bundle):
    code, out, err = bench(capsys, tiny_bundle, *QUICK, "--batch", "1,3", "--json")
    document = json.loads(out)
    assert code == 0
    assert [(r["batch"], r["format"]) for r in document["results"]] == [
        *((1, "tflite"), (1, "onnx"), (1, "openvino")),
        *((3, "tflite"), (3, "openvino")),
    ]
    (left_out,) = [line for line in err.splitlines() if "left out" in line]
    assert "onnx is left out" in left_out
    assert "edgenet convert --batch 3" in left_out
    swept = document["batches"]
    assert [(row["format"], row["batch"]) for row in swept] == [
        *(("tflite", 1), ("tflite", 3)),
        *(("openvino", 1), ("openvino", 3)),
    ]
    for row in swept:
        assert row["ms_per_image"] == pytest.approx(row["ms_per_batch"] / row["batch"])
    assert [row["speedup"] for row in swept if row["batch"] == 1] == [1.0, 1.0]


@pytest.mark.usefixtures("onnx_keeps_its_batch")
def test_a_batch_that_no_file_can_run_is_refused(capsys, tiny_bundle):
    code, out, err = bench(capsys, tiny_bundle, *QUICK, "--format", "onnx", "--batch", "8")
    assert (code, out) == (2, "")
    assert "edgenet convert --batch 8" in err.splitlines()[-1]
    assert bench(capsys, tiny_bundle, *QUICK, "--format", "onnx", "--batch", "1,8")[0] == 0


def test_a_batch_that_is_not_the_files_own_has_no_profile(capsys, tiny_bundle):
    asked = [tiny_bundle, *QUICK, "--format", "openvino", "--batch", "2", "--profile", "--json"]
    (result,) = json.loads(bench(capsys, *asked)[1])["results"]
    assert result["profile"] is None
    assert any("edgenet convert --batch 2" in warning for warning in result["warnings"])


def test_several_bundles_and_formats_are_rows_of_one_table(capsys, tiny_bundle, tiny_float_bundle):
    bundles = [tiny_bundle, tiny_float_bundle, tiny_bundle]
    code, out, _ = bench(capsys, *bundles, *QUICK, "--format", "onnx,tflite")
    rows = [line.split() for line in out.split("\n\n")[0].splitlines()[3:]]
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


def test_a_photo_is_timed_from_its_bytes_to_its_label(capsys, tiny_bundle, tmp_path):
    photo = tmp_path / "photo.png"
    Image.new("RGB", (50, 30), "teal").save(photo)
    asked = [tiny_bundle, *QUICK, "--format", "tflite", "--image", photo, "--end-to-end"]
    document = json.loads(bench(capsys, *asked, "--json")[1])
    (result,) = document["results"]
    found = result["end_to_end"]
    parts = [found[f"{part}_ms"] for part in ("decode", "resize", "run", "rank")]
    assert min(parts) > 0
    assert found["all_ms"] >= max(parts)
    assert found["top"].startswith("stripes ")
    assert found["bytes"] == photo.stat().st_size
    assert "decode ms" in text(document)


def test_a_photo_fills_one_place_of_the_smallest_batch(capsys, monkeypatch, tiny_bundle, tmp_path):
    rests = list[None]()
    monkeypatch.setattr("edgenet.measure.end_to_end.latency.rest", lambda: rests.append(None))
    photo = tmp_path / "photo.png"
    Image.new("RGB", (50, 30), "teal").save(photo)
    asked = [*QUICK, "--format", "tflite,onnx", "--batch", "1,2", "--image", photo, "--end-to-end"]
    document = json.loads(bench(capsys, tiny_bundle, *asked, "--json")[1])
    timed = [r["batch"] for r in document["results"] if r.get("end_to_end")]
    assert timed == [1, 1]
    assert len(document["results"]) == 4
    assert rests


def test_streams_are_measured_once_a_file(capsys, monkeypatch, tiny_bundle):
    monkeypatch.setattr("edgenet.measure.throughput._SECONDS", 0.01)
    asked = [tiny_bundle, *QUICK, "--threads", "1,2", "--streams", 2]
    streams = json.loads(bench(capsys, *asked, "--json")[1])["streams"]
    assert [(found["format"], found["count"], found["method"]) for found in streams] == [
        ("tflite", 2, "threads"),
        ("onnx", 2, "threads"),
        ("openvino", 2, "AsyncInferQueue"),
    ]
    for found in streams:
        low, high = found["interval"]
        assert 0 < low <= found["images_per_s"] <= high


def test_reports_are_written_beside_the_table(capsys, tiny_bundle, tmp_path):
    page, text = tmp_path / "bench.html", tmp_path / "bench.md"
    asked = [tiny_bundle, *QUICK, "--format", "tflite,onnx", "--html", page, "--markdown", text]
    assert bench(capsys, *asked)[0] == 0
    assert page.read_text().count('role="img"') == 3
    assert "## edgenet bench" in text.read_text()


@pytest.mark.parametrize("option", ["--html", "--markdown"])
def test_a_path_that_cannot_be_written_is_told_before_the_work(
    capsys, monkeypatch, tiny_bundle, tmp_path, option
):
    def unexpected(*_: object) -> None:
        raise AssertionError("measured")

    monkeypatch.setattr("edgenet.measure.bench.measure", unexpected)
    code, out, err = bench(capsys, tiny_bundle, option, tmp_path / "none" / "report")
    assert (code, out) == (2, "")
    assert f"cannot be written (No such file or directory): give another path after {option}" in err


def test_the_result_is_printed_even_if_a_report_fails(capsys, monkeypatch, tiny_bundle, tmp_path):
    # As where the disk fills up meanwhile.
    monkeypatch.setattr("edgenet.report.files.require_writable", lambda *_: None)
    asked = [tiny_bundle, *QUICK, "--format", "tflite", "--html", tmp_path, "--json"]
    code, out, err = bench(capsys, *asked)
    assert code == 2
    assert len(json.loads(out)["results"]) == 1
    assert "--html" in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["{tmp}/none"], 2, "no such bundle"),
        (["{tmp}"], 1, "is not a bundle"),
        (["{bundle}", "--runs", "0"], 2, "--runs 0"),
        (["{bundle}", "--streams", "0"], 2, "--streams 0: ask for 1 to "),
        (["{bundle}", "--streams", "3000000000"], 2, "--streams 3000000000: ask for 1 to "),
        (["{bundle}", "--streams", "2", "--device", "gpu"], 2, "leave --device gpu off"),
        (["{bundle}", "--streams", "2", "--device", "npu"], 2, "leave --device npu off"),
        (["{bundle}", "--percentile", "97"], 2, "bench reports p50, p90, p95 and p99"),
        (["{bundle}", "--percentile", "0"], 2, "--percentile 0"),
        (["{bundle}", "--threads", "10000"], 2, "ask for 1 to "),
        (["{bundle}", "--end-to-end"], 2, "--image FILE"),
        (["{bundle}", "--runs", "1", "--min-time", "0", "--html", "{tmp}"], 2, "--html"),
        (["{bundle}", "--percentile", "100"], 2, "--percentile 100"),
        (["{bundle}", "--percentile", "99", "--runs", "50"], 2, "--runs 368"),
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


@pytest.mark.parametrize("threads", ["two", "1,", "0", "1,-2"])
def test_threads_are_whole_numbers(capsys, tiny_bundle, threads):
    assert main(["bench", str(tiny_bundle), f"--threads={threads}"]) == 2
    assert "whole numbers from 1, separated by commas" in capsys.readouterr().err


@pytest.fixture
def without_warm_up(monkeypatch):
    """A software driver takes seconds to become steady."""
    monkeypatch.setattr("edgenet.measure.latency._WARMUP_SECONDS", 0.0)


@pytest.mark.usefixtures("without_warm_up")
def test_what_a_device_leaves_to_the_cpu_is_told(capsys, tiny_bundle):
    require(GPUS[1])
    asked = [tiny_bundle, *QUICK, "--format", "onnx", "--device", "gpu", "--allow-fallback"]
    (result,) = json.loads(bench(capsys, *asked, "--json")[1])["results"]
    left = f"{100 * (1 - result['delegated_fraction']):.0f} % of the operators"
    assert any(line.startswith(left) and line.endswith("cpu") for line in result["warnings"])


@pytest.mark.usefixtures("without_warm_up")
def test_emulated_times_are_never_among_the_measured(capsys, tiny_float_bundle):
    require(GPUS[0])
    kind = examine(GPUS[0]).kind
    options = [*QUICK, "--format", "tflite", "--device", "gpu", "--json"]
    code, out, _ = bench(capsys, tiny_float_bundle, *options)
    document = json.loads(out)
    (result,) = document["results"]
    assert (code, result["device_used"], result["kind"]) == (0, "gpu", kind)
    assert (result["p50_ms"] is None) == (kind != "hardware")
    assert (result["emulated"] is None) == (kind == "hardware")
    assert text(document).startswith("by a software driver") == (kind != "hardware")
