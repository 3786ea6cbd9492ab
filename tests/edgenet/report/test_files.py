"""Reports go where they can, and what cannot be a report's place is refused untouched."""

from __future__ import annotations

import os
import resource
import stat
import subprocess
import sys

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


def test_what_the_process_has_open_takes_a_report_after_what_it_wrote(tmp_path):
    """A file that took its place would part it from what is printed there."""
    with (tmp_path / "log").open("ab", buffering=0) as log:
        log.write(b"printed, ")
        inode = os.fstat(log.fileno()).st_ino
        write_text(f"/dev/fd/{log.fileno()}", "report", "--html")
        assert (tmp_path / "log").stat().st_ino == inode
    assert (tmp_path / "log").read_text().endswith("report")


@pytest.mark.parametrize("before", [None, "the old report"])
def test_a_report_that_cannot_be_finished_leaves_what_was_there(tmp_path, before):
    """As where the disk fills up, or by `ulimit -f`."""
    report = tmp_path / "report.html"
    if before is not None:
        report.write_text(before)
    program = "import sys; from edgenet.report.files import write_text as w; w(*sys.argv[1:])"
    limit = (resource.RLIMIT_FSIZE, (10_000, 10_000))
    done = subprocess.run(
        [sys.executable, "-c", program, report, "x" * 50_000, "--html"],
        preexec_fn=lambda: resource.setrlimit(*limit),
        capture_output=True,
        text=True,
    )
    assert "report.html: cannot be written (File too large)" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ([] if before is None else [report.name])
    assert before is None or report.read_text() == before


def test_a_report_takes_the_place_and_the_mode_of_an_older_one(tmp_path):
    old, link = tmp_path / "old", tmp_path / "link"
    old.write_text("a longer report")
    old.chmod(0o640)
    link.symlink_to(old)
    write_text(str(link), "report", "--html")
    assert link.is_symlink()
    assert old.read_text() == "report"
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link", "old"]


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
