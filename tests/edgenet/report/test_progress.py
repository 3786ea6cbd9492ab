"""Progress redraws one line on a terminal and does not flood a log."""

from __future__ import annotations

import io

from edgenet.report.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_the_last_step_and_a_clean_line():
    stream = Terminal()
    with Progress("checking", 2, "images", stream) as progress:
        progress.update(1)
        progress.update(2)
    assert "checking: 2 of 2 images" in stream.getvalue()
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().endswith("\r\x1b[K")


def test_a_log_is_not_flooded():
    stream = io.StringIO()
    with Progress("checking", 1000, "images", stream) as progress:
        for done in range(1000):
            progress.update(done + 1)
    assert stream.getvalue() == ""
