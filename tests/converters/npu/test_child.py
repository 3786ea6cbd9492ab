"""A compiler's process: its end, however it comes, is one line of reason."""

from __future__ import annotations

import pytest

from converters.npu import child
from edgenet.errors import EdgenetError


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module and returns its name."""

    def write(text: str) -> str:
        (tmp_path / "compiler_of_a_test.py").write_text(text)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "compiler_of_a_test"

    return write


def test_what_it_prints_comes_back(module):
    name = module("import sys; print('compiled', *sys.argv[1:])")
    assert child.run_compiler("C", name, ["a", "b"]) == "compiled a b\n"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ValueError('no such operator')", "ValueError: no such operator"),
        ("import os; os.abort()", "it crashed (SIGABRT)"),
        ("import sys; print('one'); print('two'); sys.exit(3)", "two"),
        ("import sys; sys.exit(3)", "exit status 3"),
    ],
)
def test_how_it_fails_is_told_in_one_line(module, text, reason):
    with pytest.raises(EdgenetError, match="convert without --target") as caught:
        child.run_compiler("C", module(text), [])
    assert f"({reason})" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_that_hangs_is_ended(module, monkeypatch):
    monkeypatch.setattr(child, "_TIMEOUT_S", 0.5)
    with pytest.raises(EdgenetError, match=r"\(it did not end in 0\.5 s\)"):
        child.run_compiler("C", module("import time; time.sleep(60)"), [])
