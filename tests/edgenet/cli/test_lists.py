from __future__ import annotations

import pytest

from edgenet.cli.lists import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tflite", ["tflite"]),
        ("tflite,onnx", ["tflite", "onnx"]),
        (" tflite , onnx", ["tflite", "onnx"]),
        ("tflite,", ["tflite", ""]),
        (" ", []),
    ],
)
def test_values_stand_between_commas(text: str, expected: list[str]) -> None:
    assert values(text) == expected
