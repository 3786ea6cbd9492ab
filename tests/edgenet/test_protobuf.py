"""The wire format: what is written is read back, and what is not changed stays to the byte."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet import protobuf

NUMBERS = st.integers(1, 2**29 - 1)


@given(st.lists(st.tuples(NUMBERS, st.binary(max_size=300) | st.integers(0, 2**64 - 1))))
def test_fields_are_read_as_they_were_written(written):
    parts = [
        protobuf.message(field, value)
        if isinstance(value, bytes)
        else protobuf.number(field, value)
        for field, value in written
    ]
    found = list(protobuf.fields(b"".join(parts)))
    assert [whole for _, whole, _ in found] == parts
    assert [field for field, _, _ in found] == [field for field, _ in written]
    assert [inner for _, _, inner in found] == [
        value if isinstance(value, bytes) else b"" for _, value in written
    ]


def test_only_the_path_is_changed():
    fixed = protobuf.number(3, 300) + b"\x21" + bytes(8) + b"\x2d" + bytes(4)
    inner = protobuf.message(1, b"old") + protobuf.message(2, b"old")
    data = fixed + protobuf.message(7, inner) + protobuf.message(1, b"old")
    found = protobuf.edited(data, (7, 2), lambda old: old + bytes(200))
    changed = protobuf.message(1, b"old") + protobuf.message(2, b"old" + bytes(200))
    assert found == fixed + protobuf.message(7, changed) + protobuf.message(1, b"old")


@pytest.mark.parametrize(
    ("data", "error"), [(b"\x0a\x05ab", IndexError), (b"\x80", IndexError), (b"\x0b", ValueError)]
)
def test_what_is_no_message_is_an_error(data, error):
    with pytest.raises(error):
        list(protobuf.fields(data))
