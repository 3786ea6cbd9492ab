"""Every format lowers one decision: float answers are Keras's, int8 answers one another's."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

from converters.formats import LOWERINGS, formats_of, lower
from converters.freeze import freeze
from converters.graph import FEATURES, LOGITS, PROBABILITIES, Graph, Padding
from converters.passes import simplify
from converters.scheme.recipe import Recipe
from edgenet.bundle import PRECISIONS
from edgenet.measure.accuracy import agreement, sqnr_db
from tests.converters.graphs import (
    Chain,
    answers,
    chains,
    float_answers,
    pixels,
    recipe_of,
    relative_error,
    softmax,
)

FORMATS = tuple(LOWERINGS)
FAMILIES = ("b", "lite")
INFINITE = float("inf")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def three_at_once(tiny_models) -> Graph:
    """The SiLU network with a batch of three."""
    import keras

    return freeze(keras.saving.load_model(tiny_models["b"], compile=False), batch=3)


@pytest.fixture(scope="module")
def int8(networks, tmp_path_factory) -> dict[str, dict[str, Any]]:
    """The int8 answers by family and format."""
    folder = tmp_path_factory.mktemp("int8")
    return {
        family: {
            format: answers(
                network.graph, format, "int8", network.recipe, network.images, folder / family
            )
            for format in FORMATS
        }
        for family, network in networks.items()
        if not (folder / family).mkdir()
    }


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("family", FAMILIES)
# Measured: at most 3e-5 of logits of about 10; half-precision weights err by up to 2e-2.
@pytest.mark.parametrize(("precision", "error"), [("fp32", 2e-4), ("fp16", 5e-2)])
def test_float_answers_are_keras(networks, tmp_path, format, family, precision, error):
    network = networks[family]
    found = answers(network.graph, format, precision, None, network.images, tmp_path)
    assert found[LOGITS].dtype == np.float32
    assert np.abs(found[LOGITS] - network.keras).max() < error
    assert found[PROBABILITIES] == pytest.approx(softmax(found[LOGITS]), abs=1e-5)
    assert found[FEATURES].shape == (48, network.graph.shapes[FEATURES][1])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("family", FAMILIES)
def test_int8_keeps_the_answers(networks, int8, format, family):
    found = int8[family][format]
    assert agreement(networks[family].keras, found[LOGITS]) >= 0.95
    assert sqnr_db(networks[family].keras, found[LOGITS]) > 12
    assert found[PROBABILITIES] == pytest.approx(softmax(found[LOGITS]), abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pair", list(combinations(FORMATS, 2)), ids="-".join)
def test_int8_is_one_network_in_every_format(int8, family, pair):
    first, second = (int8[family][format] for format in pair)
    # One image may lie so near the border of two classes that the rest of a sum decides.
    assert agreement(first[LOGITS], second[LOGITS]) >= 1 - 1 / len(first[LOGITS])
    for output in (LOGITS, FEATURES):
        assert (sqnr_db(first[output], second[output]) or INFINITE) > 18


def odd_padding(chain: Chain) -> None:
    """ZeroPadding2D((1, 1)) before a convolution of stride 2: no engine's SAME."""
    chain.pad(Padding(1, 1, 1, 1)).convolution(8, (3, 3), (2, 2), Padding())
    chain.pad(Padding(1, 1, 1, 1)).convolution(
        kernel=(3, 3), strides=(2, 2), padding=Padding(), depthwise=True, function="relu6"
    )


def lonely_pad(chain: Chain) -> None:
    """Two read the padded map, so that it stays."""
    source = chain.pad(Padding(0, 1, 2, 1)).last
    left = chain.convolution(8, (3, 3)).last
    chain.last = source
    chain.convolution(8, (3, 3), function="relu").plus(left)


def tanh(chain: Chain) -> None:
    chain.convolution(8, (3, 3)).activation("tanh")


def smooth(chain: Chain) -> None:
    for function in ("elu", "gelu", "gelu_tanh"):
        chain.convolution(8, (3, 3)).activation(function)


def leaky_relu(chain: Chain) -> None:
    chain.convolution(8, (3, 3)).leaky_relu(0.3)


def attention(chain: Chain) -> None:
    """Gates by position, by channel and position, and by one number for the whole map."""
    source = chain.convolution(8, (3, 3)).activation("silu").last
    chain.convolution(1, (3, 3)).activation("sigmoid").times(source)
    by_position = chain.convolution(1, (3, 3)).last
    chain.last = source
    chain.pool(keep=True).convolution(8).plus(by_position).activation("sigmoid").times(source)
    source = chain.convolution(8, (3, 3)).last
    chain.pool(keep=True).convolution(1).activation("sigmoid").times(source)


def unfused_relus(chain: Chain) -> None:
    skip = chain.convolution(8, (3, 3)).last
    chain.convolution(8).plus(skip).activation("relu")
    chain.convolution(8).plus(skip).activation("relu6")


