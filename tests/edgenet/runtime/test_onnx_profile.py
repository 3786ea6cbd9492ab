from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenet.runtime.onnx_profile import time_on_cpu


def event(name: str, start: int, spent: int, provider: str = "", kind: str = "Node") -> Any:
    arguments = {"provider": provider} if provider else {}
    return {"cat": kind, "name": name, "ts": start, "dur": spent, "args": arguments}


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    """Two runs, as ONNX Runtime 1.31 writes them: a run comes before its operators."""
    events = [
        event("session_initialization", 0, 900, kind="Session"),
        event("model_run", 1000, 5000, kind="Session"),
        event("conv_kernel_time", 1100, 4000, "CPUExecutionProvider"),
        event("model_run", 10000, 200, kind="Session"),
        event("quantize_fence_before", 10010, 7, "CPUExecutionProvider"),
        event("quantize_kernel_time", 10010, 40, "CPUExecutionProvider"),
        event("conv_kernel_time", 10060, 90, "WebGpuExecutionProvider"),
        event("dequantize_kernel_time", 10160, 10, "CPUExecutionProvider"),
    ]
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(events))
    return path


def test_the_last_runs_operators_on_the_cpu_count(profile: Path) -> None:
    assert time_on_cpu(profile) == 50 / 200


def test_without_a_run_nothing_is_told(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text("[]")
    assert time_on_cpu(path) is None
