"""Protobuf's wire format, as far as files need it whose own packages may not be installed.

Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5


def number(field: int, value: int) -> bytes:
    """A field that holds an integer."""
    return _varint(field << 3 | _VARINT) + _varint(value)


def message(field: int, value: bytes) -> bytes:
    """A field that holds bytes, text or a message."""
    return _varint(field << 3 | _MESSAGE) + _varint(len(value)) + value


def fields(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """A message's fields, in order: the number, the whole field, and what a `message` holds.

    Raises:
        ValueError: `data` is no message, or one of the obsolete groups.
        IndexError: It ends within a field.
    """
    at = 0
    while at < len(data):
        start = at
        key, at = _read(data, at)
        at, ends = _span(data, at, key & 7)
        if ends > len(data):
            raise IndexError("a field ends behind its message")
        yield key >> 3, data[start:ends], data[at:ends] if key & 7 == _MESSAGE else b""
        at = ends


def edited(data: bytes, path: Sequence[int], change: Callable[[bytes], bytes]) -> bytes:
    """A message whose messages at a path of field numbers went through `change`."""
    if not path:
        return change(data)
    return b"".join(
        message(field, edited(inner, path[1:], change)) if field == path[0] else whole
        for field, whole, inner in fields(data)
    )


def _span(data: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where a field's content begins and ends."""
    if kind == _VARINT:
        return at, _read(data, at)[1]
    if kind == _MESSAGE:
        size, at = _read(data, at)
        return at, at + size
    if kind in (_EIGHT_BYTES, _FOUR_BYTES):
        return at, at + (8 if kind == _EIGHT_BYTES else 4)
    raise ValueError(f"protobuf has no wire type {kind} here")


def _read(data: bytes, at: int) -> tuple[int, int]:
    """A varint, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    parts = []
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
