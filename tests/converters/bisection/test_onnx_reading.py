"""Files that ONNX Runtime quantizes in another way than QDQ are told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.bisection.onnx_reading import read
from edgenet.errors import UsageError
from tests.converters.bisection.test_foreign import quantize_statically


@pytest.fixture(scope="module")
def source(frozen) -> Path:
    """The float file."""
    return frozen["lite"].file("onnx", "fp32")


def test_a_file_whose_operators_read_levels_is_refused(source, tmp_path):
    from onnxruntime.quantization import QuantFormat

    told = r"int8\.onnx is in ONNX Runtime's QOperator format, with QLinear.*QuantFormat\.QDQ"
    with pytest.raises(UsageError, match=told):
        quantize_statically(source, tmp_path, quant_format=QuantFormat.QOperator)


def test_a_file_that_rounds_as_it_runs_is_refused(source, tmp_path):
    from onnxruntime.quantization import quantize_dynamic

    quantize_dynamic(source, tmp_path / "int8.onnx")
    told = r"int8\.onnx is quantized dynamically, by DynamicQuantizeLinear.*QuantFormat\.QDQ"
    with pytest.raises(UsageError, match=told):
        read(tmp_path / "int8.onnx")
