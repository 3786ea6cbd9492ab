"""Reading an earlier `check --json`, with care: any file may be given, and people edit them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgenet.errors import UsageError

Document = Mapping[str, Any]
# What a value should be, in words, and whether one is.
_Field = tuple[str, Callable[[Any], bool]]

_LARGEST_CLASS = 2**31
_SHOWN = 40


def read(path: str) -> Document:
    """Reads a document that `edgenet check --json` wrote.

    Raises:
        UsageError: There is no such file, or it is something else; the message names what is wrong.
    """
    try:
        # Of bytes, json finds the encoding: some shells write UTF-16 or a byte order mark.
        document: Document = json.loads(Path(path).read_bytes())
        _require_whole(document)
    except OSError as error:
        raise UsageError(f"cannot read the baseline {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        reason = error if isinstance(error, _WrongError) else "it is no JSON"
        raise UsageError(
            f"{path} is not a baseline: {reason}: give what an earlier edgenet check --json printed"
        ) from error
    return document


class _WrongError(ValueError):
    """Something in the document is not what `check --json` writes; the message says what."""


def _require_whole(document: Any) -> None:
    """Raises `_WrongError` unless all that is compared is there, of the right type and length."""
    _require(document, "", {"images": _COUNT, "reference": _OBJECT, "results": _RESULTS})
    images, reference = document["images"], document["reference"]
    fields = dict(_RESULT)
    # An older edgenet did not tell its answers image by image.
    if "answers" in reference:
        classes, energies = _column(images, "classes", _is_class), _column(images, "sums", _is_sum)
        labels = classes if document.get("labels") is not None else _NULL
        _require(document, "", {"images_sha256": _TEXT, "labels": labels})
        answers = _column(images, "classes or null", _is_answer)
        if reference["answers"] is None:  # Of a regression.
            classes = answers = fields["agreement"] = _NULL
        _require(reference, "reference", {"answers": classes, "signal": energies})
        fields |= {"answers": answers, "noise": energies}
    for number, result in enumerate(document["results"]):
        place = f"results[{number}]"
        _require(result, place, fields)
        # Not all of them have been told from the first.
        _require(result, place, {key: told for key, told in _LIMITED.items() if key in result})


def _require(holder: Any, place: str, fields: Mapping[str, _Field]) -> None:
    if not isinstance(holder, dict):
        raise _WrongError(f"{place or 'it'} is {_shown(holder)} rather than an object")
    for name, (told, fits) in fields.items():
        where = f"{place}.{name}" if place else name
        if name not in holder:
            raise _WrongError(f"{where} is missing")
        if not fits(holder[name]):
            raise _WrongError(f"{where} is {_shown(holder[name])} rather than {told}")


def _column(count: int, what: str, fits: Callable[[Any], bool]) -> _Field:
    """A list with an entry an image."""
    return (
        f"a list of {count} {what}",
        lambda value: isinstance(value, list) and len(value) == count and all(map(fits, value)),
    )


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _within(value: Any, low: float, high: float) -> bool:
    """Whether it is a number between the two; NaN is not, nor is True."""
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _is_null(value: Any) -> bool:
    return value is None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_class(value: Any) -> bool:
    return isinstance(value, int) and _within(value, 0, _LARGEST_CLASS)


def _is_answer(value: Any) -> bool:
    return value is None or _is_class(value)


def _is_sum(value: Any) -> bool:
    return _within(value, 0, sys.float_info.max)


def _is_share(value: Any) -> bool:
    return _within(value, 0, 1)


def _is_ratio(value: Any) -> bool:
    return value is None or _within(value, -sys.float_info.max, sys.float_info.max)


_COUNT: _Field = ("a number of images", lambda value: _is_class(value) and value > 0)
_OBJECT: _Field = ("an object", lambda value: isinstance(value, dict))
_RESULTS: _Field = (
    "a list with a result or more",
    lambda value: isinstance(value, list) and bool(value),
)
_TEXT: _Field = ("text", _is_text)
_NULL: _Field = ("null", _is_null)
_RESULT: Mapping[str, _Field] = {
    **dict.fromkeys(("format", "precision", "device_used"), _TEXT),
    "top1": ("a share 0..1 or null", lambda value: value is None or _is_share(value)),
    "agreement": ("a share 0..1", _is_share),
    "sqnr_db": ("a number or null", _is_ratio),
}
_LIMITED: Mapping[str, _Field] = dict.fromkeys(("drop_points", "r2"), _RESULT["sqnr_db"])
