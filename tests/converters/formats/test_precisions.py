"""The narrower precisions keep a network's answers, in every format whose engine has them."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from converters.formats import (
    LOWERINGS,
    alike,
    formats_of,
    require_formats,
)
from converters.graph import LOGITS, PROBABILITIES, Graph
from converters.passes import simplify
from edgenet.bundle import FORMATS, PRECISIONS
from edgenet.errors import UsageError
from edgenet.measure.accuracy import agreement, sqnr_db
from tests.converters.graphs import (
    answers,
    chains,
    float_answers,
    pixels,
    recipe_of,
    relative_error,
    softmax,
)
from tests.networks import Textures

INFINITE = float("inf")
# The SQNR of the logits of the tiny networks in dB, a few below what they keep.
KEPT = {"w8": 28, "dynamic": 28, "w8a16": 28}
PAIRS = [(precision, format) for precision in KEPT for format in formats_of(precision)]


@pytest.fixture(scope="module")
def found(networks, tmp_path_factory) -> dict[tuple[str, str, str], dict[str, Any]]:
    """All answers by family, precision and format."""
    folder = tmp_path_factory.mktemp("narrower")
    images = Textures.make(40, seed=3).images
    ranges = {
        family: recipe_of(network.graph, images, "min-max") for family, network in networks.items()
    }
    return {
        (family, precision, format): answers(
            network.graph,
            format,
            precision,
            ranges[family].for_precision(precision),
            network.images,
            folder,
        )
        for family, network in networks.items()
        for precision, format in PAIRS
    }


@pytest.mark.parametrize(("precision", "format"), PAIRS)
@pytest.mark.parametrize("family", ["b", "lite"])
def test_the_answers_are_kept(networks, found, family, precision, format):
    ours = found[family, precision, format]
    assert ours[LOGITS].dtype == np.float32
    assert agreement(networks[family].keras, ours[LOGITS]) >= 0.95
    assert sqnr_db(networks[family].keras, ours[LOGITS]) > KEPT[precision]
    assert ours[PROBABILITIES] == pytest.approx(softmax(ours[LOGITS]), abs=1e-5)


# Weights that are rounded alike leave nothing but the order of sums; OpenVINO rounds to 16 bits at
# the inputs of convolutions alone.
@pytest.mark.parametrize(("precision", "alike"), [("w8", 80), ("w8a16", 40)])
@pytest.mark.parametrize("pair", list(combinations(FORMATS, 2)), ids="-".join)
@pytest.mark.parametrize("family", ["b", "lite"])
def test_a_precision_is_one_network_in_every_format(found, family, precision, alike, pair):
    first, second = (found[family, precision, format] for format in pair)
    assert (sqnr_db(first[LOGITS], second[LOGITS]) or INFINITE) > alike


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=chains())
@pytest.mark.parametrize(("precision", "format"), PAIRS)
def test_any_network_runs(tmp_path: Path, precision: str, format: str, graph: Graph):
    graph = simplify(graph)
    images = pixels(4, *graph.input_shape[1:3])
    recipe = recipe_of(graph, images, "min-max").for_precision(precision)
    expected = float_answers(graph, images)[LOGITS]
    ours = answers(graph, format, precision, recipe, images, tmp_path)[LOGITS]
    assert relative_error(expected, ours) < 0.1


def test_every_precision_has_a_format():
    assert tuple(LOWERINGS) == FORMATS
    assert formats_of("bf16") == ("openvino",)
    assert formats_of("dynamic") == ("tflite",)
    for precision in set(PRECISIONS) - {"bf16", "dynamic"}:
        assert formats_of(precision) == FORMATS
        require_formats(precision, FORMATS)


@pytest.mark.parametrize(("precision", "format"), [("bf16", "tflite"), ("dynamic", "onnx")])
def test_a_format_without_the_precision_is_refused_and_the_right_one_named(precision, format):
    (right,) = formats_of(precision)
    with pytest.raises(UsageError, match=f"{format} has no {precision}: take --to {right}"):
        require_formats(precision, [right, format])


def test_formats_are_together_that_hold_the_same_tensors():
    assert alike(LOWERINGS) == (("tflite", "onnx"), ("openvino",))
    assert alike(["openvino", "onnx"]) == (("openvino",), ("onnx",))
    assert alike(["openvino"]) == (("openvino",),)
