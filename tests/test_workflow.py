"""The example workflow asks for nothing that the commands do not have."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest

from edgenet.cli.main import command_parser

WORKFLOW = Path(__file__).resolve().parent.parent / "examples" / "ci" / "edgenet.yml"


def commands() -> list[list[str]]:
    """Every `edgenet ...` of the file, comments included, folded lines joined."""
    text = re.sub(r"\n {10}(?=--)", " ", WORKFLOW.read_text())
    return [shlex.split(line) for line in re.findall(r"\bedgenet (?:check|bench) .*", text)]


def test_the_workflow_checks_and_times() -> None:
    assert sorted(command[1] for command in commands()) == ["bench", "check", "check"]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_its_commands_are_understood(command: list[str]) -> None:
    _, name, *arguments = command
    if ">" in arguments:
        arguments = arguments[: arguments.index(">")]
    args = command_parser(name, import_module(f"edgenet.cli.{name}")).parse_args(arguments)
    assert "my-int8" in (args.bundles if name == "bench" else [args.bundle])


def test_the_reports_that_it_uploads_are_written() -> None:
    text = WORKFLOW.read_text()
    written = {
        file for command in commands() for file in command if file.endswith((".html", ".md"))
    }
    assert written == {"bench.html", "bench.md", "check.html", "check.md"}
    assert all(text.count(file) >= 2 for file in written if file.endswith(".md"))
