from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import pytest

from edgenet.runtime import stdio
from edgenet.runtime.stdio import captured

OPEN = Path("/proc/self/fd")


def test_what_native_code_prints_is_kept_and_goes_nowhere(
    capfd: pytest.CaptureFixture[str],
) -> None:
    os.write(1, b"before ")
    with captured() as log:
        os.write(1, b"to stdout ")
        os.write(2, b"to stderr")
        assert "to stdout" in log()
    os.write(2, b"after")
    assert log() == "to stdout to stderr"
    assert capfd.readouterr() == ("before ", "after")


def test_a_system_without_pread_keeps_the_same(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr(os, "pread")
    with captured() as log:
        os.write(1, b"first ")
        assert log() == "first "
        os.write(2, b"second")
    assert log() == "first second"
    assert capfd.readouterr() == ("", "")


def test_the_streams_are_back_after_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), captured():
        raise ValueError("wrong")
    os.write(1, b"here")
    assert capfd.readouterr().out == "here"


def test_of_silence_nothing_is_kept() -> None:
    with captured() as log:
        pass
    assert log() == ""


def test_one_capture_may_hold_another(capfd: pytest.CaptureFixture[str]) -> None:
    with captured() as outer:
        with captured() as inner:
            os.write(1, b"inner")
        os.write(1, b"outer")
    assert (inner(), outer()) == ("inner", "outer")
    os.write(1, b"here")
    assert capfd.readouterr().out == "here"


def test_threads_that_capture_at_once_take_turns(capfd: pytest.CaptureFixture[str]) -> None:
    """Unless they do, the first to begin ends first and the second puts the first's file back."""
    begun, ended = Event(), Event()
    logs: list[Callable[[], str]] = []

    def second() -> None:
        with captured() as log:
            begun.set()
            ended.wait(1)
            os.write(1, b"second")
        logs.append(log)

    thread = Thread(target=second)
    with captured() as first:
        thread.start()
        begun.wait(0.5)
        os.write(1, b"first")
    ended.set()
    thread.join()
    os.write(1, b"here")
    assert (first(), logs[0]()) == ("first", "second")
    assert capfd.readouterr().out == "here"


@pytest.mark.skipif(not OPEN.exists(), reason="it counts what Linux lists")
def test_nothing_is_left_open_where_there_is_no_file_to_print_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full() -> None:
        raise OSError("no space left")

    monkeypatch.setattr(stdio, "TemporaryFile", full)
    before = len(list(OPEN.iterdir()))
    for _ in range(3):
        with pytest.raises(OSError, match="no space left"), captured():
            pass
    assert len(list(OPEN.iterdir())) == before
