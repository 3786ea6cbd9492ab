"""`edgenet check` beside the CPU, on what this machine has of other devices."""

from __future__ import annotations

from edgenet.cli.main import main
from edgenet.runtime.delegates import delegates
from edgenet.runtime.probing import examine
from tests.devices import GPUS, require
from tests.edgenet.cli.test_check import check_json


def test_a_gpu_is_compared_with_the_cpu_on_the_same_file(capsys, tiny_float_bundle):
    require(GPUS[0])
    arguments = ["--device", "gpu", "--format", "tflite", "--images", 4]
    code, document = check_json(capsys, tiny_float_bundle, *arguments)
    (result,) = document["results"]
    assert (code, result["device_used"], result["passed"]) == (0, "gpu", True)
    assert result["delegated_fraction"] == 1.0
    assert result["beside_cpu"]["agreement"] == 1.0
    assert result["beside_cpu"]["max_error"] < 1e-3
    times = {"hardware": result["p50_ms"], "software": (result["emulated"] or {}).get("p50_ms")}
    assert times.pop(result["kind"]) > 0
    assert list(times.values()) == [None]


def test_emulated_times_have_a_column_of_their_own(capsys, tiny_float_bundle):
    found = examine(GPUS[0])
    require(GPUS[0])
    arguments = ["--device", "gpu", "--format", "tflite", "--images", "2"]
    assert main(["check", str(tiny_float_bundle), *arguments]) == 0
    out = capsys.readouterr().out
    assert "SQNR dB beside cpu" in out
    assert ("p50 ms (emulated)" in out) == (found.kind != "hardware")
    assert found.kind == "hardware" or f"{found.kind}: {found.name}" in out


def test_formats_that_do_not_reach_the_device_are_told(capsys, tiny_float_bundle):
    require(GPUS[0])
    require(GPUS[1])
    assert main(["check", str(tiny_float_bundle), "--device", "gpu", "--images", "1"]) == 0
    captured = capsys.readouterr()
    usable = any(examine(d).usable for d in delegates("openvino", "gpu"))
    assert usable or "edgenet: openvino is left out: openvino cannot use the gpu" in captured.err
