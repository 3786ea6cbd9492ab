"""No sum of two products leaves 16 bits: in no layer, and in none of the files that are written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from converters.formats import lower
from converters.graph import Convolution, Dense, Linear, Padding
from converters.passes import simplify
from converters.quantization.moments import MomentSampler
from converters.quantization.rounding import round_weights
from converters.scheme.pairs import PAIR_LEVELS, fitting, largest_pairs, neighbours, overflow
from converters.scheme.parameters import PIXELS, Quantization, quantize_linear
from tests.converters.graphs import Chain, chains, pixels, recipe_of

LAYERS = ("dense", "1x1", "3x3", "depthwise")
SIXTEEN_BITS = np.iinfo(np.int16)


def layer(kind: str, channels: int, seed: int, spread: float = 1.0) -> Linear:
    """Weights whose magnitudes span decades where `spread` says so, most of them of one sign."""
    random = np.random.default_rng(seed)
    kernel = {"dense": (), "1x1": (1, 1)}.get(kind, (3, 3))
    out = channels if kind == "depthwise" else 5
    shape = (*kernel, channels, 1 if kind == "depthwise" else out)
    weights = np.exp(spread * random.normal(0, 1, shape)) * random.choice([1, 1, -1], shape)
    operator = ("layer", ("x",), "y", weights.astype(np.float32), np.zeros(out, np.float32))
    if kind == "dense":
        return Dense(*operator, "linear")
    return Convolution(*operator, "linear", (1, 1), Padding(), kind == "depthwise")


def saturates(weights: np.ndarray, start: int = 0) -> bool:
    """Whether vpmaddubsw does, for levels (..., out) in the order in which a kernel reads them.

    The worst inputs: all 255 where the weights have one sign, zero where they have the other.
    """
    rows = weights.reshape(-1, weights.shape[-1]).astype(np.int64)[start:]
    rows = np.pad(rows, ((0, len(rows) % 2), (0, 0)))
    pairs = 255 * rows.reshape(len(rows) // 2, 2, -1)
    above, below = np.maximum(pairs, 0).sum(axis=1), np.minimum(pairs, 0).sum(axis=1)
    return bool(above.max() > SIXTEEN_BITS.max or below.min() < SIXTEEN_BITS.min)


def starts(operator: Linear) -> range:
    """Where a pair may start: anywhere, if channels are odd in a window."""
    window = isinstance(operator, Convolution) and operator.kernel != (1, 1)
    return range(2 if window and operator.weights.shape[2] % 2 else 1)


def test_the_last_level_that_fits_is_the_last():
    assert not saturates(np.array([[127], [PAIR_LEVELS - 127]]))
    assert not saturates(np.array([[-64], [-64]]))
    assert saturates(np.array([[64], [65]]))
    assert saturates(np.array([[-64], [-65]]))
    assert not saturates(np.array([[127], [-127]]))


@pytest.mark.parametrize(
    ("kind", "channels", "expected"),
    [
        ("dense", 4, [[1], [0], [3], [2]]),
        ("dense", 3, [[1], [0], [3]]),
        ("1x1", 3, [[1], [0], [3]]),
        ("3x3", 2, [[tap ^ 1] for tap in range(18)]),
        ("depthwise", 2, [[]] * 9),
    ],
)
def test_pairs_are_neighbours(kind, channels, expected):
    operator = layer(kind, channels, 0)
    assert neighbours(operator, len(expected)).tolist() == expected


def test_an_odd_number_of_channels_under_a_window_is_one_row():
    beside = neighbours(layer("3x3", 3, 0), 27)
    assert beside[0].tolist() == [27, 1]
    assert beside[13].tolist() == [12, 14]
    assert beside[26].tolist() == [25, 27]


@given(
    kind=st.sampled_from(LAYERS),
    channels=st.integers(1, 9),
    seed=st.integers(0, 999),
    spread=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
)
def test_nearest_levels_never_saturate(kind, channels, seed, spread):
    operator = layer(kind, channels, seed, spread)
    levels = quantize_linear(operator, PIXELS).weights
    if kind == "depthwise":
        assert np.abs(levels).max(axis=(0, 1, 3)).tolist() == [127] * channels
    else:
        assert not any(saturates(levels, start) for start in starts(operator))


@given(channels=st.integers(2, 9), seed=st.integers(0, 999), bias=st.floats(0, 1e9))
def test_nor_where_a_bias_asks_for_larger_scales(channels, seed, bias):
    operator = layer("1x1", channels, seed, 0.0)
    operator.bias[:] = bias
    assert not saturates(quantize_linear(operator, Quantization.covering(0, 1e-3)).weights)


@settings(max_examples=60)
@given(
    kind=st.sampled_from(LAYERS[:3]),
    channels=st.integers(1, 9),
    seed=st.integers(0, 999),
    spread=st.sampled_from([0.0, 0.3, 1.0]),
)
def test_weights_that_make_up_for_each_other_never_saturate(kind, channels, seed, spread):
    """What one tap is rounded by moves others: by more than a level, where inputs are alike."""
    operator, random = layer(kind, channels, seed, spread), np.random.default_rng(seed)
    sampler = MomentSampler(operator)
    for _ in range(4):
        shape = (1, channels) if kind == "dense" else (1, channels, 6, 6)
        alike = random.normal(0, 1, (1, 1, *shape[2:])) + 0.05 * random.normal(0, 1, shape)
        sampler.add(sampler.sample(alike.astype(np.float32)))
    rounded = round_weights(operator, sampler.moments(), paired=True)
    levels = quantize_linear(rounded, PIXELS).weights
    assert np.allclose(levels * rounded.scales, rounded.weights, rtol=1e-5)
    assert not any(saturates(levels, start) for start in starts(operator))


@given(st.integers(-127, 127), st.lists(st.integers(-127, 127), max_size=2))
def test_the_nearest_level_that_there_is_room_for_is_taken(level, beside):
    room = [
        value
        for value in range(-PAIR_LEVELS, PAIR_LEVELS + 1)
        if all(value * other <= 0 or abs(value + other) <= PAIR_LEVELS for other in beside)
    ]
    (found,) = fitting(np.array([level]), np.array(beside, int).reshape(-1, 1))
    assert found == min(room, key=lambda value: abs(value - level))


@given(
    kind=st.sampled_from(["1x1", "3x3"]),
    channels=st.integers(1, 9),
    seed=st.integers(0, 99),
    largest=st.integers(32, 127),
)
def test_weights_overflow_where_a_kernel_saturates(kind, channels, seed, largest):
    operator = layer(kind, channels, seed)
    levels = np.rint(operator.weights * largest / np.abs(operator.weights).max()).astype(np.int8)
    expected = any(saturates(levels, start) for start in starts(operator))
    assert overflow(levels) == expected


@given(kind=st.sampled_from(LAYERS[:3]), channels=st.integers(2, 8), seed=st.integers(0, 99))
def test_the_largest_pair_is_of_one_sign(kind, channels, seed):
    operator = layer(kind, channels, seed)
    weights = operator.weights.reshape(-1, operator.bias.size)
    largest = largest_pairs(operator)
    assert np.all(largest >= np.abs(weights[: len(weights) // 2 * 2]).max(axis=0))
    assert np.all(largest <= 2 * np.abs(weights).max(axis=0))


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(chains())
def test_no_file_saturates(tmp_path, format, graph):
    _require_no_saturation(simplify(graph), format, tmp_path)


@pytest.mark.parametrize("format", ["onnx", "openvino"])
@pytest.mark.parametrize(("size", "kernel"), [(32, 3), (30, 5), (33, 3)])
def test_nor_do_stems_in_groups_of_pixels(tmp_path, format, size, kernel):
    chain = Chain(size, size).normalize()
    chain.convolution(8, (kernel, kernel), (2, 2)).activation("silu").convolution(16)
    _require_no_saturation(simplify(chain.head()), format, tmp_path)


def _require_no_saturation(graph: Any, format: str, folder: Path) -> None:
    _, height, width, _ = graph.input_shape
    recipe = recipe_of(graph, pixels(4, height, width))
    path, *_ = lower(graph, format, "int8", recipe, folder)
    found = _onnx_weights(path) if format == "onnx" else _openvino_weights(path)
    assert found
    for levels in found:
        assert not saturates(levels)


def _onnx_weights(path: Path) -> list[np.ndarray]:
    """In the order in which kernels read them: (height, width, in, out), no depthwise ones."""
    model = onnx.load(path)
    constants = {c.name: onnx.numpy_helper.to_array(c) for c in model.graph.initializer}
    return _read(
        constants[node.input[0]]
        if constants[node.input[0]].ndim == 4
        else constants[node.input[0]].T[:, :, None, None]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear"
        and getattr(constants.get(node.input[0]), "dtype", None) == np.int8
    )


def _openvino_weights(path: Path) -> list[np.ndarray]:
    import openvino

    constants = [
        op.get_data()
        for op in openvino.Core().read_model(path).get_ops()
        if op.get_type_name() == "Constant" and op.get_element_type() == openvino.Type.i8
    ]
    return _read(c if c.ndim == 4 else c[:, :, None, None] for c in constants)


def _read(weights: Any) -> list[np.ndarray]:
    """From (out, in, height, width); channels are padded to an even number."""
    found = []
    for levels in weights:
        if levels.shape[1] == 1 and levels.shape[2:] != (1, 1):
            continue
        odd = levels.shape[1] % 2
        found.append(np.pad(levels.transpose(2, 3, 1, 0), ((0, 0), (0, 0), (0, odd), (0, 0))))
    return found
