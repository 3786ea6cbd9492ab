from __future__ import annotations

from edgenet.errors import DeviceError
from edgenet.runtime.placement import PartialError, Placement, counts, share, table, tally

CONV = Placement("Conv", "gpu", 21)
REFUSED = tuple(Placement(name, "cpu", 2, "no kernel") for name in ("A", "B", "C", "D", "E"))


def test_a_refusal_names_what_would_not_go_and_the_next_command() -> None:
    error = PartialError("gpu", "WebGPU", (CONV, *REFUSED))
    assert error.exit_code == DeviceError.exit_code == 4
    assert "does not run 10 of 31 operators: A, B, C and 2 more" in str(error)
    assert "--allow-fallback" in str(error)
    assert "\n" not in str(error)
    assert error.details == table((CONV, *REFUSED))


def test_the_table_tells_where_each_would_run() -> None:
    uncounted = Placement("F", "cpu", None)
    lines = [line.split() for line in table((CONV, REFUSED[0], uncounted)).splitlines()[2:]]
    assert lines == [["Conv", "21", "gpu"], ["A", "2", "cpu", "no", "kernel"], ["F", "?", "cpu"]]


def test_where_placements_are_not_counted_the_engines_own_numbers_are_told() -> None:
    uncounted = (Placement("A", "cpu", None, "no kernel"), CONV)
    assert "does not run some operators: A;" in str(PartialError("gpu", "WebGPU", uncounted))
    told = PartialError("gpu", "WebGPU", uncounted, (21, 10))
    assert "does not run 10 of 31 operators: A;" in str(told)


def test_operators_are_counted_by_type_and_place() -> None:
    placements = tally([("Conv", "gpu"), ("Add", "cpu"), ("Conv", "gpu"), ("Conv", "cpu")])
    assert placements == (
        Placement("Add", "cpu", 1),
        Placement("Conv", "cpu", 1),
        Placement("Conv", "gpu", 2),
    )
    assert counts(placements, "gpu") == (2, 2)
    assert share(counts(placements, "gpu")) == 0.5
    assert share(counts((), "gpu")) is None


def test_an_engine_that_names_nothing_is_told_so() -> None:
    assert "some operators: it names none" in str(PartialError("npu", "X", ()))
