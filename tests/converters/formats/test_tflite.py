"""What a .tflite file must be besides right: aligned, by the schema, int8, all of it XNNPACK's."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.formats.tflite import build
from converters.graph import (
    INPUT,
    LOGITS,
    PROBABILITIES,
    Graph,
    Linear,
    Padding,
)
from converters.passes import simplify
from converters.scheme.recipe import Recipe
from edgenet.measure.accuracy import sqnr_db
from edgenet.runtime.tflite import delegated_fraction
from tests.converters.graphs import Chain, float_answers, pixels, recipe_of

PRECISIONS = ("fp32", "fp16", "int8", "w8", "dynamic", "w8a16")
# XNNPACK has no kernels for int16 activations.
FOR_XNNPACK = tuple(precision for precision in PRECISIONS if precision != "w8a16")


@pytest.fixture(scope="module")
def graph() -> Graph:
    chain = Chain(17, 17).normalize().convolution(32, (3, 3), (2, 2), Padding(1, 1, 1, 1))
    skip = chain.activation("silu").last
    chain.convolution(kernel=(3, 3), depthwise=True).activation("silu").gate().convolution(32)
    return simplify(chain.plus(skip).convolution(192).head(64))


@pytest.fixture(scope="module")
def recipe(graph) -> Recipe:
    return recipe_of(graph, pixels(8, 17, 17))


@pytest.fixture(scope="module")
def files(graph, recipe) -> dict[str, bytes]:
    recipes = {"int8": recipe, "w8a16": replace(recipe, activation_bits=16)}
    return {p: build(graph, p, recipes.get(p)) for p in PRECISIONS}


def read(file: bytes) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    return schema.Model.GetRootAs(file)


def weights_of(model: Any, graph: Graph) -> dict[str, Any]:
    """The constants that hold the weights, by the operator's name."""
    subgraph = model.Subgraphs(0)
    tensors = [subgraph.Tensors(index) for index in range(subgraph.TensorsLength())]
    constants = [t for t in tensors if not model.Buffers(t.Buffer()).DataIsNone()]
    found = {
        operator.name: [t for t in constants if t.Name().decode().startswith(prefix)]
        for operator in graph.operators
        if isinstance(operator, Linear) and (prefix := f"{operator.name}/weights")
    }
    assert all(len(tensors) == 1 for tensors in found.values())
    return {name: tensor for name, (tensor,) in found.items()}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_buffer_is_aligned_to_16_bytes(files, precision):
    file, model = files[precision], read(files[precision])
    filled = 0
    for index in range(model.BuffersLength()):
        buffer = model.Buffers(index)
        if not buffer.DataIsNone():
            filled += 1
            data = buffer.DataAsNumpy()
            start = data.__array_interface__["data"][0]
            base = np.frombuffer(file, np.uint8).__array_interface__["data"][0]
            assert (start - base) % 16 == 0
    assert filled > 10


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_file_is_of_the_schema(files, precision):
    model = read(files[precision])
    assert files[precision][4:8] == b"TFL3"
    assert model.Version() == 3
    assert model.SubgraphsLength() == 1
    assert model.SignatureDefs(0).SignatureKey() == b"serving_default"
    assert [
        model.SignatureDefs(0).Outputs(index).Name().decode()
        for index in range(model.SignatureDefs(0).OutputsLength())
    ] == [LOGITS, PROBABILITIES]


@pytest.mark.parametrize(("precision", "dtype"), [
    ("fp32", "FLOAT32"), ("fp16", "FLOAT16"), ("int8", "INT8"), ("w8", "INT8"),
    ("dynamic", "INT8"), ("w8a16", "INT8"),
])  # fmt: skip
def test_weights_are_of_the_precision(files, graph, precision, dtype):
    from ai_edge_litert.schema_py_generated import TensorType

    for tensor in weights_of(read(files[precision]), graph).values():
        assert tensor.Type() == getattr(TensorType, dtype)


@pytest.mark.parametrize("precision", ["int8", "w8", "dynamic", "w8a16"])
def test_int8_weights_have_a_symmetric_scale_for_each_channel(files, graph, precision):
    after = {graph.producers[LOGITS].name} if precision in ("int8", "dynamic") else set()
    for name, tensor in weights_of(read(files[precision]), graph).items():
        quantization = tensor.Quantization()
        channels = tensor.Shape(quantization.QuantizedDimension())
        assert quantization.ScaleLength() == (1 if name in after else channels)
        assert not quantization.ZeroPointAsNumpy().any()


