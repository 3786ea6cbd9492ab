"""A file is brought to another batch without the onnx package, and to its own byte by byte."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from edgenet.runtime.onnx import with_batch


def batches(data: bytes) -> set[int]:
    graph = onnx.load_from_string(data).graph
    values = [*graph.input, *graph.output]
    return {value.type.tensor_type.shape.dim[0].dim_value for value in values}


@pytest.mark.parametrize("batch", [2, 127, 128, 100_000])
def test_inputs_and_outputs_say_the_batch_and_nothing_else_changes(tiny_bundle: Path, batch):
    data = (tiny_bundle / "model.onnx").read_bytes()
    found = with_batch(data, batch)
    assert batches(found) == {batch}
    assert with_batch(found, 1) == data
    onnx.checker.check_model(found, full_check=True)
