"""Writes a bundle beside its place and renames it, so that it appears whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from threading import Lock
from typing import Any

from edgenet.bundle import MANIFEST
from edgenet.errors import EdgenetError, UsageError

_OLDER = "-older"
# The longest name, in bytes, that the names beside it repeat: file systems take 143 to 255.
_REPEATED = 64
# The errors of a path that cannot exist.
_NO_PLACE = (errno.EEXIST, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR)
# What renaming fails with where another process has taken a place, or taken away what was there.
_OVERTAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT)

# What writers of this process have at work; the lock is theirs while folders come, move and go.
_live: set[Path] = set()
_moving = Lock()


@contextmanager
def writing(target: Path) -> Iterator[Path]:
    """A folder to write a bundle into, which takes the place of `target` when the block ends well.

    When it does not, the folder goes, and so do the parents made for it. What a killed process left
    of an earlier try is mended first. An older bundle in the same place stays until the new one is
    whole; of several threads or processes that write to one place, the last to end has it.

    Raises:
        UsageError: `target` is there and is no bundle, or holds more than one: it is not edgenet's
            to replace. Or it cannot be renamed, or nothing can be made there.
        EdgenetError: Another process changed it at that moment, where none can be kept from it.
    """
    # Of a link, the folder behind it is replaced. Path.resolve fails on links in a circle.
    target = Path(os.path.realpath(target))
    made: list[Path] = []
    # The process's number is no name of its own: every container's first has 1.
    staging = target.parent / f"{_prefix(target)}{os.getpid()}-{token_hex(4)}"
    with ExitStack() as at_work:
        try:
            _make_parents(target, made)
            with _alone(target.parent):
                # Who made them may have taken them away again meanwhile.
                _make_parents(target, made)
                _refuse_foreign(target)
                _mend(target)
                _live.add(staging)
                staging.mkdir()
                at_work.enter_context(_held(staging))
            yield staging
            with _alone(target.parent):
                _replace(target, staging)
        finally:
            with _alone(target.parent):
                shutil.rmtree(staging, ignore_errors=True)
                _live.discard(staging)
                for parent in made:
                    with suppress(OSError):  # Not empty: the bundle is there, or something else.
                        parent.rmdir()


def _prefix(target: Path) -> str:
    """What the names beside a place begin with; a long name's digest leaves room for the rest."""
    name = os.fsencode(target.name)
    known = target.name if len(name) <= _REPEATED else sha256(name).hexdigest()
    return f".{known}.partial-"


def _make_parents(target: Path, made: list[Path]) -> None:
    """Makes the folders that `target` lies in; adds to `made` those that were not there.

    Raises:
        UsageError: There can be none, or nothing of that name in them.
    """
    try:
        with suppress(FileNotFoundError):
            target.stat()
        made += [parent for parent in target.parents if not parent.exists()]
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        if error.errno not in _NO_PLACE:
            raise
        raise UsageError(
            f"{target} cannot be made ({error.strerror}): name another place with -o"
        ) from error


@contextmanager
def _alone(parent: Path) -> Iterator[None]:
    """Keeps other threads and, where the system can, other processes from moving bundles there."""
    with _moving, _held(parent):
        yield


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Locks a folder itself, where the system can, so that no file is left behind."""
    with ExitStack() as stack:
        # No folder is opened on Windows, and not every network's file system locks one.
        with suppress(ImportError, OSError):
            stack.enter_context(_locked(folder))
        yield


@contextmanager
def _locked(folder: Path, waits: bool = True) -> Iterator[None]:
    import fcntl

    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(opened)


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
    pattern = re.compile(rf"({re.escape(_prefix(target))}(\d+)-[0-9a-f]+)({_OLDER})?")
    for entry in target.parent.iterdir():
        match = pattern.fullmatch(entry.name)
        if match is None or entry.with_name(match[1]) in _live:
            continue
        if _alive(int(match[2])) or _is_locked(entry):
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


def _is_locked(folder: Path) -> bool:
    """Whether a process writes a folder, perhaps of another container, with numbers of its own."""
    try:
        with _locked(folder, waits=False):
            return False
    except BlockingIOError:
        return True
    except (ImportError, OSError):
        return False


def _replace(target: Path, staging: Path) -> None:
    """Puts `staging` in the place of `target`.

    Raises:
        EdgenetError: Another process was faster.
    """
    try:
        _rename(staging, target)
    except OSError as error:
        if error.errno not in _OVERTAKEN:
            raise
        raise EdgenetError(
            f"another process changed {target} at the same moment: write it again, or to a place "
            "of its own with -o"
        ) from error


def _rename(staging: Path, target: Path) -> None:
    """Moves one folder into another's place: rename(2) replaces none that holds anything."""
    if not target.exists():
        staging.rename(target)
        return
    older = staging.with_name(staging.name + _OLDER)
    try:
        target.rename(older)
        staging.rename(target)
    finally:
        # Signals raise as well, between any two steps.
        if not target.exists():
            older.rename(target)
        shutil.rmtree(older, ignore_errors=True)
