"""A child process finds this edgenet, and however it ends is told in words."""

from __future__ import annotations

import pytest

from edgenet.runtime.children import ChildError, run_python


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
