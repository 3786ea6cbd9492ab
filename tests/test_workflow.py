"""The example workflow and the documents ask for nothing that the commands do not have."""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from edgenet.cli.main import COMMANDS, command_parser

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "examples" / "ci" / "edgenet.yml"
DOCUMENTS = ("README.md", "Makefile", "benchmarks/README.md")


def commands() -> list[list[str]]:
    """Every `edgenet ...` of the file, comments included, folded lines joined."""
    text = re.sub(r"\n {10}(?=--)", " ", WORKFLOW.read_text())
    return [shlex.split(line) for line in re.findall(r"\bedgenet (?:check|bench) .*", text)]


def parsed(command: list[str]) -> argparse.Namespace:
    _, name, *arguments = command
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    return command_parser(name, import_module(f"edgenet.cli.{name}")).parse_args(arguments)


def documented() -> list[list[str]]:
    """Every `edgenet ...` of the documents, in a line of its own or in backticks."""
    texts = [(ROOT / name).read_text() for name in DOCUMENTS]
    pattern = r"^(?:\t\$\(BIN\)/)?edgenet .*|(?<=`)edgenet\s[^`]+(?=`)"
    return [shlex.split(line) for text in texts for line in re.findall(pattern, text, re.M)]


def test_the_workflow_checks_and_times() -> None:
    assert sorted(command[1] for command in commands()) == ["bench", "check", "check"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_its_commands_are_understood(command: list[str]) -> None:
    args = parsed(command)
    assert "my-int8" in (args.bundles if command[1] == "bench" else [args.bundle])


@pytest.mark.parametrize("command", documented(), ids=" ".join)
def test_the_commands_of_the_documents_are_understood(command: list[str]) -> None:
    assert command[1] in COMMANDS
    # Prose names a command by its name alone.
    if len(command) > 2:
        parsed(command)


def test_every_command_is_documented() -> None:
    assert {command[1] for command in documented()} == COMMANDS.keys()


def test_the_benchmarks_of_the_documents_are_there() -> None:
    texts = [(ROOT / name).read_text() for name in DOCUMENTS]
    named = {name for text in texts for name in re.findall(r"\bbenchmarks[./](\w+)", text)}
    assert named - {"README"} <= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


def test_the_reports_that_it_uploads_are_written() -> None:
    text = WORKFLOW.read_text()
    written = {
        file for command in commands() for file in command if file.endswith((".html", ".md"))
    }
    assert written == {"bench.html", "bench.md", "check.html", "check.md"}
    assert all(text.count(file) >= 2 for file in written if file.endswith(".md"))
