from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from threading import Barrier

import pytest

from edgenet import staging
from edgenet.bundle import MANIFEST, Bundle
from edgenet.errors import EdgenetError, UsageError
from edgenet.staging import writing
from tests.bundles import CONTENT, write


def fail_to_write(folder: Path) -> None:
    with writing(folder) as staging:
        (staging / "half").write_text("half")
        raise ZeroDivisionError


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        fail_to_write(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_keeps_the_older_bundle(tmp_path: Path) -> None:
    write(tmp_path / "bundle", CONTENT)
    with pytest.raises(ZeroDivisionError):
        fail_to_write(tmp_path / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "model.tflite").read_bytes() == CONTENT


def test_a_newer_bundle_takes_the_place_of_the_older(tmp_path: Path) -> None:
    write(tmp_path / "bundle", CONTENT)
    bundle = write(tmp_path / "bundle", b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert bundle.model_path(bundle.artifact("tflite")).read_bytes() == b"newer"


@pytest.mark.parametrize(("renamed", "there"), [(1, CONTENT), (2, b"newer")])
def test_a_signal_while_one_takes_the_others_place_leaves_one_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renamed: int, there: bytes
) -> None:
    write(tmp_path / "bundle", CONTENT)
    rename, calls = Path.rename, count(1)

    def interrupted(path: Path, place: Path) -> None:
        rename(path, place)
        if next(calls) == renamed:
            raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "bundle", b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / "model.tflite").read_bytes() == there


def test_what_is_no_bundle_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "only-copy.jpg").write_text("precious")
    (tmp_path / "file").write_text("precious")
    for name in ("photos", "file"):
        with pytest.raises(UsageError), writing(tmp_path / name):
            pass
    assert (tmp_path / "photos" / "only-copy.jpg").read_text() == "precious"


def test_the_next_write_sweeps_up_after_a_killed_one(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys; from pathlib import Path; from edgenet.staging import writing\n"
        "with writing(Path(sys.argv[1])): os.kill(os.getpid(), signal.SIGKILL)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "bundle")]
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": root}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "bundle").exists()
    assert list(tmp_path.iterdir()) != []
    with pytest.raises(ZeroDivisionError):
        fail_to_write(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


def test_a_bundle_set_aside_by_a_killed_write_comes_back(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True
    )
    dead = int(done.stdout)
    write(tmp_path / "bundle", CONTENT)
    (tmp_path / "bundle").rename(tmp_path / f".bundle.partial-{dead}-0-older")
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "bundle"):
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    bundle = Bundle.open(tmp_path / "bundle")
    assert bundle.model_path(bundle.artifact("tflite")).read_bytes() == CONTENT


def test_a_failed_write_leaves_no_parents(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), writing(tmp_path / "new" / "deeper" / "bundle"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("file/bundle", os.strerror(errno.ENOTDIR)),
        ("file/new/bundle", os.strerror(errno.ENOTDIR)),
        ("circle", os.strerror(errno.ELOOP)),
        ("circle/bundle", os.strerror(errno.ELOOP)),
        ("n" * 256, os.strerror(errno.ENAMETOOLONG)),
        ("/proc/no/bundle", os.strerror(errno.ENOENT)),
    ],
)
def test_a_place_that_cannot_be_is_refused_by_its_name(
    tmp_path: Path, place: str, said: str
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "circle").symlink_to("circle")
    told = rf"{place} cannot be made \({said}\): name another place with -o"
    with pytest.raises(UsageError, match=told), writing(tmp_path / place):
        pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["circle", "file"]


@pytest.mark.parametrize("name", ["n" * 255, "é" * 127], ids=["ascii", "utf-8"])
def test_a_place_may_have_the_longest_name_that_there_is(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, CONTENT)
    bundle = write(tmp_path / name, b"newer")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert bundle.model_path(bundle.artifact("tflite")).read_bytes() == b"newer"


def test_the_folder_that_one_is_in_is_not_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell would go on in a folder that is no more."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="name a folder in it"), writing(Path()):
        pass


@pytest.mark.parametrize(
    "manifest",
    [
        '{"manifest_version": 3}',
        '{"artifacts": [{"path": "app.js"}]}',
        '{"schema_version": 1, "assets": [{"path": "app.js"}]}',
        "[]",
        "{",
        "[" * 100_000,
    ],
)
def test_a_manifest_of_something_else_makes_no_bundle(tmp_path: Path, manifest: str) -> None:
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / MANIFEST).write_text(manifest)
    (tmp_path / "web" / "app.js").write_text("precious")
    with pytest.raises(UsageError, match="other things in it"), writing(tmp_path / "web"):
        pass
    assert (tmp_path / "web" / "app.js").read_text() == "precious"


def test_what_was_put_into_a_bundle_is_not_lost(tmp_path: Path) -> None:
    bundle = write(tmp_path / "bundle", CONTENT)
    (bundle.path / "photos").mkdir()
    (bundle.path / "photos" / "only-copy.jpg").write_text("precious")
    with pytest.raises(UsageError, match=r"\(photos/only-copy\.jpg\)"), writing(bundle.path):
        pass
    assert (bundle.path / "photos" / "only-copy.jpg").read_text() == "precious"


