from __future__ import annotations

from typing import Any

import pytest

from edgenet.runtime.tflite import delegated_fraction


class Listing:
    """An interpreter's list of operators, as LiteRT 2.3 and tflite-runtime 2.14 give it."""

    def __init__(self, *operators: tuple[str, list[int], list[int]]) -> None:
        self._operators = operators

    def _get_ops_details(self) -> list[dict[str, Any]]:
        return [
            {"index": index, "op_name": name, "inputs": inputs, "outputs": outputs}
            for index, (name, inputs, outputs) in enumerate(self._operators)
        ]


CHAIN = [("CAST", [0], [1]), ("CONV_2D", [1, 9, 8], [2]), ("ADD", [2, 1], [3])]


@pytest.mark.parametrize(
    ("parts", "fraction"),
    [
        ([], 0),
        ([("DELEGATE", [0, 8, 9], [3])], 1),
        ([("DELEGATE", [1, 8, 9], [3])], 2 / 3),
        ([("DELEGATE", [0], [1]), ("DELEGATE", [1, 2], [3])], 2 / 3),
    ],
)
def test_operators_between_a_parts_borders_are_delegated(
    parts: list[tuple[str, list[int], list[int]]], fraction: float
) -> None:
    assert delegated_fraction(Listing(*CHAIN, *parts)) == fraction


def test_an_interpreter_that_does_not_tell_gives_none() -> None:
    assert delegated_fraction(object()) is None
