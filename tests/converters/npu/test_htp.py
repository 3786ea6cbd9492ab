"""Files for Qualcomm's HTP: no float between quantizers, and the answers of the plain file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from converters.formats import onnx as plain
from converters.graph import LOGITS
from converters.npu import htp
from edgenet.measure.fidelity import Fidelity
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


@pytest.mark.parametrize("family", ["b", "lite", "joined"])
@pytest.mark.parametrize("precision", ["int8", "w8a16"])
def test_every_operator_is_between_quantizers(quantized, family, precision):
    made = quantized(family, precision, False)
    model = htp.build(made.of("onnx"), precision, made.recipe)
    onnx.checker.check_model(model)
    assert between_quantizers(model) == []
    # The plain file is not so, or this test would prove nothing.
    assert between_quantizers(plain.build(made.of("onnx"), precision, made.recipe))


@pytest.mark.parametrize("family", ["b", "lite", "joined"])
@pytest.mark.parametrize(("precision", "sqnr"), [("int8", 25), ("w8a16", 28)])
def test_it_answers_as_the_plain_file_does(quantized, family, precision, sqnr):
    made = quantized(family, precision, False)
    images = Textures.make(16, seed=5).images
    wanted, found = (
        run_onnx(
            build(made.of("onnx"), precision, made.recipe).SerializeToString(), images, (LOGITS,)
        )[LOGITS]
        for build in (plain.build, htp.build)
    )
    assert Fidelity.of(wanted, found).sqnr_db > sqnr


def test_16_bit_relus_saturate_where_they_end(quantized):
    made = quantized("lite", "w8a16", False)
    model = htp.build(made.of("onnx"), "w8a16", made.recipe)
    assert "Clip" not in {node.op_type for node in model.graph.node}


def test_biases_of_dead_channels_stay_far_from_overflow(quantized):
    """The HTP answers with the largest value that there is where one comes near 2^30."""
    made = quantized("b", "w8a16", False)
    stem, *rest = [op for op in made.of("onnx").operators if hasattr(op, "weights")]
    weights = stem.weights.copy()
    weights[..., 0] = 1e-9
    dead = replace(stem, weights=weights, bias=np.full_like(stem.bias, 0.2), scales=None)
    graph = made.of("onnx").with_operators(
        [dead if op is stem else op for op in made.of("onnx").operators]
    )
    model = htp.build(graph, "w8a16", made.recipe)
    biases = [c for c in model.graph.initializer if c.name.endswith("/bias/quantized")]
    assert len(biases) == 1 + len(rest)
    largest = max(np.abs(numpy_helper.to_array(bias)).max() for bias in biases)
    assert 2**24 < largest < 1.001 * 2**26


def test_16_bit_ranges_end_where_their_functions_do(quantized):
    made = quantized("b", "w8a16", False)
    graph = made.of("onnx")
    found = htp._wide_quantizations(graph, made.recipe)
    for operator in graph.operators:
        if getattr(operator, "function", "") == "silu":
            held = found[operator.output]
            assert held.low == pytest.approx(-0.2785, abs=held.scale)
            assert held.high > held.scale * 2**15
