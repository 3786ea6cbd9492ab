"""The ONNX file is valid, old enough to be read widely, and in the arrangement that is fast."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given, settings

from converters.formats.onnx import build
from converters.formats.onnx_nodes import channels_first
from converters.graph import INPUT, LOGITS, Graph, Linear
from converters.passes import simplify
from tests.converters.graphs import Chain, chains, pixels, recipe_of

PRECISIONS = ("fp32", "fp16", "int8", "w8", "w8a16")


@pytest.fixture(scope="module")
def graph() -> Graph:
    chain = Chain(17, 17).normalize().convolution(32, (3, 3), (2, 2)).activation("silu")
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").gate()
    return simplify(chain.convolution(16, function="relu6").head(64))


@pytest.fixture(scope="module")
def models(graph) -> dict[str, onnx.ModelProto]:
    recipe = recipe_of(graph, pixels(8, 17, 17))
    recipes = {"int8": recipe, "w8a16": replace(recipe, activation_bits=16)}
    return {p: build(graph, p, recipes.get(p)) for p in PRECISIONS}


def initializers(model: onnx.ModelProto) -> dict[str, Any]:
    return {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_model_is_valid_and_of_opset_17_if_it_can(models, precision):
    model = models[precision]
    onnx.checker.check_model(model, full_check=True)
    opset, version = (21, 10) if precision == "w8a16" else (17, 8)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
    assert model.ir_version == version


@pytest.mark.parametrize("function", ["gelu", "gelu_tanh"])
def test_gelu_asks_for_the_opset_that_has_it(function):
    graph = simplify(Chain(9, 9).normalize().convolution(4).activation(function).head())
    model = build(graph, "fp32")
    onnx.checker.check_model(model, full_check=True)
    assert (model.opset_import[0].version, model.ir_version) == (20, 9)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_shapes_are_fixed_and_pixels_go_in(models, graph, precision):
    (taken,) = models[precision].graph.input
    assert taken.name == INPUT
    assert taken.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [d.dim_value for d in taken.type.tensor_type.shape.dim] == [1, 17, 17, 3]
    for output in models[precision].graph.output:
        assert output.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        assert [d.dim_value for d in output.type.tensor_type.shape.dim] == [1, 64]


@settings(max_examples=25)
@given(graph=chains())
def test_any_network_is_valid_in_every_precision(graph):
    simple = simplify(graph)
    recipe = recipe_of(simple, pixels(2, *graph.input_shape[1:3]))
    for model in (build(graph, "fp32"), build(simple, "fp16"), build(simple, "int8", recipe)):
        onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("precision", "suffix", "dtype"),
    [
        ("fp32", "", np.float32),
        ("fp16", "/half", np.float16),
        *((precision, "/quantized", np.int8) for precision in ("int8", "w8", "w8a16")),
    ],
)
def test_weights_are_of_the_precision(models, graph, precision, suffix, dtype):
    found = initializers(models[precision])
    for operator in graph.operators:
        if isinstance(operator, Linear):
            assert found[f"{operator.name}/weights{suffix}"].dtype == dtype


@pytest.mark.parametrize(
    ("precision", "dtype", "last"), [("int8", np.uint8, "Conv"), ("w8a16", np.uint16, "Clip")]
)
def test_activations_are_unsigned_and_follow_each_operator(models, precision, dtype, last):
    """Signed ones take ONNX Runtime's slow path on x86; a float operator between would too."""
    model = models[precision]
    found = initializers(model)
    quantizers = [node for node in model.graph.node if node.op_type == "QuantizeLinear"]
    assert {found[node.input[2]].dtype for node in quantizers} == {np.dtype(dtype)}
    quantized = {node.input[0] for node in quantizers}
    for node in model.graph.node:
        if node.op_type in (last, "Mul", "Sigmoid"):
            assert node.output[0] in quantized
    assert LOGITS not in quantized


def test_logits_that_are_a_sum_add_up_floats():
    """Each term is of levels, but none is held in them."""
    chain = Chain(17, 17).normalize().convolution(32, (3, 3), (2, 2)).activation("silu")
    graph = simplify(chain.summed_head(64))
    model = build(graph, "int8", recipe_of(graph, pixels(8, 17, 17)))
    quantized = {node.input[0] for node in model.graph.node if node.op_type == "QuantizeLinear"}
    made = {node.output[0]: node.op_type for node in model.graph.node}
    assert sorted(made[name] for name in graph.unrounded) == ["Add", "Gemm", "Gemm"]
    assert graph.unrounded.isdisjoint(quantized)


def test_onnx_runtime_computes_in_levels_throughout(models, tmp_path):
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    onnxruntime.InferenceSession(models["int8"].SerializeToString(), options)
    optimized = onnx.load(tmp_path / "optimized.onnx")
    kinds = Counter(node.op_type for node in optimized.graph.node)
    assert kinds["QLinearAdd"] == 1
    computed = {kind for kind in kinds if not kind.startswith("QLinear")}
    # The logits leave in float, through the operator that makes them, for their softmax.
    assert computed <= {"Transpose", "Reshape", "Flatten", "QGemm", "Softmax", "QuantizeLinear"}


def test_relu_is_the_saturation_of_the_quantizer(models):
    kinds = {p: Counter(node.op_type for node in models[p].graph.node) for p in PRECISIONS}
    assert kinds["fp32"]["Clip"] == 1
    assert kinds["int8"]["Clip"] == 0
    # Where zero is the middle level the quantizer saturates elsewhere.
    assert kinds["w8a16"]["Clip"] == 1


def test_levels_that_end_elsewhere_saturate_nothing(graph):
    """A recipe may hold what ReLU6 makes over more than 0 to 6."""
    recipe = recipe_of(graph, pixels(8, 17, 17))
    tensor = next(op.output for op in graph.operators if getattr(op, "function", "") == "relu6")
    for ends, clips in (((0.0, 6.0), 0), ((0.0, 9.0), 1), ((-1.0, 6.0), 1)):
        chosen = replace(recipe, ranges={**recipe.ranges, tensor: ends})
        model = build(graph, "int8", chosen)
        assert sum(node.op_type == "Clip" for node in model.graph.node) == clips


def test_onnx_runtime_widens_int8_weights_at_load(models, tmp_path):
    """What runs are the float network's kernels: nothing is dequantized at every call."""
    kinds = {}
    for precision in ("fp32", "w8"):
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / precision)
        options.log_severity_level = 4
        onnxruntime.InferenceSession(
            models[precision].SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        optimized = onnx.load(tmp_path / precision)
        kinds[precision] = Counter(node.op_type for node in optimized.graph.node)
    assert kinds["w8"] == kinds["fp32"]


def test_half_precision_is_widened_and_computed_in_float32(models):
    casts = [node for node in models["fp16"].graph.node if node.op_type == "Cast"]
    assert all(node.attribute[0].i == onnx.TensorProto.FLOAT for node in casts)


def test_maps_are_channels_first():
    assert channels_first((1, 5, 7, 3)) == [1, 3, 5, 7]
    assert channels_first((1, 10)) == [1, 10]


def test_any_tensor_can_be_handed_out(graph):
    names = [operator.output for operator in graph.operators]
    model = build(graph, "fp32", outputs=names)
    assert [output.name for output in model.graph.output] == names