@pytest.mark.parametrize("precision", ["int8", "dynamic"])
def test_logits_are_products_of_levels_scaled_in_float(files, graph, precision):
    """Held in levels, the first two answers would be equal too often."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator as Codes

    weights = weights_of(read(files[precision]), graph)[graph.producers[LOGITS].name]
    assert weights.Quantization().ScaleAsNumpy() == 1
    assert readers(files[precision], weights.Name().decode()) == [Codes.FULLY_CONNECTED]
    names = [detail["name"] for detail in opened(files[precision]).get_tensor_details()]
    assert f"{LOGITS}/quantized" not in names


def test_logits_that_are_a_sum_add_up_floats():
    """Each term is of levels, but none is held in them."""
    chain = Chain(17, 17).normalize().convolution(32, (3, 3), (2, 2)).activation("silu")
    graph = simplify(chain.summed_head(64))
    opening = opened(build(graph, "int8", recipe_of(graph, pixels(8, 17, 17))))
    dtypes = {detail["name"]: detail["dtype"] for detail in opening.get_tensor_details()}
    assert len(graph.unrounded) == 3
    assert {dtypes[name] for name in graph.unrounded} == {np.float32}
    assert not any(f"{name}/quantized" in dtypes for name in graph.unrounded)
    assert left_out(opening) == 0


@pytest.mark.parametrize("function", ["relu", "relu6"])
def test_a_last_layer_with_a_function_has_it_after_its_scales(function):
    chain = Chain(8, 8).normalize().convolution(8, (3, 3))
    graph = simplify(chain.head(16))
    last = graph.producers[LOGITS]
    last = replace(last, weights=5 * last.weights, function=function)
    graph = graph.with_operators([last if op.output == LOGITS else op for op in graph.operators])
    recipe = recipe_of(graph, pixels(4, 8, 8))
    shown = pixels(4, 8, 8, seed=1)
    wanted, made = (answers(build(graph, p, recipe), shown) for p in ("fp32", "int8"))
    assert wanted.min() == 0
    assert (wanted.max() == 6) == (function == "relu6")
    np.testing.assert_allclose(made, wanted, atol=0.05 * wanted.max())


@pytest.mark.parametrize("precision", ["int8", "w8", "dynamic", "w8a16"])
def test_int8_is_a_quarter_of_the_constants(files, graph, precision):
    weights = sum(op.weights.size for op in graph.operators if isinstance(op, Linear))
    saved = len(files["fp32"]) - len(files[precision])
    channels = sum(op.bias.size for op in graph.operators if isinstance(op, Linear))
    # Each channel adds two scales and two zero points of 4 and 8 bytes, each tensor some hundred.
    assert saved > 3 * weights - 24 * channels - 200 * len(graph.operators)


def opened(file: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=file, num_threads=1)
    interpreter.allocate_tensors()
    return interpreter


def answers(file: bytes, images: np.ndarray) -> np.ndarray:
    runner = opened(file).get_signature_runner()
    return np.concatenate([runner(image=image[None])[LOGITS] for image in images])


def left_out(interpreter: Any) -> int:
    """How many operators XNNPACK leaves to the interpreter."""
    listed = [op["op_name"] for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    fraction = delegated_fraction(interpreter)
    assert fraction is not None
    return round((1 - fraction) * len(listed))


@pytest.mark.parametrize("precision", PRECISIONS)
def test_pixels_in_floats_out(files, precision):
    interpreter = opened(files[precision])
    (taken,) = interpreter.get_input_details()
    assert (taken["name"], taken["dtype"]) == (INPUT, np.uint8)
    assert {d["dtype"] for d in interpreter.get_output_details()} == {np.float32}


@pytest.mark.parametrize("precision", FOR_XNNPACK)
def test_everything_is_delegated(files, precision):
    assert left_out(opened(files[precision])) == 0


@pytest.mark.parametrize("function", ["relu", "relu6"])
def test_a_relu_that_no_convolution_takes_in_is_delegated_too(function):
    chain = Chain(17, 17).normalize().convolution(8, (3, 3), (2, 2))
    skip = chain.last
    graph = simplify(chain.convolution(8).plus(skip).activation(function).head())
    images = pixels(8, 17, 17)
    recipe = recipe_of(graph, images)
    file = build(graph, "int8", recipe)
    assert left_out(opened(file)) == 0
    assert sqnr_db(float_answers(graph, images)[LOGITS], answers(file, images)) > 25


def readers(file: bytes, tensor: str) -> list[int]:
    """The builtin operators that read a tensor."""
    model = read(file)
    subgraph = model.Subgraphs(0)
    operators = [subgraph.Operators(index) for index in range(subgraph.OperatorsLength())]
    return [
        model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()
        for operator in operators
        for index in operator.InputsAsNumpy()
        if subgraph.Tensors(index).Name().decode() == tensor
    ]


def test_w8_widens_its_weights_and_dynamic_multiplies_in_int8_where_that_is_faster(files, graph):
    """Not by channel, and not where a pixel's few values cost more to round than to multiply."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator as Codes

    widened, wide, dense = Codes.DEQUANTIZE, Codes.CONV_2D, Codes.FULLY_CONNECTED
    # Stem, depthwise, the gate's two, one of few channels, one of many, the classifier.
    multiplied = (wide, widened, wide, wide, widened, wide, dense)
    names = [operator.name for operator in graph.operators if isinstance(operator, Linear)]
    for name, kind in zip(names, multiplied, strict=True):
        for precision, expected in (("w8", widened), ("dynamic", kind)):
            held = weights_of(read(files[precision]), graph)[name].Name().decode()
            assert readers(files[precision], held) == [expected]


