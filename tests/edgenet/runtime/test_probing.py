"""A driver that crashes, hangs or ends the process is a reason, and exit 4 for a session."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgenet.cli.main import main
from edgenet.errors import DeviceError
from edgenet.runtime import load, probing
from edgenet.runtime.children import run_python
from edgenet.runtime.delegates import DELEGATES, Delegate
from edgenet.runtime.engines import ENGINES
from tests.drivers import CRASH, EXIT, HANG, LEAVE, vulkan_driver

WEBGPU = next(d for d in DELEGATES if d.name == "WebGPU")
INTEL = next(d for d in DELEGATES if d.name == "IntelOpenVINO")
CPU = DELEGATES[0]

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the drivers that go wrong are of x86-64 code"
)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """What one driver did is not what the next one does."""
    probing._examine.cache_clear()
    yield
    probing._examine.cache_clear()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (CRASH, "tried in a process of its own: it crashed (SIGILL)"),
        (EXIT, "tried in a process of its own: "),
        (LEAVE, "tried in a process of its own: it said nothing"),
        (HANG, "tried in a process of its own: it did not end in 5 s"),
    ],
    ids=["crash", "exit", "leave", "hang"],
)
def test_a_driver_that_goes_wrong_is_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: bytes, told: str
) -> None:
    monkeypatch.setattr(probing, "TIMEOUT_S", 5.0)
    monkeypatch.setenv("VK_DRIVER_FILES", str(vulkan_driver(tmp_path, code)))
    found = probing.examine(WEBGPU)
    assert not found.usable
    assert found.reason is not None
    assert found.reason.startswith(told)
    assert found.fix


def test_devices_survives_a_driver_that_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", str(vulkan_driver(tmp_path, CRASH)))
    assert main(["devices", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["devices"]
    crashed = {row["delegate"] for row in rows if "SIGILL" in (row["reason"] or "")}
    assert crashed == {"WebGPU", "WebGpuExecutionProvider"}
    engines = {engine.name for engine in ENGINES if engine.installed}
    cpus = [row for row in rows if row["device"] == "cpu" and row["engine"] in engines]
    assert len(cpus) == len(engines)
    assert all(row["usable"] for row in cpus)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_session_survives_a_driver_that_crashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_float_bundle: Path, format: str
) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", str(vulkan_driver(tmp_path, CRASH)))
    with pytest.raises(DeviceError, match=r"it crashed \(SIGILL\)"):
        load(tiny_float_bundle, format, "gpu")
    with load(tiny_float_bundle, format, "auto") as session:
        assert session.info.device_used == "cpu"


def test_a_missing_driver_names_what_brings_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere/driver.json")
    found = probing.examine(WEBGPU)
    assert found.reason == "no Vulkan driver offers an adapter"
    assert found.fix is not None
    assert "apt install chromium-common" in found.fix


def test_a_package_that_is_missing_needs_no_process() -> None:
    absent = Delegate(
        "onnxruntime", "gpu", "Nothing", "none:None", module="no_such_ep", install="pip install it"
    )
    assert probing.examine(absent) == probing.Finding(
        False, "hardware", "Nothing", "not installed", "pip install it"
    )


@pytest.mark.parametrize(
    ("delegate", "fix"),
    [
        (INTEL, "pip install 'edgenet[npu-intel]'"),
        (CPU, "pip install 'edgenet[tflite-runtime]' (it needs Python 3.10 or 3.11)"),
    ],
)
def test_without_its_engine_a_delegate_names_what_brings_both(delegate: Delegate, fix: str) -> None:
    absent = replace(delegate, engine="tflite-runtime")
    found = probing.examine(absent)
    assert (found.reason, found.fix) == ("not installed", fix)


def test_a_probe_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = probing.examine(CPU)
    monkeypatch.setattr(subprocess, "run", None)
    assert probing.examine(CPU) is first


def test_the_child_answers_on_its_last_line() -> None:
    printed = run_python(["-c", probing._CHILD, "openvino", "npu", "NPU"], 60)
    answer = json.loads(printed.splitlines()[-1])
    assert set(answer) in ({"kind", "name"}, {"reason", "fix"})
