"""A fresh process measures itself, and its failures are told."""

from __future__ import annotations

import sys

import pytest

from edgenet.errors import EdgenetError
from edgenet.measure import footprint


@pytest.fixture
def tflite_runtime(tmp_path, monkeypatch):
    """Makes LiteRT, after some lines of code, the tflite-runtime of child processes."""

    def make(code):
        (tmp_path / "tflite_runtime").mkdir()
        (tmp_path / "tflite_runtime" / "__init__.py").touch()
        path = tmp_path / "tflite_runtime" / "interpreter.py"
        path.write_text(f"{code}\nfrom ai_edge_litert.interpreter import *\n")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        return "tflite-runtime"

    return make


def test_a_fresh_process_tells_its_costs(tiny_bundle):
    found = footprint.measure(tiny_bundle, "tflite", threads=1)
    assert found.load_ms > 0
    assert found.first_ms > 0
    # An interpreter with numpy takes more than 10 MB; a tiny network far less than 2 GB.
    assert 10 < found.rss_mb < 2000


def test_the_peak_does_not_carry_over_from_the_parent(tiny_bundle):
    ballast = bytearray(b"x") * 600_000_000
    assert footprint.measure(tiny_bundle, "tflite", threads=1).rss_mb < len(ballast) / 1e6


def test_the_peak_keeps_what_was_freed():
    before = footprint.peak_rss_mb()
    ballast = bytearray(b"x") * 300_000_000
    del ballast
    assert footprint.peak_rss_mb() >= max(before, 300)


def test_where_no_system_tells_the_memory_there_is_none(monkeypatch):
    """As on Windows, which has neither /proc nor getrusage."""
    monkeypatch.setattr(footprint, "_status_mb", lambda field: None)
    assert footprint.peak_rss_mb() > 10
    monkeypatch.setitem(sys.modules, "resource", None)
    assert footprint.peak_rss_mb() is None


def test_a_failing_child_gives_its_reason(tmp_path):
    with pytest.raises(EdgenetError, match=r"failed in a fresh process: no such bundle"):
        footprint.measure(tmp_path / "none", "tflite")


def test_a_child_that_ends_without_a_word_is_told(tiny_bundle, tflite_runtime):
    engine = tflite_runtime("import os; os._exit(0)")
    with pytest.raises(EdgenetError, match=r"failed in a fresh process: it said nothing$"):
        footprint.measure(tiny_bundle, "tflite", engine=engine)


def test_what_an_engine_prints_is_no_figure(tiny_bundle, tflite_runtime):
    code = "import atexit; print('welcome', end=''); atexit.register(print, 'goodbye')"
    found = footprint.measure(tiny_bundle, "tflite", threads=1, engine=tflite_runtime(code))
    assert found.first_ms > 0
