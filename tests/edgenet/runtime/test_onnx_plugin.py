"""A plugin's library is registered once, whoever asks for it first."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from edgenet.runtime.children import run_python

PLUGIN = "onnxruntime_ep_webgpu"
# Two threads that register the plugin at once, its path given so late that both are at it.
SCRIPT = """
from concurrent.futures import ThreadPoolExecutor
import onnxruntime
from edgenet.runtime.onnx_plugin import register

def count(_):
    return len(register(onnxruntime, "WebGpuExecutionProvider", "slow_plugin"))

with ThreadPoolExecutor(2) as pool:
    first, second = pool.map(count, range(2))
print(first == second)
"""


@pytest.mark.skipif(find_spec(PLUGIN) is None, reason="the plugin needs Python 3.11")
def test_two_first_sessions_register_it_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_plugin.py").write_text(
        f"import time, {PLUGIN}\n"
        f"def get_library_path(): time.sleep(0.3); return {PLUGIN}.get_library_path()\n"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_python(["-c", SCRIPT], 60).split() == ["True"]
