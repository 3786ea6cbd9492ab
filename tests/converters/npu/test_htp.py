"""Files for Qualcomm's HTP: no float between quantizers, and the answers of the plain file."""

from __future__ import annotations

import onnx
import pytest

from converters.formats import onnx as plain
from converters.graph import LOGITS
from converters.npu import htp
from edgenet.measure.parity import fidelity
from tests.converters.graphs import run_onnx
from tests.networks import Textures

# It computes in float, and is told to.
FLOAT = ("Softmax",)


def between_quantizers(model: onnx.ModelProto) -> list[str]:
    """The operators of which an input or the output is a float that no quantizer makes or takes."""
    made = {name: node.op_type for node in model.graph.node for name in node.output}
    readers: dict[str, set[str]] = {name: set() for name in made}
    for node in model.graph.node:
        for name in node.input:
            readers.setdefault(name, set()).add(node.op_type)
    return [
        node.name
        for node in model.graph.node
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear", *FLOAT)
        and (
            {made.get(name) for name in node.input} != {"DequantizeLinear"}
            or readers[node.output[0]] != {"QuantizeLinear"}
        )
    ]


@pytest.mark.parametrize("family", ["b", "lite"])
@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_every_operator_is_between_quantizers(quantized, family, precision):
    made = quantized(family, precision, False)
    model = htp.build(made.of("onnx"), precision, made.recipe)
    onnx.checker.check_model(model)
    assert between_quantizers(model) == []
    # The plain file is not so, or this test would prove nothing.
    assert between_quantizers(plain.build(made.of("onnx"), precision, made.recipe))


@pytest.mark.parametrize("family", ["b", "lite"])
@pytest.mark.parametrize(("precision", "sqnr"), [("int8", 25), ("w8a16", 35)])
def test_it_answers_as_the_plain_file_does(quantized, family, precision, sqnr):
    made = quantized(family, precision, False)
    images = Textures.make(16, seed=5).images
    wanted, found = (
        run_onnx(
            build(made.of("onnx"), precision, made.recipe).SerializeToString(), images, (LOGITS,)
        )[LOGITS]
        for build in (plain.build, htp.build)
    )
    assert fidelity(wanted, found).sqnr_db > sqnr


def test_16_bit_relus_saturate_where_they_end(quantized):
    made = quantized("lite", "w8a16", False)
    model = htp.build(made.of("onnx"), "w8a16", made.recipe)
    assert "Clip" not in {node.op_type for node in model.graph.node}
