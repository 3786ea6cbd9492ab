"""The `edgenet` command: finds the command asked for, runs it, and turns errors into exit codes."""

from __future__ import annotations

import argparse
import errno
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import FrameType, ModuleType
from typing import NoReturn

from edgenet import __version__
from edgenet.cli.console import fail
from edgenet.errors import EdgenetError, UsageError

# Each is the module of that name in this package and says its `HELP` itself too: repeated here so
# that the list of commands imports none of them.
COMMANDS = {
    "convert": "write a verified bundle from a Keras EfficientNet",
    "run": "classify images with a bundle, or tell a regression's values",
    "bench": "time bundles: percentiles, load and first run, peak memory",
    "check": "compare a bundle with its fp32 reference; exit 3 where it lost too much",
    "bisect": "find the operators of an int8 file that cost the accuracy",
    "devices": "list what can run here, and why the rest cannot",
    "models": "list the variants: input size, parameters, MACs, weights at hand",
    "summary": "show a model stage by stage: operators, shapes, parameters, MACs",
}

# Those of `edgenet.errors`, which says them too.
EXIT_CODES = {
    0: "done",
    1: "failed",
    2: "usage: a path, an option or a value is wrong",
    3: "the accuracy gate: more was lost than allowed",
    4: "the device asked for was not used in full",
    5: "an extra is missing; the message says how to install it",
}

# Between two collections; the default is 700 to 2,000, by Python's version.
_OBJECTS = 50_000
_INTERRUPTED = 128 + signal.SIGINT
# A terminal that is closed hangs up; Windows has no signal for it. A process under nohup goes on.
_ENDING = tuple(
    number
    for name in ("SIGTERM", "SIGHUP")
    if (number := getattr(signal, name, None)) and signal.getsignal(number) is not signal.SIG_IGN
)
# Windows has no SIGPIPE; 13 is its number where there is one.
_PIPE_CLOSED = 128 + 13
_STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG)


def process() -> int:
    """`main` as a process of its own, which spends less on the search for garbage.

    Imports make objects by the ten thousand and no garbage, yet the collector looks through them
    again and again, and a last time as the interpreter ends.
    """
    gc.set_threshold(_OBJECTS)
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: What follows `edgenet`; None takes the process's own arguments.

    Returns:
        The exit code: 0, or that of the error (`edgenet.errors`), 130 when interrupted, 141 when
        nobody reads stdout any more.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    arguments = list(sys.argv[1:] if argv is None else argv)
    _settle_streams()
    try:
        with _termination_unwinds():
            code = _dispatch(arguments)
            sys.stdout.flush()
        return code
    except EdgenetError as error:
        if error.details:
            print(error.details, file=sys.stderr)
        return fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted", _INTERRUPTED)
    except MemoryError as error:
        told = f"memory ran out ({error})" if str(error) else "memory ran out"
        return fail(told, EdgenetError.exit_code)
    except OSError as error:
        _let_go_of_stdout()
        if isinstance(error, BrokenPipeError):
            return _PIPE_CLOSED
        if error.errno is None:
            raise
        return fail(_told(error), EdgenetError.exit_code)


def _settle_streams() -> None:
    """What a stream's encoding lacks becomes an escape; what is closed goes nowhere.

    A terminal need not know all signs, and a file's name need not be text.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _dispatch(arguments: list[str]) -> int:
    parser = _top_parser()
    if not arguments or arguments[0] not in COMMANDS:
        # Prints the help or the version and ends, or says what is wrong.
        parser.parse_args(arguments)
        parser.print_help()
        return 0
    module = import_module(f"edgenet.cli.{arguments[0]}")
    asked = command_parser(arguments[0], module).parse_args(arguments[1:])
    _require_values(asked)
    code: int = module.run(asked)
    return code


def _require_values(asked: argparse.Namespace) -> None:
    """Refuses an empty value, as an unset variable of the shell leaves it: it names no place."""
    for name, value in vars(asked).items():
        if value in ("", [""]):
            raise UsageError(
                f"the value of {name.replace('_', '-')} is empty: give one, or leave the option off"
            )


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line, as all else does, not below all the options there are."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} ({self.prog} --help tells what there is)")


def command_parser(name: str, module: ModuleType) -> argparse.ArgumentParser:
    """The parser of one command, its examples at the end of its help."""
    parser = _Parser(
        prog=f"edgenet {name}",
        description=module.HELP,
        epilog=f"examples:\n{module.EXAMPLES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    return parser


def _top_parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:9} {text}" for name, text in COMMANDS.items())
    codes = "\n".join(f"  {code}  {text}" for code, text in EXIT_CODES.items())
    parser = _Parser(
        prog="edgenet",
        description="Takes a Keras EfficientNet to every edge runtime in int8, and proves that it "
        "still works.",
        epilog=f"commands:\n{listed}\n\nexit codes:\n{codes}\n\nedgenet COMMAND --help tells more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"edgenet {__version__}")
    parser.add_argument("command", nargs="?", choices=tuple(COMMANDS), metavar="COMMAND ...")
    return parser


@contextmanager
def _termination_unwinds() -> Iterator[None]:
    """Signals end the process as an exception does, so that what is half written is removed."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, _terminate) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)


def _let_go_of_stdout() -> None:
    """Drops what cannot be written, or the interpreter would fail on it once more as it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(error: OSError) -> str:
    place = f" {error.filename}" if error.filename else ""
    if error.errno in _STORAGE:
        return f"writing{place or ' the result'} failed: {error.strerror}"
    return f"cannot use{place or ' a file'}: {error.strerror}"
