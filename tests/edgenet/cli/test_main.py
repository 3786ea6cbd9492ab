from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import edgenet
from edgenet.cli import main as cli
from edgenet.cli import models
from edgenet.errors import DeviceError, EdgenetError
from edgenet.report.document import dumps
from edgenet.runtime.placement import PartialError, Placement

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("name", cli.COMMANDS)
def test_every_command_has_the_four_parts_and_one_help(name: str) -> None:
    module = import_module(f"edgenet.cli.{name}")
    assert cli.COMMANDS[name] == module.HELP
    examples = [line.strip() for line in module.EXAMPLES.splitlines() if line.strip()]
    assert examples
    parser = cli.command_parser(name, module)
    assert parser.prog == f"edgenet {name}"
    assert all(example in parser.format_help() for example in examples)
    assert callable(module.run)


def test_no_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name}" in out for name in cli.COMMANDS)


def test_help_and_readme_tell_every_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    kinds = [EdgenetError, *EdgenetError.__subclasses__()]
    assert {kind.exit_code for kind in kinds} | {0} == cli.EXIT_CODES.keys()
    assert cli.main([]) == 0
    out = capsys.readouterr().out
    readme = (ROOT / "README.md").read_text()
    for code, text in cli.EXIT_CODES.items():
        assert f"  {code}  {text}\n" in out
        assert f"\n| {code} | {text}" in readme


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"edgenet {edgenet.__version__}\n"


@pytest.mark.parametrize("arguments", [["frobnicate"], ["--json", "models"], ["models", "--nope"]])
def test_a_wrong_word_is_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("edgenet: error: ")
    assert line.endswith(" --help tells what there is)")


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (DeviceError("no gpu:\n use cpu"), 4, "no gpu: use cpu"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (
            OSError(errno.ENOSPC, "No space left on device", "b/model.onnx"),
            1,
            "writing b/model.onnx failed: No space left on device",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "b"), 1, "cannot use b: Perm"),
        (MemoryError("Unable to allocate 1.37 TiB"), 1, "memory ran out (Unable to allocate"),
    ],
)
def test_an_error_is_one_line_and_its_code(
    error: BaseException,
    code: int,
    line: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(models, "run", fail)
    assert cli.main(["models"]) == code
    [shown] = capsys.readouterr().err.splitlines()
    assert shown.startswith(f"edgenet: error: {line}")


def test_a_table_comes_before_the_line_of_its_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    error = PartialError("gpu", "WebGPU", [Placement("Conv", "cpu", 2, "no kernel")])

    def fail(args: object) -> int:
        raise error

    monkeypatch.setattr(models, "run", fail)
    assert cli.main(["models"]) == 4
    *table, line = capsys.readouterr().err.splitlines()
    assert table == error.details.splitlines()
    assert line.startswith("edgenet: error: the gpu (WebGPU) does not run 2 of 2 operators: Conv;")


def test_a_defect_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "run", lambda args: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        cli.main(["models"])


def command(*arguments: str, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    )


def test_it_runs_as_a_module() -> None:
    process = command("-m", "edgenet", "models", stdout=subprocess.PIPE)
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "lite0" in out


def test_a_reader_that_leaves_is_no_error() -> None:
    read, write = os.pipe()
    os.close(read)
    process = command("-m", "edgenet", "models", "--json", stdout=write)
    os.close(write)
    _, err = process.communicate()
    assert (process.returncode, err) == (141, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        process = command("-m", "edgenet", "models", stdout=full)
        _, err = process.communicate()
    assert process.returncode == 1
    assert err == "edgenet: error: writing the result failed: No space left on device\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_process_lets_the_clean_up_run(tmp_path: Path, number: signal.Signals) -> None:
    script = (
        "import signal, sys, time; from pathlib import Path; from edgenet.staging import writing\n"
        # Where the tests are run by nohup, they are told to ignore it.
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"
        "from edgenet.cli import main as cli, models\n"
        "def run(args):\n"
        "    with writing(Path(sys.argv[1])): print('ready', flush=True); time.sleep(60)\n"
        "models.run = run\n"
        "sys.exit(cli.main(['models']))"
    )
    process = command("-c", script, str(tmp_path / "bundle"), stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_handler_of_a_signal_is_put_back(
    number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    cli.main([])
    assert signal.getsignal(number) == before


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["convert", "-o", ""], "output"),
        (["convert", "--calibration", ""], "calibration"),
        (["check", ""], "bundle"),
        (["bench", "b", "--html", ""], "html"),
        (["run", "b", ""], "images"),
    ],
)
def test_what_an_unset_variable_leaves_is_refused(
    arguments: list[str], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert f"the value of {name} is empty" in capsys.readouterr().err


def test_two_reports_are_two_files(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "b", "--html", "r", "--markdown", "r"]) == 2
    assert "--html and --markdown would both be r" in capsys.readouterr().err


def test_a_process_of_its_own_ends_without_a_search_for_garbage() -> None:
    script = (
        "import gc, sys; from edgenet.cli.main import process\n"
        "sys.argv = ['edgenet', 'models', '--json']; code = process()\n"
        "print(code, gc.get_freeze_count() > 0, file=sys.stderr)"
    )
    _, err = command("-c", script, stdout=subprocess.DEVNULL).communicate()
    assert err == "0 True\n"


@pytest.mark.parametrize(("encoding", "size"), [("ascii", r"224\xd7224"), ("cp1252", "224×224")])
def test_what_an_encoding_lacks_is_an_escape(encoding: str, size: str) -> None:
    done = _edgenet("models", PYTHONIOENCODING=encoding)
    assert done.returncode == 0
    assert f"lite0    {size}" in done.stdout
    assert done.stdout.count("\\") == done.stdout.count(r"\xd7")


def test_a_closed_stdout_or_stderr_ends_nothing() -> None:
    """And what was for stderr does not go to stdout."""
    assert _edgenet("models", closed=1).returncode == 0
    done = _edgenet("run", "nowhere", "photo.png", closed=2)
    assert (done.returncode, done.stdout) == (2, "")


def _edgenet(
    *arguments: str, closed: int | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    """The command as a process, one of its streams perhaps closed."""
    script = "import os, sys; from edgenet.cli.main import process; sys.exit(process())"
    redirection = "" if closed is None else f" {closed}>&-"
    return subprocess.run(
        [
            "/bin/sh",
            "-c",
            f'exec "$@"{redirection}',
            "sh",
            sys.executable,
            "-c",
            script,
            *arguments,
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        encoding="latin-1",
        check=False,
    )


@pytest.mark.parametrize("command", [["models"], ["summary", "lite0"]], ids=" ".join)
def test_documents_are_laid_out_alike(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.main([*command, "--json"]) == 0
    out = capsys.readouterr().out
    assert out == f"{dumps(json.loads(out))}\n"
