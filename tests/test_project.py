"""What the project promises about itself: sizes, one version, the two commands, the lock, CI."""

from __future__ import annotations

import ast
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgenet

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("edgenet", "converters")
FOLDERS = (*PACKAGES, "tests", "benchmarks", "examples")
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def length(path: Path) -> int:
    return len(path.read_text().splitlines())


def function_lengths(path: Path) -> Iterator[int]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.end_lineno:
            yield node.end_lineno - node.lineno + 1


def test_no_file_is_over_500_lines() -> None:
    assert {str(path): length(path) for path in sources(*FOLDERS) if length(path) > 500} == {}


def test_the_median_file_has_at_most_200_lines() -> None:
    assert statistics.median(map(length, sources(*PACKAGES))) <= 200


def test_the_median_function_has_at_most_15_lines() -> None:
    lengths = [size for path in sources(*PACKAGES) for size in function_lengths(path)]
    assert statistics.median(lengths) <= 15


def test_pyproject_and_package_name_one_version() -> None:
    assert re.findall(r'^version = "(.+)"$', PYPROJECT, re.MULTILINE) == [edgenet.__version__]


def test_the_readme_opens_with_the_two_commands() -> None:
    first_block = re.search(r"^```\w*\n(.*?)^```$", (ROOT / "README.md").read_text(), re.M | re.S)
    assert first_block is not None
    assert first_block[1].splitlines() == ["make demo", "make test"]


PYTHON = """#!/bin/sh
exec {python} -c 'import sys
sys.version_info = {version}
if "ensurepip" in sys.argv[2]: sys.exit(1)
exec(sys.argv[2])' "$@"
"""


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ((3, 9, 18), "converting needs Python 3.10 to 3.13: make demo PYTHON=python3.12"),
        ((3, 10, 0), "this Python has no venv module: apt install python3-venv"),
        ((3, 13, 5), "this Python has no venv module: apt install python3-venv"),
        ((3, 14, 0), "converting needs Python 3.10 to 3.13: make demo PYTHON=python3.12"),
    ],
)
def test_make_refuses_a_python_that_cannot_convert(
    tmp_path: Path, version: tuple[int, ...], told: str
) -> None:
    python = tmp_path / "python"
    python.write_text(PYTHON.format(python=sys.executable, version=version))
    python.chmod(0o755)
    command = ["make", "--directory", ROOT, "demo", f"PYTHON={python}", f"VENV={tmp_path}/venv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert told in done.stderr.splitlines()


def test_the_lock_pins_all_that_pyproject_asks_for() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9-]+)==", lock, re.MULTILINE))
    table = PYPROJECT.split("[project.scripts]")[0].split("dependencies = ", 1)[1]
    asked = {name.lower() for name in re.findall(r'"([A-Za-z0-9-]+)(?=[><=~])', table)}
    assert asked - {"tflite-runtime"} <= locked
    assert "://" not in lock


UNRUN = {
    "skipped": "@pytest.mark.skip\ndef test_a(): ...",
    "skipped_by_its_module": "pytest.skip(allow_module_level=True)",
    "expected_to_fail": "@pytest.mark.xfail\ndef test_a(): raise ValueError",
}


@pytest.mark.parametrize(("ci", "workers"), [("true", "0"), ("true", "1"), ("", "0")])
def test_ci_fails_on_a_test_that_did_not_run(tmp_path: Path, ci: str, workers: str) -> None:
    (tmp_path / "test_passes.py").write_text("def test_ok(): ...")
    for name, body in UNRUN.items():
        (tmp_path / f"test_{name}.py").write_text(f"import pytest\n{body}\n")
    options = ["-c", os.devnull, "--rootdir", tmp_path, "--numprocesses", workers]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "conftest", *options],
        cwd=tmp_path,
        env=os.environ | {"CI": ci, "PYTHONPATH": str(ROOT / "tests"), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == bool(ci), run.stdout + run.stderr
    # Each of them would have been enough.
    _, _, told = run.stdout.partition("CI runs every test")
    assert set(re.findall(r"^test_(\w+)\.py", told, re.MULTILINE)) == (set(UNRUN) if ci else set())
