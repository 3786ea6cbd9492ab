"""Files for NPUs of integers alone: nothing but integers, and the numbers of the file that runs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from converters.graph import FEATURES, INPUT, LOGITS
from converters.npu import integer_tflite
from tests.converters.graphs import run_tflite
from tests.networks import Textures

OUTPUTS = (LOGITS, FEATURES)


@pytest.fixture(params=["b", "lite"])
def made(request: pytest.FixtureRequest, quantized):
    return quantized(request.param, "int8", True)


@pytest.mark.parametrize("family", ["b", "lite", "joined"])
def test_the_compiler_gets_integers_alone(quantized, family):
    made = quantized(family, "int8", True)
    content = integer_tflite.integer_part(made.of("tflite"), "int8", made.recipe)
    graph = schema.ModelT.InitFromPackedBuf(content, 0).subgraphs[0]
    kinds = {tensor.type for tensor in graph.tensors}
    types = schema.TensorType
    assert kinds <= {types.UINT8, types.INT8, types.INT32}
    assert [graph.tensors[index].name for index in graph.inputs] == [INPUT.encode()]


def test_what_is_compiled_are_the_levels_of_what_was_verified(made, tmp_path: Path):
    """Dequantized, to the bit: so the verified agreement is the compiled network's too."""
    images = Textures.make(4, seed=5).images
    graph = made.of("tflite")
    (path,) = integer_tflite.lower(graph, "int8", made.recipe, tmp_path)
    wanted = run_tflite(path, images, OUTPUTS)
    interpreter = Interpreter(
        model_content=integer_tflite.integer_part(graph, "int8", made.recipe), num_threads=1
    )
    interpreter.allocate_tensors()
    taken = interpreter.get_input_details()[0]["index"]
    details = dict(zip(OUTPUTS, interpreter.get_output_details(), strict=True))
    for row, image in enumerate(images):
        interpreter.set_tensor(taken, image[None])
        interpreter.invoke()
        for name, detail in details.items():
            scale, zero_point = detail["quantization"]
            held = interpreter.get_tensor(detail["index"]).astype(np.int32)
            found = (held - zero_point).astype(np.float32) * np.float32(scale)
            np.testing.assert_array_equal(found[0], wanted[name][row])
