"""Files that others made: ONNX Runtime's quantize_static, TensorFlow's converter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.bisection.bisect import bisect
from converters.bisection.compare import logits
from converters.bisection.opening import Pair, open_files
from converters.bisection.search import Goal
from edgenet.errors import UsageError
from edgenet.measure.accuracy import sqnr_db
from tests.converters.bisection.test_bisect import silent
from tests.networks import Textures


@pytest.fixture(scope="module")
def qdq(frozen, tmp_path_factory) -> Pair:
    """quantize_static's file from our float one."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.calibrate import CalibrationDataReader

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self._feeds = iter([{"image": i[None]} for i in Textures.make(16, seed=3).images])

        def get_next(self) -> Any:
            return next(self._feeds, None)

    source = frozen["lite"].file("onnx", "fp32")
    target = tmp_path_factory.mktemp("qdq") / "int8.onnx"
    quantize_static(
        str(source),
        str(target),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    return open_files(target, str(source), None)


@pytest.fixture(scope="module")
def converted(tiny_models, tmp_path_factory) -> Pair:
    """TFLiteConverter's full integer file and its float one."""
    import keras
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = keras.saving.load_model(tiny_models["b"], compile=False)
    function = tf.function(lambda x: model(x, training=False))
    concrete = convert_variables_to_constants_v2(
        function.get_concrete_function(tf.TensorSpec((1, 64, 64, 3), tf.float32))
    )
    folder = tmp_path_factory.mktemp("converted")

    def write(name: str, quantized: bool) -> Path:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if quantized:
            images = Textures.make(16, seed=3).images.astype(np.float32)
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([image[None]] for image in images)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
            converter.inference_input_type = converter.inference_output_type = tf.int8
        path = folder / name
        path.write_bytes(converter.convert())
        return path

    return open_files(write("int8.tflite", True), str(write("float.tflite", False)), None)


@pytest.mark.parametrize("maker", ["qdq", "converted"])
def test_all_in_float_it_is_its_twin(request, textures, maker):
    pair: Pair = request.getfixturevalue(maker)
    truth = logits(pair.twin, textures)
    before = sqnr_db(truth, logits(pair.network, textures))
    after = sqnr_db(truth, logits(pair.network, textures, pair.network.quantized))
    assert before < 40
    assert after is None or after > 80


@pytest.mark.parametrize("maker", ["qdq", "converted"])
def test_its_layers_are_keras_layers(request, tiny_models, maker):
    import keras

    pair: Pair = request.getfixturevalue(maker)
    model = keras.saving.load_model(tiny_models["b"], compile=False)
    lite = maker == "qdq"
    known = {layer.name for layer in model.layers}
    linear = {step.layer for step in pair.network.steps if step.macs}
    # Both families call their convolutions alike; only one has squeeze-and-excite.
    assert linear <= known | {"top_conv", "predictions"}
    assert {"stem_conv", "block2b_dwconv", "predictions"} <= linear
    assert ("block2a_se_reduce" in linear) is not lite


@pytest.mark.parametrize("maker", ["qdq", "converted"])
def test_its_answers_are_restored(request, textures, maker):
    pair: Pair = request.getfixturevalue(maker)
    truth = logits(pair.twin, textures)
    goal = Goal(0.0, sqnr_db(truth, logits(pair.network, textures)) + 2)
    found = bisect(pair.network, pair.twin, textures, goal, silent)
    assert found.restored.reached
    assert 0 < len(found.restored.steps) < len(pair.network.quantized)
    compared = [row for row in found.rows if row.sqnr_db is not None]
    assert len(compared) > 0.9 * len(found.rows)


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
