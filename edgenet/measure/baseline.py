"""An earlier `check --json` as the bar: what got worse since."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgenet.errors import UsageError

AGREEMENT = 0.005
"""A share that may be lost: one standard deviation of an agreement of 0.97 on 1,300 images."""

POINTS = 0.5
"""Points of top-1 that may be lost: half the 95 % interval of a drop on 1,300 images."""

DECIBELS = 1.0
"""SQNR that may be lost."""

Document = Mapping[str, Any]
_Key = tuple[str, str, str]


def read(path: str) -> Document:
    """Reads a document that `edgenet check --json` wrote.

    Raises:
        UsageError: There is no such file, or it is something else.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
        for result in document["results"]:
            _key(result)
        _ = document["images"]
    except OSError as error:
        raise UsageError(f"cannot read the baseline {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is not a baseline: edgenet check BUNDLE --json > {path} writes one"
        ) from error
    found: Document = document
    return found


def regressions(document: Document, baseline: Document) -> list[str]:
    """What got worse, one line each; none, if nothing did.

    A result regresses where it lost more than `AGREEMENT`, `POINTS` or `DECIBELS` against the
    baseline's result of the same format, precision and device, or where that is no longer there.

    Raises:
        UsageError: The two were taken on different images.
    """
    _require_same_images(document, baseline)
    ours = {_key(result): result for result in document["results"]}
    found = []
    for key, before in ((_key(result), result) for result in baseline["results"]):
        name = " ".join(key)
        if key not in ours:
            found.append(f"{name} was in the baseline and is gone")
        else:
            found += [f"{name}: {line}" for line in _worse(before, ours[key])]
    return found


def _require_same_images(document: Document, baseline: Document) -> None:
    ours, theirs = ((d["images"], d.get("images_sha256")) for d in (document, baseline))
    if ours != theirs:
        raise UsageError(
            f"the baseline was taken on {theirs[0]} images and this check on {ours[0]}, "
            "and they are not the same: give both the same --evaluate and --images"
        )


def _worse(before: Document, after: Document) -> list[str]:
    checks = (
        _lost("agreement", before, after, AGREEMENT, "{:.4f}"),
        _lost("sqnr_db", before, after, DECIBELS, "{:.1f} dB"),
        _lost("top1", before, after, POINTS / 100, "{:.2%}"),
    )
    return [check for check in checks if check]


def _lost(key: str, before: Document, after: Document, allowed: float, unit: str) -> str | None:
    # Equal to the bit has no SQNR and is better than any.
    old, new = (
        float("inf") if key == "sqnr_db" and d[key] is None else d[key] for d in (before, after)
    )
    if old is None or new is None or old == new or old - new <= allowed:
        return None
    return f"{key} fell from {unit.format(old)} to {unit.format(new)}"


def _key(result: Document) -> _Key:
    return result["format"], result["precision"], result["device_used"]
