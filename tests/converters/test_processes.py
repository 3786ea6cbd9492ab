"""`edgenet convert` killed, ended or out of disk leaves no bundle, and the next try succeeds."""

from __future__ import annotations

import hashlib
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# Each runs a process of its own, which takes seconds to import TensorFlow.
pytestmark = pytest.mark.slow


def start(
    arguments: list[object], before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "edgenet", "convert", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,
    )


def heed_interrupts() -> None:
    """As in a terminal: what a shell starts in the background ignores them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(process: subprocess.Popen[str], line: str) -> None:
    """Reads stderr up to a line of the progress."""
    assert process.stderr is not None
    seen = []
    for text in process.stderr:
        seen.append(text)
        if line in text:
            return
    raise AssertionError(f"ended before {line!r}:\n{''.join(seen)}")


def digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def arguments(tiny_models, tiny_labels, texture_folder, tmp_path) -> list[object]:
    """What makes the tiny int8 bundle, in a place of its own."""
    (tmp_path / "place").mkdir()
    return [
        *(tiny_models["b"], "--int8", "-o", tmp_path / "place" / "out", "--labels", tiny_labels),
        *("--calibration", texture_folder, "--calibration-images", 40),
    ]


def test_a_kill_leaves_no_bundle_and_the_next_try_sweeps_and_gives_equal_bytes(
    arguments, tiny_bundle, tmp_path
):
    place = tmp_path / "place"
    process = start(arguments)
    until(process, "lowering to onnx")
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    (left,) = listing(place)
    assert left.startswith(".out.partial-")
    again = start(arguments)
    _, errors = again.communicate()
    assert again.returncode == 0, errors
    assert listing(place) == ["out"]
    assert digests(place / "out") == digests(tiny_bundle)


# Both signals are exceptions of the main thread, so that each later moment needs one of them.
@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("loading", signal.SIGTERM),
        ("loading", signal.SIGINT),
        ("looking for rewrites", signal.SIGTERM),
        ("calibrating", signal.SIGINT),
        ("lowering to openvino", signal.SIGTERM),
    ],
)
def test_a_signal_leaves_nothing(arguments, tmp_path, moment, number):
    process = start(arguments, before=heed_interrupts)
    until(process, moment)
    process.send_signal(number)
    _, errors = process.communicate()
    assert process.returncode == 128 + number
    assert "Traceback" not in errors
    assert listing(tmp_path / "place") == []


def limited(size: int) -> Callable[[], None]:
    """No file may grow beyond that many bytes: writing more fails as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_a_full_disk_is_one_line_and_leaves_nothing(tiny_models, tmp_path, format):
    place = tmp_path / "place"
    place.mkdir()
    process = start([tiny_models["b"], "-o", place / "out", "--to", format], before=limited(20_000))
    output, errors = process.communicate()
    assert process.returncode == 1, errors
    assert output == ""
    assert "Traceback" not in errors
    last = errors.splitlines()[-1]
    assert last.startswith("edgenet: error: ")
    assert "writing" in last
    assert "File too large" in last or "is the disk full?" in last
    assert listing(place) == []
