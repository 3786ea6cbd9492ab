"""A document is JSON, whatever is in it, and people can read it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.report.document import dumps

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    PLAIN | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), VALUES))
def test_what_is_written_is_read(document):
    assert json.loads(dumps(document)) == document


def test_a_list_of_numbers_takes_one_line_and_a_list_of_objects_one_a_key():
    assert dumps({"a": [1, 2.5, None], "b": [{"c": "d"}], "e": {}, "f": []}) == (
        '{\n "a": [1, 2.5, null],\n "b": [\n  {\n   "c": "d"\n  }\n ],\n "e": {},\n "f": []\n}'
    )


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_word_for_is_refused(value):
    with pytest.raises(ValueError, match="JSON"):
        dumps({"a": [value]})
