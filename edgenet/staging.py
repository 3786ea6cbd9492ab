"""Writes a bundle beside its place and renames it, so that it appears whole or not at all."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from edgenet.bundle import MANIFEST
from edgenet.errors import UsageError

_OLDER = "-older"

_numbers = count()
# What writers of this process have at work; the lock is theirs while folders come, move and go.
_live: set[Path] = set()
_moving = Lock()


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A folder to write a bundle into, which takes the place of `target` when the block ends well.

    When it does not, the folder goes, and so do the parents made for it. What a killed process left
    of an earlier try is mended first. An older bundle in the same place stays until the new one is
    whole; of several threads that write to one place, the last to end has it.

    Raises:
        UsageError: `target` is there and is no bundle, or holds more than one: it is not edgenet's
            to replace. Or it cannot be renamed.
    """
    # Of a link, the folder behind it is replaced.
    target = target.resolve()
    made: list[Path] = []
    staging = target.parent / f".{target.name}.partial-{os.getpid()}-{next(_numbers)}"
    try:
        with _moving:
            _refuse_foreign(target)
            made = [parent for parent in target.parents if not parent.exists()]
            target.parent.mkdir(parents=True, exist_ok=True)
            _mend(target)
            _live.add(staging)
            staging.mkdir()
        yield staging
        with _moving:
            _replace(target, staging)
    finally:
        with _moving:
            shutil.rmtree(staging, ignore_errors=True)
            _live.discard(staging)
            for parent in made:
                with suppress(OSError):  # Not empty: the bundle is there, or something else by now.
                    parent.rmdir()


def _refuse_foreign(target: Path) -> None:
    if target == Path.cwd() or target.is_mount():
        raise UsageError(f"{target} cannot be replaced: name a folder in it, as in -o BUNDLE")
    if not target.is_dir():
        if target.exists():
            raise UsageError(f"{target} is a file: name another place with -o")
        return
    foreign = _foreign(target)
    if foreign:
        raise UsageError(
            f"{target} is a folder with other things in it ({foreign[0]}): name another place with "
            "-o"
        )


def _foreign(folder: Path) -> list[str]:
    """What lies in a folder that no manifest of edgenet's speaks for, by name."""
    try:
        document = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        ours = {MANIFEST} if "schema_version" in document and "artifacts" in document else set()
    except (OSError, ValueError, TypeError, RecursionError):
        document, ours = None, set()
    ours.update(_paths(document) if ours else ())
    files = (path for path in folder.rglob("*") if not path.is_dir())
    return sorted({path.relative_to(folder).as_posix() for path in files} - ours)


def _paths(document: Any) -> Iterator[str]:
    """Every `path` in a manifest, of whatever schema."""
    if isinstance(document, dict):
        if isinstance(document.get("path"), str):
            yield document["path"]
        document = list(document.values())
    for part in document if isinstance(document, list) else ():
        yield from _paths(part)


def _mend(target: Path) -> None:
    """Removes what a killed process left, and puts back the bundle that it was about to replace."""
    pattern = re.compile(rf"(\.{re.escape(target.name)}\.partial-(\d+)-\d+)({_OLDER})?")
    for entry in target.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is None or entry.with_name(match[1]) in _live or _alive(int(match[2])):
            continue
        if match[3] and not target.exists():
            entry.rename(target)
        else:
            shutil.rmtree(entry, ignore_errors=True)


def _alive(process: int) -> bool:
    """Whether another process has that number, as far as the system tells."""
    if process == os.getpid():
        return False
    if sys.platform == "win32":
        # os.kill probes nothing there: 0 is Ctrl+C. What is left lies in no one's way.
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # Another user's.
        return True
    return True


def _replace(target: Path, staging: Path) -> None:
    """Puts `staging` in the place of `target`; rename(2) replaces empty folders only."""
    if not target.exists():
        staging.rename(target)
        return
    older = staging.with_name(staging.name + _OLDER)
    target.rename(older)
    try:
        staging.rename(target)
    except OSError:
        older.rename(target)
        raise
    shutil.rmtree(older, ignore_errors=True)
