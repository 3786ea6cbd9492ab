"""Files that others made: ONNX Runtime's quantize_static, TensorFlow's converter."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from onnx import helper, numpy_helper

from converters.bisection.bisect import bisect
from converters.bisection.compare import logits
from converters.bisection.opening import Pair, open_files
from converters.bisection.search import Goal
from edgenet.errors import UsageError
from edgenet.measure.accuracy import sqnr_db
from tests.networks import SIZE, Textures

MAKERS = ("qdq", "reshaped", "converted", "dynamic")


def quantize_statically(source: Path, folder: Path, **options: Any) -> Pair:
    """quantize_static's file from a float one, by other options than those that suit most."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter([{"image": i[None]} for i in Textures.make(16, seed=3).images])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    target = folder / "int8.onnx"
    chosen = {
        "quant_format": QuantFormat.QDQ,
        "per_channel": True,
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        **options,
    }
    quantize_static(str(source), str(target), Reader(), **chosen)
    return open_files(target, str(source), None)


def compute_shape(model: Any) -> None:
    """Has the features reshaped to a shape that the file computes, as exporters may leave it."""
    graph = model.graph
    place = next(n for n, node in enumerate(graph.node) if node.op_type == "Gemm")
    features = graph.node[place].input[0]
    constants = {"first": np.int64(0), "front": np.array([0]), "rest": np.array([-1])}
    graph.initializer.extend(numpy_helper.from_array(v, k) for k, v in constants.items())
    made = [
        helper.make_node("Shape", [features], ["sizes"]),
        helper.make_node("Gather", ["sizes", "first"], ["batch"]),
        helper.make_node("Unsqueeze", ["batch", "front"], ["row"]),
        helper.make_node("Concat", ["row", "rest"], ["shape"], axis=0),
        helper.make_node("Reshape", [features, "shape"], ["pooled"]),
    ]
    graph.node[place].input[0] = "pooled"
    for node in reversed(made):
        graph.node.insert(place, node)


@pytest.fixture(scope="module")
def qdq(frozen, tmp_path_factory) -> Pair:
    """quantize_static's file from our float one."""
    return quantize_statically(frozen["lite"].file("onnx", "fp32"), tmp_path_factory.mktemp("qdq"))


@pytest.fixture(scope="module")
def reshaped(frozen, tmp_path_factory) -> Pair:
    """The same with arithmetic on shapes."""
    folder = tmp_path_factory.mktemp("reshaped")
    model = onnx.load(frozen["lite"].file("onnx", "fp32"))
    compute_shape(model)
    onnx.save(model, folder / "float.onnx")
    return quantize_statically(folder / "float.onnx", folder)


def write_both(make: Callable[[], Any], folder: Path, **options: Any) -> Pair:
    """TFLiteConverter's full integer file and its float one."""
    import tensorflow as tf

    images = Textures.make(16, seed=3).images.astype(np.float32)
    floating, integer = make(), make()
    integer.optimizations = [tf.lite.Optimize.DEFAULT]
    integer.representative_dataset = lambda: ([image[None]] for image in images)
    integer.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    for name, value in options.items():
        setattr(integer, name, value)
    (folder / "float.tflite").write_bytes(floating.convert())
    (folder / "int8.tflite").write_bytes(integer.convert())
    return open_files(folder / "int8.tflite", str(folder / "float.tflite"), None)


