from __future__ import annotations

import argparse

import pytest

from edgenet.cli.lists import values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tflite", ["tflite"]),
        ("tflite,onnx", ["tflite", "onnx"]),
        (" tflite , onnx", ["tflite", "onnx"]),
        ("tflite,", ["tflite", ""]),
    ],
)
def test_values_stand_between_commas(text: str, expected: list[str]) -> None:
    assert values(text) == expected


@pytest.mark.parametrize("text", ["", " "])
def test_nothing_is_not_taken_for_everything(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="it is empty"):
        values(text)