def test_w8a16_is_int16_around_a_middle_zero_with_biases_of_int64(files, graph):
    from ai_edge_litert.schema_py_generated import TensorType

    subgraph = read(files["w8a16"]).Subgraphs(0)
    tensors = [subgraph.Tensors(index) for index in range(subgraph.TensorsLength())]
    found = {tensor.Name().decode(): tensor for tensor in tensors}
    wide = [tensor for tensor in tensors if tensor.Type() == TensorType.INT16]
    assert len(wide) > len(graph.operators)
    assert not any(tensor.Quantization().ZeroPointAsNumpy().any() for tensor in wide)
    for operator in graph.operators:
        if isinstance(operator, Linear):
            assert found[f"{operator.name}/bias"].Type() == TensorType.INT64


@pytest.mark.parametrize("part", ["tanh", "pad", "flatten", "affine"])
def test_what_the_family_seldom_needs_is_delegated_too(part):
    chain = Chain(12, 12).normalize().convolution(8, (3, 3))
    parts = {
        "tanh": lambda: chain.activation("tanh"),
        "pad": lambda: chain.pad(Padding(1, 1, 1, 1)).convolution(4, (2, 2), padding=Padding()),
        "flatten": lambda: (
            chain.convolution(1, (3, 3), (4, 4)).reshape(9).dense(4).reshape(1, 1, 4)
        ),
        "affine": lambda: chain.activation("silu").affine(),
    }
    parts[part]()
    graph = simplify(chain.head())
    assert left_out(opened(build(graph, "int8", recipe_of(graph, pixels(4, 12, 12))))) == 0


def test_tflite_runtime_of_2023_knows_every_operators_version(files, graph, recipe):
    """The newest versions that tflite-runtime 2.14 has, from its register.cc."""
    from ai_edge_litert.schema_py_generated import BuiltinOperator as Codes

    newest = {
        Codes.ADD: 5, Codes.CONV_2D: 8, Codes.DEPTHWISE_CONV_2D: 7, Codes.DEQUANTIZE: 6,
        Codes.FULLY_CONNECTED: 11, Codes.LOGISTIC: 3, Codes.MEAN: 3, Codes.MUL: 7,
        Codes.QUANTIZE: 3, Codes.SOFTMAX: 3, Codes.PAD: 4, Codes.RESHAPE: 1,
    }  # fmt: skip
    part = frozenset(operator.name for operator in graph.operators[::3])
    mixed = build(graph, "int8-mixed", replace(recipe, float_operators=part))
    for file in (*files.values(), mixed):
        model = read(file)
        for index in range(model.OperatorCodesLength()):
            code = model.OperatorCodes(index)
            assert code.Version() <= newest[code.BuiltinCode()]


def test_the_file_needs_no_path(tmp_path: Path, graph):
    from converters.formats.tflite import lower

    (path,) = lower(graph, "fp32", None, tmp_path)
    assert path.read_bytes() == build(graph, "fp32")
