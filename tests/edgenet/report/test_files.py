"""Reports go where they can, and what cannot be a report's place is refused untouched."""

from __future__ import annotations

import os

import pytest

from edgenet.errors import UsageError
from edgenet.report.files import require_writable, write_text


def test_a_path_that_can_be_written_is_left_as_it_was(tmp_path):
    new, old, link = tmp_path / "new", tmp_path / "old", tmp_path / "link"
    old.write_text("kept")
    link.symlink_to(tmp_path / "later")
    for path in (new, old, link):
        require_writable(str(path), "--html")
    require_writable(None, "--html")
    assert not new.exists()
    assert not link.exists()
    assert old.read_text() == "kept"


def test_a_pipe_is_not_opened_before_the_report(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    require_writable(str(tmp_path / "pipe"), "--html")


def test_a_pipe_without_a_name_takes_a_report():
    reading, writing = os.pipe()
    path = f"/dev/fd/{writing}"
    require_writable(path, "--markdown")
    write_text(path, "report", "--markdown")
    os.close(writing)
    assert os.read(reading, 100) == b"report"
    os.close(reading)


@pytest.mark.parametrize("path", ["", "{tmp}", "{tmp}/none/report", "{tmp}/old/report"])
def test_what_cannot_be_written_is_refused_with_its_option(tmp_path, path):
    (tmp_path / "old").write_text("kept")
    path = path.format(tmp=tmp_path)
    for refused in (
        lambda: require_writable(path, "--html"),
        lambda: write_text(path, "", "--html"),
    ):
        with pytest.raises(UsageError, match=r"cannot be written .*after --html"):
            refused()
    assert [entry.name for entry in tmp_path.iterdir()] == ["old"]


def test_what_is_no_text_becomes_an_escape(tmp_path):
    write_text(str(tmp_path / "report"), os.fsdecode(b"caf\xe9 \xc3\xa9.jpg"), "--html")
    assert (tmp_path / "report").read_text(encoding="utf-8") == "caf\\udce9 é.jpg"
