"""QDQ files by their arrangement: what stays in float, and where quantizers and weights are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from converters.bisection.bisect import bisect
from converters.bisection.compare import forward, logits, own
from converters.bisection.opening import Pair, open_files
from converters.bisection.search import Goal
from edgenet.measure.accuracy import sqnr_db
from tests.converters.bisection.test_foreign import quantize_statically
from tests.converters.bisection.test_networks import decibels, nothing
from tests.converters.graphs import run_onnx

SPOILED = "block3a_project_conv"
NNCF = "as NNCF arranges it"
FLOAT_BIASES = {"QuantizeBias": False}
FLOAT_WEIGHTS = {"AddQDQPairToWeight": True}
OPTIONS: dict[str, dict[str, Any]] = {
    "all in int8": {},
    "biases in float": {"extra_options": FLOAT_BIASES},
    "weights behind their quantizers": {"extra_options": FLOAT_WEIGHTS},
    "as trained with fake quantizers": {"extra_options": FLOAT_BIASES | FLOAT_WEIGHTS},
    NNCF: {"extra_options": FLOAT_BIASES, "op_types_to_quantize": ["Conv", "Gemm"]},
}


@pytest.fixture(scope="module")
def source(frozen) -> Path:
    """The float file."""
    return frozen["b"].file("onnx", "fp32")


@pytest.fixture(scope="module")
def quantized(source, tmp_path_factory) -> Callable[[str], Path]:
    """The int8 file of an arrangement."""
    made: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in made:
            folder = tmp_path_factory.mktemp("qdq")
            quantize_statically(source, folder, **OPTIONS[name])
            made[name] = folder / "int8.onnx"
            if name == NNCF:
                arrange_as_nncf(made[name])
        return made[name]

    return of


def arrange_as_nncf(path: Path) -> None:
    """Rounds what depthwise convolutions read by channel, and features before they are reshaped."""
    model = onnx.load(path)
    makers = {node.output[0]: node for node in model.graph.node}
    read = Counter(name for node in model.graph.node for name in node.input)
    values = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    for node in model.graph.node:
        depthwise = any(a.name == "group" and a.i > 1 for a in node.attribute)
        if depthwise and read[node.input[0]] == 1:
            dequantizer = makers[node.input[0]]
            channels = len(values[makers[node.input[1]].input[0]])
            scale, zero_point = (values[name] for name in dequantizer.input[1:])
            finer = np.linspace(0.9, 1.0, channels, dtype=np.float32)
            names = [f"{node.name}/scale", f"{node.name}/zero_point"]
            for name, held in zip(names, (scale * finer, zero_point.repeat(channels)), strict=True):
                model.graph.initializer.append(numpy_helper.from_array(held, name))
            for border in (makers[dequantizer.input[0]], dequantizer):
                border.input[1], border.input[2] = names
                border.attribute.append(helper.make_attribute("axis", 1))
    gemm = next(node for node in model.graph.node if node.op_type == "Gemm")
    dequantizer = makers[gemm.input[0]]
    quantizer = makers[dequantizer.input[0]]
    moving = makers[quantizer.input[0]]
    gemm.input[0], quantizer.input[0] = moving.output[0], moving.input[0]
    moving.input[0] = dequantizer.output[0]
    nodes = [node for node in model.graph.node if node != moving]
    nodes.insert(nodes.index(gemm), moving)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def coarsened(path: Path, tensor: str) -> None:
    """Has a tensor rounded 40 times as coarsely."""
    model = onnx.load(path)
    first = next(node for node in model.graph.node if tensor in node.input)
    second = next(node for node in model.graph.node if first.output[0] in node.input)
    assert (first.op_type, second.op_type) == ("QuantizeLinear", "DequantizeLinear")
    held = next(one for one in model.graph.initializer if one.name == first.input[1])
    scale = numpy_helper.from_array(40 * numpy_helper.to_array(held), "coarse")
    model.graph.initializer.append(scale)
    first.input[1] = second.input[1] = scale.name
    onnx.save(model, path)


def opened_pair(path: Path, source: Path) -> Pair:
    return open_files(path, str(source), None)


@pytest.mark.parametrize("name", OPTIONS)
def test_untouched_its_answers_are_the_files_to_the_bit(quantized, source, textures, name):
    network = opened_pair(quantized(name), source).network
    shipped = run_onnx(quantized(name), textures, ("logits",))["logits"]
    assert np.array_equal(logits(network, textures), shipped)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_product_is_int8_and_all_in_float_is_the_reference(quantized, source, textures, name):
    pair = opened_pair(quantized(name), source)
    assert all(step.quantized for step in pair.network.steps if step.macs)
    truth = logits(pair.reference, textures)
    assert decibels(truth, logits(pair.network, textures)) < 40
    assert decibels(truth, logits(pair.network, textures, pair.network.quantized)) > 80


@pytest.mark.parametrize("name", OPTIONS)
def test_every_int8_step_is_run_alone(quantized, source, textures, name):
    network = opened_pair(quantized(name), source).network
    found = own(network, textures, nothing)
    assert set(found) == set(network.quantized)
    assert min(found.values()) > 5


def test_the_quantizer_behind_a_step_with_a_float_bias_is_found(
    source, textures, tmp_path, quantized
):
    sound = opened_pair(quantized("biases in float"), source)
    reachable = sqnr_db(logits(sound.reference, textures), logits(sound.network, textures)) - 1
    quantize_statically(source, tmp_path, extra_options=FLOAT_BIASES)
    step = next(s for s in sound.network.steps if s.layer == SPOILED and s.macs)
    coarsened(tmp_path / "int8.onnx", step.tensor)

    pair = opened_pair(tmp_path / "int8.onnx", source)
    found = bisect(pair.network, pair.reference, textures, Goal(0.0, reachable))

    shipped = run_onnx(tmp_path / "int8.onnx", textures, ("logits",))["logits"]
    assert found.score.sqnr_db == sqnr_db(logits(pair.reference, textures), shipped) < reachable
    assert found.restored.reached
    assert SPOILED in found.layers
    worst = min((r for r in found.rows if r.own_sqnr_db is not None), key=lambda r: r.own_sqnr_db)
    assert worst.step.layer in found.layers


def test_a_quantizer_between_float_steps_goes_with_its_reader(source, textures, tmp_path):
    quantize_statically(source, tmp_path, op_types_to_quantize=["Conv"])
    path = tmp_path / "int8.onnx"
    model = onnx.load(path)
    place = next(n for n, node in enumerate(model.graph.node) if node.op_type == "Gemm")
    features = model.graph.node[place].input[0]
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0.05), "step"))
    model.graph.initializer.append(numpy_helper.from_array(np.uint8(0), "zero"))
    model.graph.node[place].input[0] = "rounded"
    for node in (
        helper.make_node("DequantizeLinear", ["levels", "step", "zero"], ["rounded"]),
        helper.make_node("QuantizeLinear", [features, "step", "zero"], ["levels"]),
    ):
        model.graph.node.insert(place, node)
    onnx.save(model, path)
    pair = opened_pair(path, source)
    shipped = run_onnx(path, textures, ("logits",))["logits"]
    assert np.array_equal(logits(pair.network, textures), shipped)
    truth = logits(pair.reference, textures)
    convolutions = [n for n in pair.network.quantized if n != pair.network.answer]
    assert decibels(truth, logits(pair.network, textures, convolutions)) < 40
    assert decibels(truth, logits(pair.network, textures, pair.network.quantized)) > 80


def test_a_tensor_that_is_rounded_by_channel_is_compared_as_the_file_has_it(
    quantized, source, textures
):
    model = onnx.load(quantized(NNCF))
    rounded = [n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.attribute]
    assert rounded
    shown = {node.input[0]: node.output[0] for node in model.graph.node}
    pair = opened_pair(quantized(NNCF), source)
    steps = [pair.network.index[node.input[0]] for node in rounded]
    names = tuple(shown[node.output[0]] for node in rounded)
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    shipped = run_onnx(model.SerializeToString(), textures, names)
    taps = zip(*pair.network.probe(steps).run(textures), strict=True)
    for name, maps in zip(names, taps, strict=True):
        assert np.array_equal(np.concatenate(maps), shipped[name].transpose(0, 2, 3, 1))
    assert (
        min(forward(pair.network, pair.reference, textures, nothing)[step] for step in steps) > 10
    )