def flattened_map(chain: Chain) -> None:
    chain.convolution(2, (3, 3), (4, 4)).reshape(3 * 4 * 2).dense(8, "relu").reshape(1, 1, 8)


def reshaped_map(chain: Chain) -> None:
    chain.convolution(8, (3, 3)).reshape(11, 13, 8).convolution(4, (3, 3))


def dead_channels(chain: Chain) -> None:
    chain.convolution(8, (3, 3)).affine([1, 1, 1e-12, 0, 1, 1, 1e-30, 1], [0, 3, 3, 3, 0, 0, -3, 0])
    chain.activation("silu").convolution(8)


def hidden_affine(chain: Chain) -> None:
    skip = chain.convolution(8, (3, 3)).activation("silu").last
    chain.affine().plus(skip)


def quiet_channels(chain: Chain) -> None:
    """BatchNormalization that nothing takes in makes a channel as loud as the others are."""
    factors = np.array([1, 1, 1, 1, 1, 1, 1, 50])
    skip = chain.convolution(8, (3, 3)).last
    chain.convolution(8, (3, 3)).affine(1 / factors).activation("relu")
    chain.affine(factors).plus(skip)


def quiet_features(chain: Chain) -> None:
    factors = np.array([1, 1, 1, 1, 1, 1, 1, 50])
    chain.convolution(8, (3, 3)).affine(1 / factors).activation("relu").pool()
    chain.affine(factors).activation("relu").dense(8).reshape(1, 1, 8)


def inner_softmax(chain: Chain) -> None:
    """As a new head on another's probabilities has it."""
    chain.pool().dense(8).activation("softmax").dense(8).reshape(1, 1, 8)


PARTS = [
    *(odd_padding, lonely_pad, tanh, smooth, leaky_relu, attention, unfused_relus),
    *(flattened_map, reshaped_map, inner_softmax),
    *(dead_channels, hidden_affine, quiet_channels, quiet_features),
]


def with_all_parts() -> Graph:
    """A network with every operator that a lowering knows."""
    chain = Chain(11, 13, seed=4).normalize()
    for part in (odd_padding, lonely_pad, tanh, smooth, leaky_relu, unfused_relus, hidden_affine):
        part(chain)
    quiet_channels(chain)
    chain.gate().activation("silu")
    return simplify(chain.head())


def digests(graph: Graph, recipe: Recipe, folder: Path) -> dict[str, str]:
    """Of every file in every precision."""
    found = {}
    wide = replace(recipe, activation_bits=16)
    recipes = {"int8": recipe, "int8-mixed": in_part(graph, recipe), "w8a16": wide}
    for precision in PRECISIONS:
        for format in formats_of(precision):
            home = folder / precision / format
            home.mkdir(parents=True)
            paths = lower(graph, format, precision, recipes.get(precision), home)
            names = {path.relative_to(folder).as_posix(): path for path in paths}
            found |= {n: hashlib.sha256(p.read_bytes()).hexdigest() for n, p in names.items()}
    return found


def in_part(graph: Graph, recipe: Recipe) -> Recipe:
    """Every third operator in float."""
    return replace(recipe, float_operators=frozenset(op.name for op in graph.operators[::3]))


def digests_of_all_parts(folder: Path) -> dict[str, str]:
    graph = with_all_parts()
    return digests(graph, recipe_of(graph, pixels(4, 11, 13)), folder)


def test_equal_inputs_give_equal_bytes_in_one_process(networks, tmp_path):
    for family, network in networks.items():
        first = digests(network.graph, network.recipe, tmp_path / family / "one")
        assert digests(network.graph, network.recipe, tmp_path / family / "two") == first


def test_equal_inputs_give_equal_bytes_in_another_process(tmp_path):
    script = (
        "import json, pathlib, sys; from tests.converters.formats import test_formats; "
        "print(json.dumps(test_formats.digests_of_all_parts(pathlib.Path(sys.argv[1]))))"
    )
    run = subprocess.run(
        [sys.executable, "-c", script, tmp_path / "there"],
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    there = json.loads(run.stdout.splitlines()[-1])
    # OpenVINO has two files; dynamic is TFLite's alone, and bf16 OpenVINO's.
    assert len(there) == 4 * (len(PRECISIONS) - 2) + 1 + 2
    assert digests_of_all_parts(tmp_path / "here") == there


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_batch_gets_the_answers_of_its_images(
    networks, three_at_once, tmp_path, format, precision
):
    network = networks["b"]
    recipe = network.recipe if precision == "int8" else None
    found = answers(three_at_once, format, precision, recipe, network.images, tmp_path)
    (tmp_path / "alone").mkdir()
    alone = answers(network.graph, format, precision, recipe, network.images, tmp_path / "alone")
    assert relative_error(alone[LOGITS], found[LOGITS]) < (1e-5 if precision == "fp32" else 0.02)
    assert found[LOGITS].shape == network.keras.shape


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=chains())
@pytest.mark.parametrize("format", ["tflite", "openvino"])
def test_any_network_lowers_to_the_same_function(tmp_path, format, graph):
    graph = simplify(graph)
    images = pixels(3, *graph.input_shape[1:3])
    expected = float_answers(graph, images)[LOGITS]
    found = answers(graph, format, "fp32", None, images, tmp_path)[LOGITS]
    assert relative_error(expected, found) < 1e-5


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=chains())
@pytest.mark.parametrize("format", FORMATS)
def test_any_network_runs_in_int8(tmp_path, format, graph):
    graph = simplify(graph)
    images = pixels(6, *graph.input_shape[1:3])
    recipe = recipe_of(graph, images, "min-max")
    expected = float_answers(graph, images)[LOGITS]
    found = answers(graph, format, "int8", recipe, images, tmp_path)[LOGITS]
    assert relative_error(expected, found) < 0.25


