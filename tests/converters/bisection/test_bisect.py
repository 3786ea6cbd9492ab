"""Bisection as a whole: a tensor that was spoiled is found, and what it takes to mend it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from converters.bisection.bisect import Findings, Row, bisect
from converters.bisection.compare import logits
from converters.bisection.network import Step
from converters.bisection.search import Goal, Restored, Score
from edgenet.errors import UsageError
from edgenet.measure.accuracy import sqnr_db
from tests.converters.bisection.conftest import FORMATS, opened

# What makes the tensor, and what reads it: in OpenVINO's files the reader alone rounds it.
# Elsewhere neither of the two mends anything alone, and they are of two blocks.
SPOILED = "block3a_project_bn"
ISLAND = {
    "tflite": ("block3a_project_conv", "top_conv"),
    "onnx": ("block3a_project_conv", "top_conv"),
    "openvino": ("top_conv",),
}


@pytest.mark.parametrize("format", FORMATS)
def test_a_spoiled_tensor_is_found_and_mended(frozen, textures, format):
    lite = frozen["lite"]
    sound, reference = lite.pair(format, "tflite")
    reachable = sqnr_db(logits(reference, textures), logits(sound, textures)) - 1
    low, high = lite.recipe.ranges[SPOILED]
    ranges = {**lite.recipe.ranges, SPOILED: (40 * low, 40 * high)}
    spoiled, _ = lite.pair(format, "tflite", replace(lite.recipe, ranges=ranges))

    found = bisect(spoiled, reference, textures, Goal(0.0, reachable))

    assert found.score.sqnr_db < reachable
    assert found.restored.reached
    assert found.layers == ISLAND[format]
    worst = min((r for r in found.rows if r.own_sqnr_db is not None), key=lambda r: r.own_sqnr_db)
    assert worst.step.layer in ISLAND[format]
    assert 0 < found.float_macs_share < 0.5
    assert found.images == len(textures)


def test_what_stands_before_the_spoiled_tensor_is_as_it_was(frozen, textures):
    lite = frozen["lite"]
    low, high = lite.recipe.ranges[SPOILED]
    ranges = {**lite.recipe.ranges, SPOILED: (40 * low, 40 * high)}
    goal = Goal(0.0, 0.0)
    sound = bisect(*lite.pair("tflite", "tflite"), textures, goal)
    spoiled = bisect(
        *lite.pair("tflite", "tflite", replace(lite.recipe, ranges=ranges)), textures, goal
    )
    place = [row.step.layer for row in sound.rows].index("block3a_project_conv")
    ratios = [[row.sqnr_db for row in found.rows] for found in (sound, spoiled)]
    assert ratios[0][:place] == ratios[1][:place]
    assert ratios[0][place] > ratios[1][place] + 10


@pytest.mark.parametrize("format", FORMATS)
def test_products_that_leave_16_bits_are_told(frozen, textures, tmp_path, format):
    lite = frozen["lite"]
    sound = bisect(*lite.pair(format, "tflite"), textures, Goal(0.0, 0.0))
    wide = lite.overflowing(tmp_path).pair(format, "tflite")
    found = bisect(*wide, textures, Goal(0.0, 0.0))
    assert not any(row.overflows for row in sound.rows)
    told = {row.step.layer for row in found.rows if row.overflows}
    # LiteRT adds in 32 bits, and so do all engines' depthwise kernels.
    assert told == set() if format == "tflite" else "stem_conv" in told
    assert not any("dwconv" in layer for layer in told)


def test_a_float_file_is_refused(frozen, textures):
    float_file = frozen["lite"].file("tflite", "fp32")
    network = opened("tflite", float_file)
    with pytest.raises(UsageError, match="nothing in the file computes in int8"):
        bisect(network, network, textures, Goal())


def test_an_int8_reference_is_refused(frozen, textures):
    network, _ = frozen["lite"].pair("tflite", "tflite")
    with pytest.raises(UsageError, match="--reference"):
        bisect(network, network, textures, Goal())


def test_another_networks_reference_is_refused(frozen, textures, tmp_path):
    network, _ = frozen["lite"].pair("tflite", "tflite")
    small = frozen["lite"]
    other = replace(small, graph=replace(small.graph, input_shape=(1, 96, 96, 3)), folder=tmp_path)
    reference = opened("tflite", other.file("tflite", "fp32"))
    with pytest.raises(UsageError, match="takes 96×96 images"):
        bisect(network, reference, textures, Goal())


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(("family", "other"), [("b", "lite"), ("lite", "b")])
def test_a_network_of_the_same_size_and_classes_is_refused(frozen, textures, family, other, format):
    reference = opened("tflite", frozen[other].file("tflite", "fp32"))
    network = opened(format, frozen[family].file(format, "int8"), reference)
    with pytest.raises(UsageError, match=r"the reference is another network.*--reference"):
        bisect(network, reference, textures, Goal())


def test_a_file_whose_answers_are_lost_is_no_other_network(frozen, textures):
    lite = frozen["lite"]
    low, high = lite.recipe.ranges[SPOILED]
    ranges = {**lite.recipe.ranges, SPOILED: (4000 * low, 4000 * high)}
    broken, reference = lite.pair("tflite", "tflite", replace(lite.recipe, ranges=ranges))
    found = bisect(broken, reference, textures, Goal(0.9, 20.0))
    assert found.score.sqnr_db < 3
    assert found.restored.reached


@pytest.mark.parametrize("scaling", [("MUL", 0), ("Conv", 100)])
def test_what_a_sigmoid_forgives_is_not_among_the_worst(scaling):
    """(k · x) · σ(x): x may be cut off where σ is 0, and the k · x that it is made of with it."""
    kinds = [("CONV_2D", 900), scaling, ("LOGISTIC", 0), ("MUL", 0), ("Conv", 900), ("Add", 0)]
    own = [3.8, 5.6, 48.0, 27.5, 20.0, 30.0]
    rows = tuple(
        Row(Step(kind, kind, kind, kind, 100, macs, True), None, ratio, False, False)
        for (kind, macs), ratio in zip(kinds, own, strict=True)
    )
    score, goal = Score(1.0, 20.0), Goal(0.99, 20.0)
    found = Findings(rows, 1, score, goal, Restored((), score, goal, True), 0.0, False)
    assert [row.own_sqnr_db for row in found.worst] == [20.0, 27.5, 30.0, 48.0]
