"""The OpenVINO IR loads, holds int8 as int8, and is quantized at convolution inputs alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from converters.formats.openvino import lower
from converters.graph import INPUT, Graph, Linear
from converters.passes import simplify
from tests.converters.graphs import Chain, pixels, recipe_of

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "w8", "w8a16")


@pytest.fixture(scope="module")
def graph() -> Graph:
    chain = Chain(17, 17).normalize().convolution(32, (3, 3), (2, 2)).activation("silu")
    skip = chain.last
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").gate().convolution(32)
    return simplify(chain.plus(skip).head(64))


@pytest.fixture(scope="module")
def folders(graph, tmp_path_factory) -> dict[str, Path]:
    recipe = recipe_of(graph, pixels(8, 17, 17))
    recipes = {"int8": recipe, "w8a16": replace(recipe, activation_bits=16)}
    found = {}
    for precision in PRECISIONS:
        found[precision] = tmp_path_factory.mktemp(precision)
        lower(graph, precision, recipes.get(precision), found[precision])
    return found


@pytest.fixture(scope="module")
def models(folders) -> dict[str, openvino.Model]:
    core = openvino.Core()
    return {p: core.read_model(folder / "model.xml") for p, folder in folders.items()}


def constants(model: openvino.Model) -> dict[str, Any]:
    return {
        op.get_friendly_name(): op for op in model.get_ops() if op.get_type_name() == "Constant"
    }


def test_two_files_are_written_and_named(graph, tmp_path):
    assert lower(graph, "fp32", None, tmp_path) == (
        tmp_path / "model.xml",
        tmp_path / "model.bin",
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.bin", "model.xml"]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pixels_in_named_floats_out(models, graph, precision):
    model = models[precision]
    assert model.input(INPUT).element_type == openvino.Type.u8
    assert list(model.input(INPUT).shape) == [1, 17, 17, 3]
    for name in graph.outputs:
        assert list(model.output(name).shape) == [1, 64]
        assert model.output(name).element_type == openvino.Type.f32


def test_a_batch_is_set_without_a_layout_to_name(folders):
    model = openvino.Core().read_model(folders["int8"] / "model.xml")
    openvino.set_batch(model, 4)
    assert list(model.output("logits").shape) == [4, 64]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_node_has_a_name_that_openvino_numbered(models, precision):
    numbered = [
        op.get_friendly_name()
        for op in models[precision].get_ops()
        if op.get_friendly_name().startswith(f"{op.get_type_name()}_")
    ]
    assert numbered == []


@pytest.mark.parametrize("precision", ["int8", "w8", "w8a16"])
def test_int8_weights_are_int8(models, graph, precision):
    found = constants(models[precision])
    for operator in graph.operators:
        if isinstance(operator, Linear):
            constant = found[f"{operator.name}/weights/quantized"]
            assert constant.get_element_type() == openvino.Type.i8
            largest = np.abs(constant.get_data()).max()
            # Of int8 a pair may be what the scale covers; no channel has one of less than 64.
            assert 64 <= largest <= 127 if precision == "int8" else largest == 127


def test_half_precision_weights_are_half(folders, graph):
    linear = [op for op in graph.operators if isinstance(op, Linear)]
    constants = 4 * sum(op.weights.size + op.bias.size for op in linear)
    sizes = {p: (folder / "model.bin").stat().st_size for p, folder in folders.items()}
    assert sizes["fp16"] == sizes["bf16"] < 0.55 * sizes["fp32"]
    assert sizes["fp32"] >= constants


@pytest.mark.parametrize(("precision", "levels"), [("int8", 2**8), ("w8a16", 2**16)])
def test_what_is_quantized_is_what_convolutions_read(models, graph, precision, levels):
    nodes = [op for op in models[precision].get_ops() if op.get_type_name() == "FakeQuantize"]
    expected = {op.inputs[0] for op in graph.operators if isinstance(op, Linear)}
    assert {node.get_friendly_name() for node in nodes} == {
        f"{name}/quantized" for name in expected
    }
    assert {node.get_attributes()["levels"] for node in nodes} == {levels}


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "w8"])
def test_no_activation_of_the_others_is_quantized(models, precision):
    assert not any(op.get_type_name() == "FakeQuantize" for op in models[precision].get_ops())


@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_a_dead_map_of_one_channel_compiles(tmp_path, precision):
    """The plugin's convolutions take no step as small as such a map's would be."""
    chain = Chain(5, 5).normalize().convolution(1).affine(0, -1).activation("relu").convolution(1)
    graph = simplify(chain.head())
    recipe = recipe_of(graph, pixels(2, 5, 5)).for_precision(precision)
    assert (0.0, 0.0) in recipe.ranges.values()
    path, _ = lower(graph, precision, recipe, tmp_path)
    openvino.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def test_a_head_on_all_of_the_map_takes_any_batch(tmp_path):
    chain = Chain(8, 8).normalize().convolution(4, (3, 3), (2, 2)).reshape(64).dense(3)
    (xml, _) = lower(simplify(chain.graph()), "fp32", None, tmp_path)
    model = openvino.Core().read_model(xml)
    model.reshape([5, 8, 8, 3])
    assert [list(output.shape) for output in model.outputs] == [[5, 3]] * len(model.outputs)