@pytest.mark.parametrize("exact", [True, False], ids=["whole mean", "mean of each channel"])
@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.__name__)
@pytest.mark.parametrize("format", FORMATS)
def test_what_the_family_seldom_needs(tmp_path, format, part, exact):
    chain = Chain(11, 13, seed=4)
    if exact:
        chain.affine(1, -127).convolution(6, function="relu6")
    else:
        chain.normalize()
    part(chain)
    graph = simplify(chain.head())
    images = pixels(8, 11, 13)
    expected = float_answers(graph, images)[LOGITS]
    found = answers(graph, format, "fp32", None, images, tmp_path)[LOGITS]
    assert relative_error(expected, found) < 1e-5
    recipe = recipe_of(graph, images, "min-max")
    found = answers(graph, format, "int8", recipe, images, tmp_path)[LOGITS]
    assert sqnr_db(expected, found) > 20
    wide = recipe.for_precision("w8a16")
    found = answers(graph, format, "w8a16", wide, images, tmp_path)[LOGITS]
    assert sqnr_db(expected, found) > 20


@pytest.mark.parametrize("part", [quiet_channels, quiet_features])
def test_channels_far_apart_lose_the_same_in_every_format(tmp_path, part):
    chain = Chain(11, 13, seed=4).normalize()
    part(chain)
    graph = simplify(chain.head())
    images = pixels(8, 11, 13)
    expected, recipe = float_answers(graph, images)[LOGITS], recipe_of(graph, images, "min-max")
    kept = []
    for format in FORMATS:
        (folder := tmp_path / format).mkdir()
        found = answers(graph, format, "int8", recipe, images, folder)
        kept.append(sqnr_db(expected, found[LOGITS]))
    assert max(kept) - min(kept) < 3


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_sigmoid_for_each_class(tmp_path, format, precision):
    chain = Chain(8, 8).normalize().convolution(8, (3, 3), function="relu6").pool().dense(5)
    logits = chain.last
    chain.activation("sigmoid")
    graph = Graph("multi", (1, 8, 8, 3), tuple(chain.operators), (logits, chain.last))
    graph = simplify(
        graph.renamed({logits: LOGITS, chain.last: PROBABILITIES}, (LOGITS, PROBABILITIES))
    )
    images = pixels(6, 8, 8)
    recipe = recipe_of(graph, images) if precision == "int8" else None
    found = answers(graph, format, precision, recipe, images, tmp_path)
    assert found[PROBABILITIES] == pytest.approx(1 / (1 + np.exp(-found[LOGITS])), abs=1e-5)
    assert (sqnr_db(float_answers(graph, images)[LOGITS], found[LOGITS]) or INFINITE) > 25


@pytest.mark.parametrize("format", FORMATS)
def test_weights_that_two_operators_share_are_in_the_file_once(tmp_path, format):
    chain = Chain(8, 8).normalize().convolution(64).convolution(64).convolution(64)
    *_, first, second = chain.operators
    graph = chain.head()
    shared = graph.with_operators(
        [
            replace(op, weights=first.weights) if op.name == second.name else op
            for op in graph.operators
        ]
    )
    images = pixels(4, 8, 8)
    sizes = []
    for number, one in enumerate((graph, shared)):
        folder = tmp_path / str(number)
        folder.mkdir()
        recipe = recipe_of(one, images)
        sizes.append(sum(f.stat().st_size for f in lower(one, format, "int8", recipe, folder)))
        before = float_answers(one, images)[LOGITS]
        found = answers(one, format, "int8", recipe, images, folder)[LOGITS]
        assert sqnr_db(before, found) > 25
    assert sizes[0] - sizes[1] >= 0.9 * first.weights.size


@pytest.mark.parametrize("format", FORMATS)
def test_pixels_go_in_as_they_are(networks, tmp_path, format):
    """Lite's mean is a zero point, so int8 reads pixels without a rounding of its own."""
    graph, recipe = networks["lite"].graph, networks["lite"].recipe
    first, *_ = lower(graph, format, "int8", recipe, tmp_path)
    assert first.exists()
    quantization = recipe.quantizations(graph)[graph.operators[0].output]
    assert (quantization.scale, quantization.zero_point) == (1.0, 127)