@pytest.fixture(scope="module")
def converted(tiny_models, tmp_path_factory) -> Pair:
    """Of a function with a fixed batch."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = keras.saving.load_model(tiny_models["b"], compile=False)
    function = tf.function(lambda x: model(x, training=False))
    concrete = convert_variables_to_constants_v2(
        function.get_concrete_function(tf.TensorSpec((1, 64, 64, 3), tf.float32))
    )
    return write_both(
        lambda: tf.lite.TFLiteConverter.from_concrete_functions([concrete]),
        tmp_path_factory.mktemp("converted"),
        inference_input_type=tf.int8,
        inference_output_type=tf.int8,
    )


@pytest.fixture(scope="module")
def dynamic(tiny_models, tmp_path_factory) -> Pair:
    """Of a Keras model as it is exported: its batch is open, so that the file computes shapes."""
    import keras
    import tensorflow as tf

    saved, folder = tmp_path_factory.mktemp("saved"), tmp_path_factory.mktemp("dynamic")
    model = keras.saving.load_model(tiny_models["b"], compile=False)
    model.export(saved, verbose=False)
    return write_both(
        lambda: tf.lite.TFLiteConverter.from_saved_model(str(saved)),
        folder,
        inference_input_type=tf.uint8,
        inference_output_type=tf.uint8,
    )


def test_a_file_takes_pixels_that_are_no_levels(tmp_path, textures):
    """Of a Keras model of uint8 pixels, which a converter leaves as they are."""
    import tensorflow as tf
    from keras import Input, Model, layers

    inputs = Input((SIZE, SIZE, 3), dtype="uint8")
    x = layers.Conv2D(8, 3, 4, activation="relu")(layers.Rescaling(1 / 255)(inputs))
    model = Model(inputs, layers.Dense(5)(layers.GlobalAveragePooling2D()(x)))
    model.export(tmp_path / "saved", verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(tmp_path / "saved"))
    (tmp_path / "float.tflite").write_bytes(converter.convert())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in textures[:8])
    (tmp_path / "int8.tflite").write_bytes(converter.convert())
    pair = open_files(tmp_path / "int8.tflite", str(tmp_path / "float.tflite"), None)
    expected = np.asarray(model(textures))
    assert logits(pair.reference, textures) == pytest.approx(expected, rel=1e-4, abs=1e-4)
    found = bisect(pair.network, pair.reference, textures, Goal(0.0, 60.0))
    assert found.restored.reached


@pytest.mark.parametrize("maker", MAKERS)
def test_all_in_float_it_is_its_reference(request, textures, maker):
    pair: Pair = request.getfixturevalue(maker)
    truth = logits(pair.reference, textures)
    before = sqnr_db(truth, logits(pair.network, textures))
    after = sqnr_db(truth, logits(pair.network, textures, pair.network.quantized))
    assert before < 40
    assert after is None or after > 80


@pytest.mark.parametrize("maker", MAKERS)
def test_its_layers_are_keras_layers(request, tiny_models, maker):
    import keras

    pair: Pair = request.getfixturevalue(maker)
    model = keras.saving.load_model(tiny_models["b"], compile=False)
    lite = maker in ("qdq", "reshaped")
    known = {layer.name for layer in model.layers}
    linear = {step.layer for step in pair.network.steps if step.macs}
    # Both families call their convolutions alike; only one has squeeze-and-excite.
    assert linear <= known | {"top_conv", "predictions"}
    assert {"stem_conv", "block2b_dwconv", "predictions"} <= linear
    assert ("block2a_se_reduce" in linear) is not lite


@pytest.mark.parametrize("maker", MAKERS)
def test_its_answers_are_restored(request, textures, maker):
    pair: Pair = request.getfixturevalue(maker)
    truth = logits(pair.reference, textures)
    goal = Goal(0.0, sqnr_db(truth, logits(pair.network, textures)) + 2)
    found = bisect(pair.network, pair.reference, textures, goal)
    assert found.restored.reached
    assert 0 < len(found.restored.steps) < len(pair.network.quantized)
    compared = [row for row in found.rows if row.sqnr_db is not None]
    assert len(compared) > 0.9 * len(found.rows)


def test_products_that_leave_16_bits_are_told(qdq, textures):
    found = bisect(qdq.network, qdq.reference, textures, Goal(0.0, 0.0))
    told = [row.step.layer for row in found.rows if row.overflows]
    assert 3 < len(told) == len({*told} - {layer for layer in told if "dwconv" in layer})


@pytest.mark.parametrize("maker", ["reshaped", "dynamic"])
def test_arithmetic_on_shapes_is_no_operator(request, maker):
    pair: Pair = request.getfixturevalue(maker)
    for network in (pair.network, pair.reference):
        kinds = {step.kind.upper() for step in network.steps}
        assert "RESHAPE" in kinds
        assert not kinds & {"SHAPE", "STRIDED_SLICE", "PACK", "GATHER", "UNSQUEEZE", "CONCAT"}


def test_every_operator_of_a_plain_conversion_is_compared_by_its_keras_layer(
    dynamic, tiny_models, textures
):
    import keras

    model = keras.saving.load_model(tiny_models["b"], compile=False)
    found = bisect(dynamic.network, dynamic.reference, textures, Goal(0.0, 0.0))
    assert {row.step.layer for row in found.rows} <= {layer.name for layer in model.layers}
    assert found.rows[-1].step.kind == "SOFTMAX"
    assert None not in [row.sqnr_db for row in found.rows]
    assert None not in [row.own_sqnr_db for row in found.rows]


@pytest.mark.parametrize(
    ("name", "reference", "message"),
    [
        ("none.tflite", "float.tflite", "no such"),
        ("int8.tflite", None, "--reference"),
        ("int8.bin", "float.tflite", "no known format"),
        ("int8.tflite", "float.tflite", "no TFLite file"),
        ("int8.onnx", "float.onnx", "no ONNX file"),
    ],
)
def test_other_files_are_refused(tmp_path, name, reference, message):
    for file in ("int8.tflite", "int8.bin", "float.tflite", "int8.onnx", "float.onnx"):
        (tmp_path / file).write_bytes(b"this is no network" * 20)
    with pytest.raises(UsageError, match=message):
        open_files(tmp_path / name, reference and str(tmp_path / reference), None)


def test_an_onnx_file_that_its_engine_cannot_run_is_refused(tmp_path):
    ends = {
        "image": helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, (1, 3, 32, 32)),
        "answer": helper.make_tensor_value_info("answer", onnx.TensorProto.FLOAT, (1, 3)),
    }
    node = helper.make_node("Unheard", ["image"], ["answer"])
    graph = helper.make_graph([node], "network", [ends["image"]], [ends["answer"]])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, tmp_path / "float.onnx")
    (tmp_path / "int8.onnx").touch()
    with pytest.raises(UsageError, match=r"ONNX Runtime does not run .*float\.onnx: .*Unheard"):
        open_files(tmp_path / "int8.onnx", str(tmp_path / "float.onnx"), None)


def test_a_tflite_file_that_its_engine_cannot_run_is_refused(tmp_path):
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec((1, 32, 32, 3))])
    def network(image):
        return tf.reduce_mean(tf.raw_ops.Betainc(a=image, b=image, x=image), (1, 2))

    converter = tf.lite.TFLiteConverter.from_concrete_functions([network.get_concrete_function()])
    converter.allow_custom_ops = True
    (tmp_path / "float.tflite").write_bytes(converter.convert())
    (tmp_path / "int8.tflite").touch()
    with pytest.raises(UsageError, match=r"LiteRT does not run .*float\.tflite: .*Betainc"):
        open_files(tmp_path / "int8.tflite", str(tmp_path / "float.tflite"), None)


@pytest.mark.parametrize(("inputs", "outputs"), [([], [0]), (None, [0]), ([0], [])])
def test_a_tflite_file_with_a_state_is_refused(tmp_path, frozen, inputs, outputs):
    """What declares a variable reads nothing, and what sets one makes nothing."""
    data = frozen["b"].file("tflite", "fp32").read_bytes()
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    variable = schema.BuiltinOperator.VAR_HANDLE
    model.operatorCodes.append(
        schema.OperatorCodeT(deprecatedBuiltinCode=127, builtinCode=variable, version=1)
    )
    model.subgraphs[0].operators.append(
        schema.OperatorT(opcodeIndex=len(model.operatorCodes) - 1, inputs=inputs, outputs=outputs)
    )
    builder = flatbuffers.Builder(2 * len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    (tmp_path / "float.tflite").write_bytes(bytes(builder.Output()))
    (tmp_path / "int8.tflite").touch()
    with pytest.raises(UsageError, match=r"float\.tflite keeps a state, by VAR_HANDLE"):
        open_files(tmp_path / "int8.tflite", str(tmp_path / "float.tflite"), None)
