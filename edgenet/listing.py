"""`labels.csv`: the images of a folder in its order, each with its class or its values."""

from __future__ import annotations

import csv
import math
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from edgenet.errors import UsageError

LABELS_CSV = "labels.csv"

_FILE, _CLASS = "file", "class_index"


@dataclass(frozen=True)
class Listing:
    """What a folder tells of its images: their paths in it, and of each the class or the values.

    Attributes:
        names: The images' paths relative to the folder, with forward slashes.
        labels: Their class indices, or None where values or nothing are known.
        values: For each image one number for each of `columns`, or None.
        columns: What the values are called.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...] | None = None
    values: tuple[tuple[float, ...], ...] | None = None
    columns: tuple[str, ...] = ()


def read(root: Path) -> Listing:
    """Reads the `labels.csv` of a folder.

    Its columns are `file` and either `class_index` or, for a regression, one for each value. One
    without a name, such as the index that pandas writes, is passed over.

    Raises:
        UsageError: It cannot be followed; the message names the line.
        OSError: It cannot be read.
    """
    path = root / LABELS_CSV
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            columns = _columns(path, list(reader.fieldnames or ()))
            rows = [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} is not a CSV file in UTF-8 ({error})") from error
    if not rows:
        raise UsageError(f"{path} lists no image")
    names = tuple(_name(root, line, row) for line, row in rows)
    _require_once(path, names)
    if not columns:
        return Listing(names, labels=tuple(_class(path, line, row) for line, row in rows))
    values = tuple(
        tuple(_value(path, line, row, column) for column in columns) for line, row in rows
    )
    return Listing(names, values=values, columns=columns)


def _columns(path: Path, header: list[str]) -> tuple[str, ...]:
    """What the values are called; none where there are classes."""
    others = [name for name in header if name not in (_FILE, "")]
    if _FILE not in header or not others or len({*header}) < len(header):
        raise UsageError(
            f'{path} must begin with the header line "{_FILE},{_CLASS}" or, of a regression, with '
            f'"{_FILE}" and the names of its values'
        )
    return () if _CLASS in others else tuple(others)


def _name(root: Path, line: int, row: dict[str, str]) -> str:
    name = row[_FILE]
    if not name:
        raise UsageError(f"line {line} of {root / LABELS_CSV} needs a {_FILE}")
    if not (root / name).is_file():
        raise UsageError(f"line {line} of {root / LABELS_CSV} names {name!r}, which is not there")
    return name


def _require_once(path: Path, names: tuple[str, ...]) -> None:
    first, count = Counter(names).most_common(1)[0]
    if count > 1:
        raise UsageError(f"{path} names {first!r} {count} times: an image is listed once")


def _class(path: Path, line: int, row: dict[str, str]) -> int:
    index = row[_CLASS]
    if index is None:
        raise UsageError(f"line {line} of {path} needs a {_CLASS}")
    if not re.fullmatch(r"[0-9]{1,9}", index.strip()):
        raise UsageError(
            f"line {line} of {path}: the {_CLASS} must be a whole number from 0, not {index!r}"
        )
    return int(index)


def _value(path: Path, line: int, row: dict[str, str], column: str) -> float:
    text = row[column]
    try:
        value = float(text or "")
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UsageError(f"line {line} of {path}: {column!r} must be a number, not {text!r}")
    return value
