"""int8-mixed: operators return to float one by one, and the borders between stay cheap."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.formats import LOWERINGS, lower
from converters.formats.onnx import build as build_onnx
from converters.formats.tflite import build as build_tflite
from converters.graph import LOGITS, Convolution, Graph, Linear, Multiply
from converters.passes import simplify
from converters.scheme.recipe import Recipe
from edgenet.measure.accuracy import sqnr_db
from edgenet.runtime.tflite import delegated_fraction
from tests.converters.graphs import (
    Chain,
    answers,
    chains,
    float_answers,
    pixels,
    recipe_of,
    relative_error,
)

FORMATS = tuple(LOWERINGS)
INFINITE = float("inf")


def network(whole_mean: bool = False) -> Graph:
    """SiLU and ReLU6, squeeze-and-excite, a residual and a stem with a padding of its own."""
    chain = Chain(17, 17, seed=2)
    chain = chain.affine(1, -127) if whole_mean else chain.normalize()
    skip = chain.convolution(16, (3, 3), (2, 2), function="relu6").last
    chain.convolution(16).activation("silu").convolution(kernel=(3, 3), depthwise=True).activation(
        "silu"
    )
    return simplify(chain.gate().convolution(16).plus(skip).head(12))


@pytest.fixture(scope="module", params=[False, True], ids=["mean of each channel", "whole mean"])
def graph(request) -> Graph:
    return network(request.param)


@pytest.fixture(scope="module")
def images() -> Any:
    return pixels(8, 17, 17)


@pytest.fixture(scope="module")
def recipe(graph, images) -> Recipe:
    return recipe_of(graph, images, "min-max")


def all_names(graph: Graph) -> frozenset[str]:
    return frozenset(operator.name for operator in graph.operators)


def mixed(recipe: Recipe, names: Any) -> Recipe:
    return replace(recipe, float_operators=frozenset(names))


@pytest.mark.parametrize("format", FORMATS)
def test_all_in_float_is_fp32_with_weights_in_half(graph, recipe, images, tmp_path, format):
    everything = mixed(recipe, all_names(graph))
    found = answers(graph, format, "int8-mixed", everything, images, tmp_path)
    expected = answers(graph, format, "fp32", None, images, tmp_path)
    for output in graph.outputs:
        assert relative_error(expected[output], found[output]) < 1e-3


@pytest.mark.parametrize("format", FORMATS)
def test_none_in_float_is_the_int8_file(graph, recipe, tmp_path, format):
    files = {}
    for precision in ("int8", "int8-mixed"):
        (tmp_path / precision).mkdir()
        paths = lower(graph, format, precision, mixed(recipe, ()), tmp_path / precision)
        files[precision] = [path.read_bytes() for path in paths]
    assert files["int8"] == files["int8-mixed"]


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=chains(), data=st.data())
@pytest.mark.parametrize("format", FORMATS)
def test_any_set_of_any_network_runs(tmp_path, format, graph, data):
    graph = simplify(graph)
    names = data.draw(st.sets(st.sampled_from(sorted(all_names(graph)))))
    images = pixels(6, *graph.input_shape[1:3])
    recipe = mixed(recipe_of(graph, images, "min-max"), names)
    expected = float_answers(graph, images)[LOGITS]
    found = answers(graph, format, "int8-mixed", recipe, images, tmp_path)[LOGITS]
    assert relative_error(expected, found) < 0.25


@pytest.mark.parametrize("format", FORMATS)
def test_the_formats_stay_one_network(graph, recipe, images, tmp_path, format):
    """Of every third operator in float, each format makes the same as TFLite."""
    some = mixed(recipe, sorted(all_names(graph))[::3])
    first, second = (
        answers(graph, name, "int8-mixed", some, images, tmp_path) for name in ("tflite", format)
    )
    assert (sqnr_db(first[LOGITS], second[LOGITS]) or INFINITE) > 25


def island(graph: Graph) -> tuple[str, ...]:
    """Four operators in a row: an expansion, the depthwise convolution, and SiLU after each."""
    names = [operator.name for operator in graph.operators]
    depthwise = next(
        index
        for index, operator in enumerate(graph.operators)
        if isinstance(operator, Convolution) and operator.depthwise
    )
    return tuple(names[depthwise - 2 : depthwise + 2])


def tflite_operators(file: bytes) -> Counter[str]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    assert delegated_fraction(interpreter) == 1.0
    return Counter(detail["op_name"] for detail in interpreter._get_ops_details())


def test_tflite_converts_at_the_borders_alone(graph, recipe):
    """One DEQUANTIZE into the island, one for each weights in half, and one QUANTIZE out of it."""
    weights = sum(isinstance(op, Linear) for op in graph.operators if op.name in island(graph))
    whole, part = (
        tflite_operators(build_tflite(graph, "int8-mixed", mixed(recipe, names)))
        for names in ((), island(graph))
    )
    assert part["DEQUANTIZE"] - whole["DEQUANTIZE"] == 1 + weights
    # The map that leaves is read by the pooling and by the gate.
    assert part["QUANTIZE"] - whole["QUANTIZE"] == 1


def test_tflite_multiplies_in_int8_where_rounding_each_pixel_is_faster(tmp_path):
    """A wide convolution of floats; one of few channels stays in float, as all do in ONNX."""
    chain = Chain(16, 16).normalize().convolution(16, (3, 3), (2, 2)).activation("silu")
    graph = simplify(chain.convolution(32).convolution(192).activation("silu").head(12))
    images = pixels(8, 16, 16)
    everything = mixed(recipe_of(graph, images), all_names(graph))
    tflite = build_tflite(graph, "int8-mixed", everything)
    # Of stem, narrow and wide convolution and dense layer, all but one have weights in half.
    assert tflite_operators(tflite)["DEQUANTIZE"] == 1 + 3
    expected = answers(graph, "tflite", "fp32", None, images, tmp_path)[LOGITS]
    found = {
        format: relative_error(
            expected, answers(graph, format, "int8-mixed", everything, images, tmp_path)[LOGITS]
        )
        for format in ("tflite", "onnx")
    }
    assert found["onnx"] < 1e-3 < found["tflite"] < 2e-2


def test_a_float_stem_reads_the_pixels_without_levels_between(graph, recipe):
    stem = [operator.name for operator in graph.operators[:2]]
    whole, part = (
        tflite_operators(build_tflite(graph, "int8-mixed", mixed(recipe, names)))
        for names in ((), stem)
    )
    assert part == whole + Counter(DEQUANTIZE=1)  # the stem's weights, stored in half


def test_onnx_has_no_quantizers_inside_an_island(graph, recipe):
    model = build_onnx(graph, "int8-mixed", mixed(recipe, island(graph)))
    onnx.checker.check_model(model, full_check=True)
    made = {node.output[0]: node for node in model.graph.node}
    inside = [op for op in graph.operators if op.name in island(graph)]
    assert [made[operator.output].op_type for operator in inside] == ["Conv", "Mul"] * 2
    quantized = {n.input[0] for n in model.graph.node if n.op_type == "QuantizeLinear"}
    assert [operator.output in quantized for operator in inside] == [False, False, False, True]


def optimized(model: onnx.ModelProto, path: Path) -> Counter[str]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def test_onnx_runtime_runs_an_island_as_float_kernels(graph, recipe, tmp_path):
    """The rest stays QLinear, and only the borders convert."""
    whole, part = (
        optimized(build_onnx(graph, "int8-mixed", mixed(recipe, names)), tmp_path / "optimized")
        for names in ((), island(graph))
    )
    assert whole["Conv"] == whole["QuickGelu"] == 0
    assert part["Conv"] == part["QuickGelu"] == 2
    assert whole["QLinearConv"] - part["QLinearConv"] == 2
    assert part["DequantizeLinear"] - whole["DequantizeLinear"] == 1
    assert part["QuantizeLinear"] - whole["QuantizeLinear"] == 1


@pytest.mark.parametrize("stem_is_float", [False, True])
def test_onnx_adds_the_mean_pixel_in_levels_for_who_reads_levels(stem_is_float):
    graph = network()
    normalize, stem = graph.operators[:2]
    recipe = recipe_of(graph, pixels(8, 17, 17), "min-max")
    model = build_onnx(graph, "int8-mixed", mixed(recipe, [stem.name] if stem_is_float else []))
    made = {node.output[0]: node.op_type for node in model.graph.node}
    expected = None if stem_is_float else "DequantizeLinear"
    assert made.get(f"{normalize.name}/offset") == expected


def test_onnx_runtime_dequantizes_once_for_a_silu(graph, recipe, tmp_path):
    """And runs it as one kernel."""
    silu = island(graph)[1:2]
    whole, part = (
        optimized(build_onnx(graph, "int8-mixed", mixed(recipe, names)), tmp_path / "optimized")
        for names in ((), silu)
    )
    assert part["QuickGelu"] == 1
    assert part["Sigmoid"] == 0
    assert part["DequantizeLinear"] - whole["DequantizeLinear"] == 1


def test_onnx_runtime_multiplies_a_float_gate_in_its_blocked_layout(graph, recipe, tmp_path):
    """From the depthwise convolution to the one behind the gate, only one map changes layout."""
    operators = list(graph.operators)
    names = [operator.name for operator in operators]
    gated = next(op for op in operators if isinstance(op, Multiply))
    project = graph.consumers[gated.output][0].name
    block = names[names.index(island(graph)[2]) : names.index(project) + 1]
    model = build_onnx(graph, "int8-mixed", mixed(recipe, block))
    kinds = optimized(model, tmp_path / "optimized")
    assert kinds["Upsample"] == 1
    assert kinds["ReorderInput"] == 1


def test_openvino_leaves_a_float_convolution_alone(graph, recipe, tmp_path):
    import openvino

    convolutions = [op for op in graph.operators if isinstance(op, Linear)]
    lower(graph, "openvino", "int8-mixed", mixed(recipe, [convolutions[1].name]), tmp_path)
    model = openvino.Core().read_model(tmp_path / "model.xml")
    fakes = {
        op.get_friendly_name() for op in model.get_ops() if op.get_type_name() == "FakeQuantize"
    }
    others = {op.inputs[0] for op in convolutions if op is not convolutions[1]}
    assert fakes == {f"{name}/quantized" for name in others}
