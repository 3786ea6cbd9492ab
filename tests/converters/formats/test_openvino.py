"""The OpenVINO IR loads, holds int8 as int8, and is quantized at convolution inputs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from converters.formats.openvino import lower
from converters.graph import INPUT, Graph, Linear
from converters.passes import simplify
from tests.converters.graphs import Chain, pixels, recipe_of

PRECISIONS = ("fp32", "fp16", "int8")


@pytest.fixture(scope="module")
def graph() -> Graph:
    chain = Chain(17, 17).normalize().convolution(32, (3, 3), (2, 2)).activation("silu")
    skip = chain.last
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").gate().convolution(32)
    return simplify(chain.plus(skip).head(64))


@pytest.fixture(scope="module")
def folders(graph, tmp_path_factory) -> dict[str, Path]:
    recipe = recipe_of(graph, pixels(8, 17, 17))
    found = {}
    for precision in PRECISIONS:
        found[precision] = tmp_path_factory.mktemp(precision)
        lower(graph, precision, recipe if precision == "int8" else None, found[precision])
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


@pytest.mark.parametrize("precision", PRECISIONS)
def test_no_node_has_a_name_that_openvino_numbered(models, precision):
    numbered = [
        op.get_friendly_name()
        for op in models[precision].get_ops()
        if op.get_friendly_name().startswith(f"{op.get_type_name()}_")
    ]
    assert numbered == []


def test_int8_weights_are_int8(models, graph):
    found = constants(models["int8"])
    for operator in graph.operators:
        if isinstance(operator, Linear):
            constant = found[f"{operator.name}/weights/quantized"]
            assert constant.get_element_type() == openvino.Type.i8
            assert np.abs(constant.get_data()).max() == 127


def test_half_precision_weights_are_half(folders, graph):
    constants = 4 * graph.parameters
    sizes = {p: (folder / "model.bin").stat().st_size for p, folder in folders.items()}
    assert sizes["fp16"] < 0.55 * sizes["fp32"]
    assert sizes["fp32"] >= constants


def test_what_is_quantized_is_what_convolutions_read(models, graph):
    nodes = [op for op in models["int8"].get_ops() if op.get_type_name() == "FakeQuantize"]
    expected = {op.inputs[0] for op in graph.operators if isinstance(op, Linear)}
    assert {node.get_friendly_name() for node in nodes} == {
        f"{name}/quantized" for name in expected
    }
    assert {node.get_attributes()["levels"] for node in nodes} == {256}
