"""The schema of a manifest's JSON, as far as its readers rely on it, and a check against it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_NUMBER = (int, float)
_FILE = {"path": str, "bytes": int, "sha256": str}
_ARTIFACT = {
    "format": str,
    "precision": str,
    "files": [_FILE],
    "verified": {"images": int, "agreement?": _NUMBER, "sqnr_db?": _NUMBER, "max_error": _NUMBER},
}
SCHEMA = {
    "source": dict,
    "precision": str,
    "input": {
        "name": str,
        "shape": [int],
        "dtype": str,
        "layout": str,
        "preprocessing": str,
        "crop_fraction": _NUMBER,
        "interpolation": str,
    },
    "outputs": [{"name": str, "shape": [int]}],
    "labels?": _FILE,
    "recipe?": {"ranges": dict, "rewrites": {"*": dict}},
    "calibration?": dict,
    "evaluation?": {
        "images": int,
        "sha256": str,
        "reference_top1?": _NUMBER,
        "reference_mae?": _NUMBER,
        "worst_value?": str,
        "results": [
            {
                "format": str,
                "top1?": _NUMBER,
                "drop_points?": _NUMBER,
                "drop_interval?": [_NUMBER],
                "mcnemar_p?": _NUMBER,
                "agreement?": _NUMBER,
                "sqnr_db?": _NUMBER,
                "r2?": _NUMBER,
                "mean_error?": _NUMBER,
                "mae?": _NUMBER,
                "mae_growth?": _NUMBER,
                "mae_growth_interval?": [_NUMBER],
            }
        ],
    },
    "artifacts": [_ARTIFACT],
    "reference?": _ARTIFACT,
    "versions": {"*": str},
    "target": dict,
    "compiled": [
        {
            "device": str,
            "format": str,
            "compiler": str,
            "file": _FILE,
            "report": dict,
            "kind": str,
        }
    ],
}
"""What a manifest is, as `misfit` takes it."""


def misfit(value: Any, kind: Any) -> str | None:
    """The first place of a JSON value that is of another kind, as in "artifacts.0.files", or None.

    Args:
        value: What `json.loads` returned.
        kind: A type or several; a list with the kind of every element; or a dict of kinds by key,
            of which "*" is every key, and what a key with "?" holds may be null. A key may be
            absent, and others may be there.
    """
    return next(_misfits(value, kind, ""), None)


def _misfits(value: Any, kind: Any, place: str) -> Iterator[str]:
    if isinstance(kind, list) and isinstance(value, list):
        for index, element in enumerate(value):
            yield from _misfits(element, kind[0], f"{place}.{index}")
    elif isinstance(kind, dict) and isinstance(value, dict):
        for key, inner in kind.items():
            for name in value if key == "*" else {key.rstrip("?")} & value.keys():
                if value[name] is not None or not key.endswith("?"):
                    yield from _misfits(value[name], inner, f"{place}.{name}")
    elif isinstance(kind, list | dict) or not isinstance(value, kind):
        yield place.lstrip(".") or "all of it"
