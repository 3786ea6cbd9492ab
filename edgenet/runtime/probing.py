"""Whether a delegate works here, asked in a process of its own: a driver may crash, hang or exit.

`main` opens the smallest of models with the delegate, runs it, and prints what answered as one line
of JSON; `examine` starts it in a child process.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from edgenet.runtime.children import ChildError, run_python, told_json
from edgenet.runtime.delegates import Delegate, UnusableError, named
from edgenet.runtime.engines import by_name

# A cold import from an SD card takes seconds; a driver that compiles for longer is broken.
TIMEOUT_S = 60.0

_CHILD = "import sys; from edgenet.runtime.probing import main; sys.exit(main())"
_BROKEN = "update or remove its driver"


@dataclass(frozen=True)
class Finding:
    """What a probe found: `kind` and `name` of a usable device, or why it is not, and the fix."""

    usable: bool
    kind: str
    name: str
    reason: str | None = None
    fix: str | None = None


def examine(delegate: Delegate, options: Mapping[str, str] | None = None) -> Finding:
    """Tries a delegate out in a child process, once for each process that asks.

    Args:
        delegate: What to try.
        options: For a delegate library, its own options.
    """
    return _examine(delegate, tuple(sorted((options or {}).items())))


@cache
def _examine(delegate: Delegate, options: tuple[tuple[str, str], ...]) -> Finding:
    lacking = _lacking(delegate)
    if lacking:
        return _unusable(delegate, *lacking)
    answer = _ask(delegate, options)
    if "reason" in answer:
        return _unusable(delegate, answer["reason"], answer["fix"] or delegate.driver or _BROKEN)
    return Finding(True, answer["kind"], answer["name"])


def _lacking(delegate: Delegate) -> tuple[str, str] | None:
    engine = by_name(delegate.engine)
    if engine is not None and not engine.installed:
        return "not installed", delegate.install or engine.install
    if not delegate.installed:
        return "not installed", delegate.install
    return None


def _unusable(delegate: Delegate, reason: str, fix: str) -> Finding:
    return Finding(False, delegate.kind, delegate.name, " ".join(reason.split()), fix)


def _ask(delegate: Delegate, options: tuple[tuple[str, str], ...]) -> dict[str, Any]:
    arguments = ["-c", _CHILD, delegate.engine, delegate.device, delegate.name]
    arguments += [f"{key}={value}" for key, value in options]
    try:
        return told_json(run_python(arguments, TIMEOUT_S))
    except ChildError as error:
        return {"reason": f"tried in a process of its own: {error}", "fix": _BROKEN}


def main(argv: list[str] | None = None) -> int:
    """Tries one delegate out in this process and prints the outcome as one line of JSON."""
    engine, device, name, *options = sys.argv[1:] if argv is None else argv
    delegate = named(engine, device, name)
    try:
        found = delegate.load().probe(delegate, dict(pair.split("=", 1) for pair in options))
        outcome = {"kind": found.kind, "name": found.name}
    except UnusableError as error:
        outcome = {"reason": error.reason, "fix": error.fix}
    # Whatever an engine raises is this delegate's reason, and no other's concern.
    except Exception as error:
        outcome = {"reason": str(error) or type(error).__name__, "fix": ""}
    # Drivers print on stdout too, and do not always end their lines.
    print("\n" + json.dumps(outcome), flush=True)
    return 0
