from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.measure.speeds import split_times

TIMES = st.dictionaries(st.text(min_size=1).filter("emulated".__ne__), st.floats(0, 1e6))


@given(TIMES)
def test_hardware_keeps_its_times(times: dict[str, float]) -> None:
    assert split_times("hardware", times) == {**times, "emulated": None}


@pytest.mark.parametrize("kind", ["software", "emulator", "compiler"])
@given(times=TIMES)
def test_nothing_else_has_a_time_of_hardware(kind: str, times: dict[str, float]) -> None:
    found = split_times(kind, times)
    assert found.pop("emulated") == times
    assert set(found) == set(times)
    assert all(value is None for value in found.values())