def test_behind_a_link_the_bundle_is_replaced_and_the_link_stays(tmp_path: Path) -> None:
    write(tmp_path / "bundle", CONTENT)
    (tmp_path / "link").symlink_to("bundle")
    write(tmp_path / "link", b"newer")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "link"]
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "bundle" / "model.tflite").read_bytes() == b"newer"


def test_two_threads_that_write_one_place_both_write_whole_bundles(tmp_path: Path) -> None:
    write(tmp_path / "bundle", CONTENT)
    both = Barrier(2)

    def half_and_half(halves: str) -> set[str]:
        with writing(tmp_path / "bundle") as staging:
            (staging / "first").write_text(halves)
            both.wait(30)
            (staging / "second").write_text(halves)
            written = {path.name for path in staging.iterdir()}
            (staging / MANIFEST).write_text(
                '{"schema_version": 1, "artifacts": [{"path": "first"}, {"path": "second"}]}'
            )
        return written

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(half_and_half, "ab")) == [{"first", "second"}] * 2
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    first, second = ((tmp_path / "bundle" / name).read_text() for name in ("first", "second"))
    assert first == second


def test_threads_that_begin_while_others_end_find_a_bundle(tmp_path: Path) -> None:
    def often(_: int) -> None:
        for _ in range(50):
            with writing(tmp_path / "bundle") as folder:
                (folder / MANIFEST).write_text('{"schema_version": 1, "artifacts": []}')

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(often, range(4)))
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_processes_that_write_one_place_all_end_well(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from edgenet.staging import writing\n"
        "for _ in range(60):\n"
        "    with writing(Path(sys.argv[1])) as folder:\n"
        "        (folder / 'manifest.json').write_text(sys.argv[2])"
    )
    manifest = '{"schema_version": 1, "artifacts": []}'
    command = [sys.executable, "-c", script, str(tmp_path / "new" / "bundle"), manifest]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    writers = [
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    assert [writer.communicate(timeout=120)[1] for writer in writers] == [""] * 4
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["bundle"]


@pytest.mark.parametrize("older", [False, True])
def test_where_no_folder_is_locked_the_slower_of_two_processes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: bool
) -> None:
    """The other one takes the place, or takes what is there away, just before we do."""
    target, rename = tmp_path / "bundle", Path.rename
    if older:
        write(target, CONTENT)

    def unlocked(folder: Path) -> None:
        raise OSError

    def overtaken(path: Path, place: Path) -> None:
        if older:
            rename(target, tmp_path / "theirs")
        else:
            target.mkdir()
            (target / MANIFEST).touch()
        rename(path, place)

    monkeypatch.setattr(staging, "_locked", unlocked)
    monkeypatch.setattr(Path, "rename", overtaken)
    with pytest.raises(EdgenetError, match=f"changed {target} .*: write it again, or to a place"):
        write(target, b"newer")
    assert [path.name for path in tmp_path.iterdir()] == ["theirs" if older else "bundle"]


def test_a_disk_that_fails_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No other process is to blame, and writing again helps nothing."""

    def failing(path: Path, place: Path) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(Path, "rename", failing)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        write(tmp_path / "bundle", CONTENT)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("process", [str(os.getpid()), "9" * 40], ids=["ours", "none"])
def test_what_no_living_process_left_is_swept_up(tmp_path: Path, process: str) -> None:
    """A process that was killed may have had our own number, as every container's first has 1.

    And no process has one so large.
    """
    (tmp_path / f".bundle.partial-{process}-7").mkdir()
    write(tmp_path / "bundle", CONTENT)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_what_a_process_of_our_number_writes_is_left_alone(tmp_path: Path) -> None:
    """Another container's, whose first process has the number of ours."""
    script = (
        "import os, sys; from pathlib import Path; from edgenet.staging import writing\n"
        "os.getpid = lambda: int(sys.argv[2])\n"
        "with writing(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'manifest.json').write_text(sys.argv[3])\n"
        "    print('ready', flush=True)\n"
        "    sys.stdin.read()"
    )
    manifest = '{"schema_version": 1, "artifacts": [], "by": "the other"}'
    theirs = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path / "bundle"), str(os.getpid()), manifest],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE),
        text=True,
    )
    assert theirs.stdout is not None
    assert theirs.stdout.readline() == "ready\n"
    write(tmp_path / "bundle", CONTENT)
    assert len(list(tmp_path.iterdir())) == 2
    assert theirs.communicate(timeout=60)[1] == ""
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
    assert (tmp_path / "bundle" / MANIFEST).read_text() == manifest


def test_windows_keeps_what_another_process_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no probe for a process that leaves the process alone."""
    probed: list[int] = []
    monkeypatch.setattr(os, "kill", lambda process, signal: probed.append(process))
    monkeypatch.setattr(sys, "platform", "win32")
    for process in (os.getpid(), os.getppid()):
        (tmp_path / f".bundle.partial-{process}-7").mkdir()
    write(tmp_path / "bundle", CONTENT)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f".bundle.partial-{os.getppid()}-7", "bundle"]
    assert probed == []
