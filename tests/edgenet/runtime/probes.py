"""Writes edgenet/runtime/probes: the smallest model with a bundle's input, in each format.

`logits = 0.5 · image`, of one pixel: enough to make a driver load, compile, compute and answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
import openvino
import tensorflow as tf
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).resolve().parents[3] / "edgenet" / "runtime" / "probes"


def write(folder: Path = FOLDER) -> None:
    folder.mkdir(exist_ok=True)
    _write_tflite(folder / "model.tflite")
    _write_onnx(folder / "model.onnx")
    _write_quantized(folder / "quantized.onnx")
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), folder / "model.xml")


def _write_tflite(path: Path) -> None:
    halve = tf.function(
        lambda image: {"logits": tf.reshape(tf.cast(image, tf.float32) * 0.5, (1, 3))},
        input_signature=[tf.TensorSpec((1, 1, 1, 3), tf.uint8, name="image")],
    )
    with TemporaryDirectory() as saved:
        tf.saved_model.save(tf.Module(), saved, signatures={"serving_default": halve})
        path.write_bytes(tf.lite.TFLiteConverter.from_saved_model(saved).convert())


def _write_onnx(path: Path) -> None:
    constants = {"half": np.float32(0.5), "shape": np.array([1, 3], np.int64)}
    nodes = [
        helper.make_node("Cast", ["image"], ["float"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Mul", ["float", "half"], ["halved"], "halve"),
        helper.make_node("Reshape", ["halved", "shape"], ["logits"], "flatten"),
    ]
    _save(path, nodes, constants)


def _write_quantized(path: Path) -> None:
    """The same in levels: for NPUs that have integer units alone."""
    constants = {
        "one": np.float32(1),
        "half": np.float32(0.5),
        "factor": np.uint8(1),
        "zero": np.uint8(0),
        "shape": np.array([1, 3], np.int64),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["image", "one", "zero"], ["values"]),
        helper.make_node("DequantizeLinear", ["factor", "half", "zero"], ["by"]),
        helper.make_node("Mul", ["values", "by"], ["product"]),
        helper.make_node("QuantizeLinear", ["product", "half", "zero"], ["levels"]),
        helper.make_node("DequantizeLinear", ["levels", "half", "zero"], ["halved"]),
        helper.make_node("Reshape", ["halved", "shape"], ["flat"]),
        helper.make_node("QuantizeLinear", ["flat", "half", "zero"], ["flat_levels"]),
        helper.make_node("DequantizeLinear", ["flat_levels", "half", "zero"], ["logits"]),
    ]
    _save(path, nodes, constants)


def _save(path: Path, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, Any]) -> None:
    graph = helper.make_graph(
        nodes,
        "probe",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, (1, 1, 1, 3))],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 3))],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


if __name__ == "__main__":
    write()
