"""A baseline fails what got worse, and nothing else."""

from __future__ import annotations

import copy

import pytest

from edgenet.errors import UsageError
from edgenet.measure.baseline import regressions
from tests.documents import check_document


def changed(key: str, value: float | None, index: int = 0) -> dict:
    document = check_document()
    document["results"][index][key] = value
    return document


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("agreement", 0.97, "tflite int8 cpu: agreement fell from 0.9800 to 0.9700"),
        ("sqnr_db", 18.0, "tflite int8 cpu: sqnr_db fell from 20.0 dB to 18.0 dB"),
        ("top1", 0.73, "tflite int8 cpu: top1 fell from 74.00% to 73.00%"),
    ],
)
def test_each_loss_is_told(key, value, words):
    assert regressions(changed(key, value), check_document()) == [words]


@pytest.mark.parametrize(
    ("key", "value"),
    [("agreement", 0.976), ("agreement", 0.99), ("sqnr_db", 19.1), ("sqnr_db", None), ("top1", 1)],
)
def test_noise_and_gains_pass(key, value):
    assert regressions(changed(key, value), check_document()) == []


def test_a_file_equal_to_the_bit_that_no_longer_is_has_regressed():
    (line,) = regressions(check_document(), changed("sqnr_db", None))
    assert "sqnr_db fell from inf dB to 20.0 dB" in line


def test_a_format_that_is_gone_has_regressed_and_a_new_one_has_not():
    fewer = check_document()
    del fewer["results"][1]
    assert regressions(fewer, check_document()) == ["onnx int8 cpu was in the baseline and is gone"]
    assert regressions(check_document(), fewer) == []


@pytest.mark.parametrize("key", ["images", "images_sha256"])
def test_other_images_are_no_baseline(key):
    other = copy.deepcopy(check_document())
    other[key] = 99 if key == "images" else "1" * 64
    with pytest.raises(UsageError, match="give both the same --evaluate"):
        regressions(check_document(), other)
