"""The simulation holds what it is told in levels and leaves the rest as the float model has it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.formats import EVERY_TENSOR
from converters.formats.onnx import build
from converters.graph import INPUT, LOGITS
from converters.quantization.arrangement import held_tensors
from converters.quantization.calibrate import calibrate
from converters.quantization.parallel import in_order
from converters.quantization.ranges import choose
from converters.quantization.simulate import logits, noise, runner, simulated
from converters.scheme.parameters import SIGMOID
from tests.converters.graphs import float_answers, pixels, run_onnx
from tests.converters.quantization.networks import SIZE, batches, quantized, silu_network

GRAPH = silu_network()
NAMES = [operator.output for operator in GRAPH.operators]
IMAGES = batches(4)


@pytest.fixture(scope="module")
def quantizations():
    return choose(GRAPH, calibrate(GRAPH, batches(8)).tensors).quantizations(GRAPH)


def tensors(held):
    """All tensors of the first image."""
    return runner(simulated(GRAPH, held, NAMES), NAMES)({INPUT: IMAGES[0]})


def test_with_nothing_held_it_is_the_float_model():
    expected = float_answers(GRAPH, np.concatenate(IMAGES))[LOGITS]
    assert logits(simulated(GRAPH, {}), IMAGES) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@settings(max_examples=25)
@given(data=st.data())
def test_held_tensors_are_on_their_levels_and_what_comes_before_is_exact(quantizations, data):
    choices = sorted(set(NAMES) & set(quantizations))
    chosen = data.draw(st.lists(st.sampled_from(choices), min_size=1, max_size=3, unique=True))
    exact, found = tensors({}), tensors({name: quantizations[name] for name in chosen})
    for name in chosen:
        levels = found[name] / np.float32(quantizations[name].scale)
        assert np.abs(levels - np.rint(levels)).max() < 1e-3
        assert found[name].min() >= quantizations[name].low - 1e-6
        assert found[name].max() <= quantizations[name].high * (1 + 1e-6)
    first = min(map(NAMES.index, chosen))
    for name in NAMES[:first]:
        assert found[name] == pytest.approx(exact[name], rel=1e-5, abs=1e-5)
    assert any(not np.array_equal(found[name], exact[name]) for name in chosen)


def test_one_tensor_alone_is_rounded_to_the_nearest_level(quantizations):
    name = GRAPH.operators[1].output
    held = quantizations[name]
    found = tensors({name: held})[name]
    expected = held.dequantize(held.quantize(tensors({})[name]))
    off = np.abs(found - expected)
    assert off.max() <= held.scale * 1.001
    assert np.mean(off > held.scale / 2) < 0.01  # ties fall to one side or the other


def test_the_sigmoid_inside_a_silu_is_held_with_it(quantizations):
    silu = next(op for op in GRAPH.operators if getattr(op, "function", "") == "silu")
    model = simulated(GRAPH, {silu.output: quantizations[silu.output]})
    scales = {c.name: c for c in model.graph.initializer if c.name.endswith("/scale")}
    assert f"{silu.output}/sigmoid/scale" in scales
    scale = np.frombuffer(scales[f"{silu.output}/sigmoid/scale"].raw_data, np.float32)
    assert scale == np.float32(SIGMOID.scale)


def test_it_agrees_with_the_int8_file_up_to_ties():
    made = quantized(GRAPH)
    graph = made.of("onnx")
    images = pixels(32, SIZE, SIZE, seed=5)
    model = build(graph, "int8", made.recipe).SerializeToString()
    expected = run_onnx(model, images, (LOGITS,))[LOGITS]
    held = held_tensors(graph, made.recipe, EVERY_TENSOR)
    found = logits(simulated(graph, held), [image[None] for image in images])
    step = made.recipe.quantizations(graph)[LOGITS].scale
    exact = float_answers(made.graph, images)[LOGITS]
    assert np.abs(found - expected).max() <= 3 * step
    # The file's mean pixel is itself held in levels, which turns some roundings of pixels.
    assert noise(found, expected) < 0.7 * noise(expected, exact)


def test_of_values_neither_mean_nor_unit_is_signal():
    random = np.random.default_rng(3)
    reference = random.normal(0, [1, 5], (50, 2)).astype(np.float32)
    answers = reference + random.normal(0, [0.1, 0.5], reference.shape).astype(np.float32)
    kept = noise(answers, reference, values=True)
    assert kept == pytest.approx(0.01, rel=0.5)
    unit, mean = np.float32([1, 1000]), np.float32([64, -64])
    moved = [those * unit + mean for those in (answers, reference)]
    assert noise(*moved, values=True) == pytest.approx(kept, rel=1e-3)


def test_a_value_that_never_varies_is_no_signal():
    reference = np.array([[1, 7], [2, 7], [3, 7]], np.float32)
    assert noise(reference + 1, reference, values=True) == pytest.approx(1, rel=1e-3)


def test_a_runner_serves_any_thread():
    run = runner(simulated(GRAPH, {}), [LOGITS])
    feeds = [{INPUT: image} for image in IMAGES] * 3
    one_by_one = [run(feed)[LOGITS] for feed in feeds]
    together = [found[LOGITS] for found in in_order(run, feeds)]
    assert all(map(np.array_equal, one_by_one, together))


def test_noise_is_a_share_of_what_tells_images_apart():
    reference = np.float32([[3, 4], [-3, 4], [0, 4]])
    assert noise(reference, reference) == 0
    assert noise(reference + np.float32([0, 0.3]), reference) == pytest.approx(0.01, rel=1e-3)


@given(seed=st.integers(0, 99), count=st.integers(2, 30))
def test_what_is_the_same_for_all_images_is_no_signal(seed, count):
    random = np.random.default_rng(seed)
    reference, error = random.normal(size=(2, count, 5))
    bias = random.normal(0, 100, 5)
    found = noise(reference + 0.1 * error + bias, reference + bias)
    assert found == pytest.approx(noise(reference + 0.1 * error, reference))


def test_of_a_single_image_all_is_signal():
    reference = np.float32([[3, 4]])
    assert noise(reference + np.float32([[0, 1]]), reference) == pytest.approx(1 / 25)
    assert noise(reference * 0, reference) == 1


def test_beside_silence_only_silence_is_no_noise():
    silent = np.zeros((2, 3), np.float32)
    assert noise(silent, silent) == 0
    assert noise(silent + 1e-3, silent) == 1


def test_noise_is_that_of_a_typical_image():
    reference = np.float32([[10, -10], [-10, 10], [10, -10], [-10, 10]]) * np.sqrt(3 / 4)
    one_is_loud = reference + np.float32([[1, 1], [1, 1], [1, 1], [9, 9]])
    assert noise(one_is_loud, reference) == pytest.approx((3 * 0.1 + 0.9) ** 2 / 16)
