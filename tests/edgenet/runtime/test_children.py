"""A child process finds this edgenet, and however it ends is told in words."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgenet.runtime.children import ChildError, run_python, told_json


def test_what_it_prints_comes_back() -> None:
    script = "import edgenet, sys; print(edgenet.__name__, *sys.argv[1:])"
    assert run_python(["-c", script, "a", "b"], 60) == "edgenet a b\n"


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("raise ValueError('no such thing')", "ValueError: no such thing"),
        ("import os; os.abort()", "it crashed (SIGABRT)"),
        ("import os; os.kill(os.getpid(), 40)", "it crashed (signal 40)"),
        ("print('on stdout'); raise SystemExit(3)", "on stdout"),
        ("raise SystemExit(3)", "exit status 3"),
        ("import time; time.sleep(60)", "it did not end in 1 s"),
    ],
)
def test_how_it_fails_is_told(script: str, told: str) -> None:
    with pytest.raises(ChildError) as caught:
        run_python(["-c", script], 1.0)
    assert str(caught.value) == told


def test_a_module_gets_its_arguments_as_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "told.py").write_text("import sys; print(__name__, sys.argv[1:])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert run_python(["-m", "told", "a", "-b"], 60) == "__main__ ['a', '-b']\n"


@pytest.mark.parametrize(
    "arguments", [("-c", "import json, edgenet"), ("-m", "edgenet.measure.footprint", "--help")]
)
def test_files_in_the_current_directory_are_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    for name in ("json", "runpy", "openvino", "edgenet"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the wrong one')")
    monkeypatch.chdir(tmp_path)
    run_python(arguments, 60)


@pytest.mark.parametrize("around", ["{}", "greeting\n{}\n", "{}\ngoodbye\n[1]\n7\n", '{{"b"\n{}\n'])
def test_what_it_tells_is_found_among_what_drivers_print(around: str) -> None:
    assert told_json(around.format('{"a": 1}')) == {"a": 1}


@pytest.mark.parametrize("printed", ["", "\n", "greeting\n", "[1]\n", '{"a": \n'])
def test_a_child_that_tells_nothing_is_an_error(printed: str) -> None:
    with pytest.raises(ChildError, match=r"^it said nothing$"):
        told_json(printed)
