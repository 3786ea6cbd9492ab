"""The benchmarks that take a bundle alone run, and print what the README has of them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent


def results(module: str, *arguments: object) -> list[dict[str, Any]]:
    """What `python -m benchmarks.MODULE ... --json` found."""
    command = [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return found


def test_the_readme_names_those_without_json() -> None:
    text = (ROOT / "benchmarks" / "README.md").read_text()
    listed = re.findall(r"^\| `python -m benchmarks\.(\w+)", text, re.MULTILINE)
    sources = {name: (ROOT / "benchmarks" / f"{name}.py").read_text() for name in listed}
    without = [name for name, source in sources.items() if '"--json"' not in source]
    assert f"All but `{'`, `'.join(without)}` take `--json`." in text


def test_overhead_times_each_engine(tiny_bundle: Path) -> None:
    found = results("overhead", tiny_bundle, "--threads", 1, "--repeats", 1)
    assert [result["format"] for result in found] == ["tflite", "onnx", "openvino"]
    for result in found:
        assert result["session_ms"] > 0
        assert result["bare_ms"] > 0
        assert result["added_interval_us"] is None


def test_cold_start_times_the_import_and_the_first_answer(tiny_bundle: Path) -> None:
    found = results("cold_start", tiny_bundle, "--rounds", 1)
    assert [result["name"] for result in found] == ["import edgenet", "first answer, edgenet run"]
    assert all(result["ours_ms"] > 0 for result in found)
