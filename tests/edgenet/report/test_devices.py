from __future__ import annotations

import pytest

from edgenet.report.devices import outside


@pytest.mark.parametrize(
    ("fraction", "told"),
    [(None, None), (1.0, None), (0.95, None), (0.85, "15% of"), (0.03, "97% of"), (0.0, "100% of")],
)
def test_what_the_fast_kernels_leave_is_told_where_it_is_more_than_a_little(
    fraction: float | None, told: str | None
) -> None:
    found = outside(fraction, tolerated=0.1)
    assert (found and found.split(" the ")[0]) == told
