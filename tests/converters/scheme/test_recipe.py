"""A recipe is plain JSON, and says for a graph how each tensor is held."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.graph import INPUT, LOGITS, PROBABILITIES, Affine, GlobalMaximum, Padding
from converters.passes import simplify
from converters.scheme.parameters import PIXELS, SIGMOID, Quantization
from converters.scheme.recipe import UNCALIBRATED, Recipe, exact_shift, read_recipe
from edgenet.errors import UsageError
from tests.converters.graphs import Chain, pixels, recipe_of


def affine(scale, offset) -> Affine:
    return Affine("a", (INPUT,), "a", np.float32(scale), np.float32(offset))


@pytest.mark.parametrize(
    ("scale", "offset", "shift"),
    [
        ([1, 1, 1], [-127, -127, -127], 127),
        ([1, 1, 1], [0, 0, 0], 0),
        ([1, 1, 1], [-255, -255, -255], 255),
        ([1, 1, 1], [-256, -256, -256], None),
        ([1, 1, 1], [1, 1, 1], None),
        ([1, 1, 1], [-127.5, -127.5, -127.5], None),
        ([1, 1, 1], [-127, -127, -126], None),
        ([1, 1, 2], [-127, -127, -127], None),
    ],
)
def test_one_whole_mean_for_all_channels_is_a_zero_point(scale, offset, shift):
    assert exact_shift(affine(scale, offset)) == shift


NAMES = st.text(max_size=8)
ENDS = st.floats(allow_nan=False, allow_infinity=False)
GAINS = st.floats(0, exclude_min=True, allow_nan=False, allow_infinity=False)
RECIPES = st.builds(
    Recipe,
    rule=NAMES,
    ranges=st.dictionaries(
        NAMES, st.tuples(ENDS, ENDS).map(lambda ends: (min(ends), max(ends))), max_size=4
    ),
    rounding=NAMES,
    float_operators=st.frozensets(NAMES, max_size=4),
    float_operators_in=st.dictionaries(NAMES, st.frozensets(NAMES, max_size=4), max_size=3),
    activation_bits=st.sampled_from([8, 16, 32]),
    rewrites=st.dictionaries(
        NAMES,
        st.dictionaries(NAMES, st.lists(GAINS, max_size=3).map(tuple), max_size=2),
        max_size=3,
    ),
    corrected=st.booleans(),
)


@given(recipe=RECIPES)
def test_a_recipe_comes_back_from_json_as_it_was(recipe):
    document = json.loads(json.dumps(recipe.to_json()))
    assert Recipe.from_json(document) == recipe
    assert Recipe.from_json(document).to_json() == recipe.to_json()


def test_a_measured_recipe_quantizes_as_before_once_it_was_written():
    graph = simplify(Chain(8, 8).normalize().convolution(4).activation("silu").gate().head())
    recipe = recipe_of(graph, pixels(3, 8, 8))
    again = Recipe.from_json(json.loads(json.dumps(recipe.to_json())))
    assert again.quantizations(graph) == recipe.quantizations(graph)


def test_float_operators_are_left_out_of_json_where_there_are_none():
    assert "float_operators" not in Recipe("by hand", {}).to_json()
    found = Recipe("by hand", {}, float_operators=frozenset({"b", "a"})).to_json()
    assert found["float_operators"] == ["a", "b"]


def test_a_format_has_the_float_operators_of_all_or_its_own():
    recipe = Recipe("by hand", {}, float_operators=frozenset("ab"))
    assert recipe.of("tflite") == recipe
    lists = {"tflite": frozenset("ab"), "onnx": frozenset("ab"), "openvino": frozenset("b")}
    found = recipe.with_float(lists)
    assert found == replace(recipe, float_operators_in={"openvino": frozenset("b")})
    assert {format: found.of(format).float_operators for format in lists} == lists
    assert found.of("openvino") == replace(recipe, float_operators=frozenset("b"))
    assert found.with_float(dict.fromkeys(lists, frozenset())) == Recipe("by hand", {})
    assert found.to_json()["float_operators_in"] == {"openvino": ["b"]}
    assert "float_operators_in" not in recipe.to_json()


def test_rewrites_are_left_out_of_json_where_there_are_none():
    assert "rewrites" not in Recipe("by hand", {}).to_json()
    made = {"piecewise": {"b": (1.0,), "a": (2.0,)}, "silu": {"c": (1.5,)}}
    found = Recipe("by hand", {}, rewrites=made).to_json()["rewrites"]
    assert json.dumps(found) == '{"piecewise": {"a": [2.0], "b": [1.0]}, "silu": {"c": [1.5]}}'


@pytest.mark.parametrize("corrected", [True, False])
def test_whether_biases_were_corrected_is_said_of_the_weights(corrected):
    document = Recipe("by hand", {}, corrected=corrected).to_json()
    assert document["weights"]["bias_correction"] is corrected


def test_a_recipe_is_read_from_its_own_file_and_from_a_manifest(tmp_path):
    recipe = Recipe("by hand", {"t": (0.0, 1.0)}, rewrites={"silu": {"t": (1.0, 2.0)}})
    for name, document in (
        ("recipe.json", recipe.to_json()),
        ("manifest.json", {"schema_version": 1, "recipe": recipe.to_json()}),
    ):
        (tmp_path / name).write_text(json.dumps(document))
        assert read_recipe(tmp_path / name) == recipe


def test_a_manifest_tells_what_its_recipe_was_made_for(tmp_path):
    made = Recipe("by hand", {"t": (0.0, 1.0)})
    document = {"source": {"file": "my.keras", "sha256": "00"}, "recipe": made.to_json()}
    (tmp_path / "manifest.json").write_text(json.dumps(document))
    found = read_recipe(tmp_path / "manifest.json")
    assert found.source == document["source"]
    assert found.to_json() == made.to_json()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot read the recipe"),
        (b"not json", "is not JSON, so no recipe"),
        (b"\xff\xfe", "is not JSON, so no recipe"),
        (b"[1, 2]", "the recipe must be an object"),
        (b'{"schema_version": 1, "recipe": null}', "the recipe must be an object"),
        (b'{"precision": "fp16", "recipe": null}', "--precision fp16 makes it, without --recipe"),
    ],
)
def test_what_holds_no_recipe_is_refused_in_one_line(tmp_path, content, said):
    path = tmp_path / "recipe.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=said) as caught:
        read_recipe(path)
    assert "\n" not in str(caught.value)


def test_16_bits_widen_every_range_and_weights_alone_need_none():
    recipe = Recipe("by hand", {"t": (-1.0, 2.0)}, rounding="least-squares")
    assert recipe.for_precision("int8") == recipe.for_precision("int8-mixed") == recipe
    wide = recipe.for_precision("w8a16")
    assert (wide.activation_bits, wide.ranges) == (16, {"t": (-4.0, 8.0)})
    for precision, fixed in UNCALIBRATED.items():
        found = recipe.for_precision(precision)
        assert found == replace(fixed, rounding="least-squares")
        assert found.quantizations(Chain(8, 8).normalize().convolution(4).head()) == {}


def test_the_precisions_without_calibration_say_their_bits():
    bits = {name: recipe.to_json()["activations"]["bits"] for name, recipe in UNCALIBRATED.items()}
    assert bits == {"w8": 32, "dynamic": 8}


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe("by hand", {"nowhere": (0, 1)}),
        Recipe("by hand", {}, float_operators=frozenset({"nowhere"})),
        Recipe("by hand", {}, float_operators_in={"onnx": frozenset({"nowhere"})}),
    ],
    ids=["range", "operator", "operator of a format"],
)
def test_a_recipe_of_another_network_is_refused(recipe):
    graph = Chain(8, 8).normalize().convolution(4).head()
    with pytest.raises(UsageError, match="has no 'nowhere'"):
        recipe.require_operators(graph)
    recipe_of(graph, pixels(1, 8, 8)).require_operators(graph)


def test_a_recipe_of_a_part_of_the_network_is_refused():
    """As one of a smaller variant, whose layers have the same names."""
    graph = Chain(8, 8).normalize().convolution(4).head()
    recipe = recipe_of(graph, pixels(1, 8, 8))
    ranges = {name: ends for name, ends in recipe.ranges.items() if name != "t1"}
    with pytest.raises(UsageError, match="it has no range of 't1'"):
        Recipe("by hand", ranges).require_operators(graph)
    Recipe("by hand", {}).require_operators(graph)


def test_in_16_bits_zero_is_the_middle_level_of_all_but_the_pixels():
    chain = Chain(8, 8).affine(1, -127).convolution(4).activation("sigmoid").pad(Padding(1))
    graph = chain.activation("tanh").head()
    ranges = {op.output: (-0.5, 2.0) for op in graph.operators if op.output != PROBABILITIES}
    found = Recipe("by hand", ranges, activation_bits=16).quantizations(graph)
    assert found.pop(INPUT) == PIXELS
    assert {(q.bits, q.zero_point) for q in found.values()} == {(16, 2**15)}
    for operator in graph.operators:
        if getattr(operator, "function", "") in ("sigmoid", "tanh"):
            assert found[operator.output].scale == 2**-15


def test_input_gates_shifts_and_moves_have_parameters_of_their_own():
    chain = Chain(8, 8).affine(1, -127).pad(Padding(1, 1, 1, 1))
    padded = chain.last
    graph = chain.convolution(4).activation("sigmoid").head()
    ranges = {op.output: (-1.0, 2.0) for op in graph.operators if op.output != PROBABILITIES}
    found = Recipe("by hand", ranges).quantizations(graph)
    assert found[INPUT] == PIXELS
    assert found[graph.operators[0].output] == Quantization(1.0, 127)
    gate = next(op.output for op in graph.operators if getattr(op, "function", "") == "sigmoid")
    assert found[gate] == SIGMOID
    assert found[LOGITS] == Quantization.covering(-1, 2)
    assert found[padded] == found[graph.operators[0].output]


def test_maxima_are_levels_of_their_map():
    graph = simplify(Chain(8, 8).normalize().convolution(4).head(pool=GlobalMaximum))
    source, pooled = graph.operators[1].output, graph.operators[2].output
    found = Recipe("by hand", {source: (-1.0, 2.0), pooled: (0.0, 1.0)}).quantizations(graph)
    assert found[pooled] == found[source] == Quantization.covering(-1, 2)


def test_a_mean_is_no_finer_than_onnx_runtime_averages():
    graph = simplify(Chain(8, 8).normalize().convolution(4).head())
    source, pooled = graph.operators[1].output, graph.operators[2].output
    ranges = {op.output: (-1.0, 1.0) for op in graph.operators if op.output != PROBABILITIES}
    for low, high in ((0.0, 1e-9), (-1e-9, 1e-9), (0.0, 0.0)):
        found = Recipe("by hand", ranges | {pooled: (low, high)}).quantizations(graph)
        assert found[source].scale / found[pooled].scale < 256
        assert found[pooled].low <= low
        assert found[pooled].high >= high
    found = Recipe("by hand", ranges | {pooled: (-0.5, 0.5)}).quantizations(graph)
    assert found[pooled] == Quantization.covering(-0.5, 0.5)
