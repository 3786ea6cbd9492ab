"""Statistics are those that numpy has of each tensor, whatever came before, in bounded memory."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.formats.onnx import build
from converters.graph import INPUT
from converters.quantization.calibrate import TAIL, _UpperTail, calibrate
from tests.converters.graphs import Chain, pixels, run_onnx


def upper(values):
    """The quantile 1 - TAIL as the rank-th largest value, and the largest."""
    rank = max(1, round(values.size * TAIL))
    return float(np.sort(values)[-rank]), float(values.max())


@given(
    seeds=st.lists(st.integers(0, 1000), min_size=1, max_size=6),
    size=st.sampled_from([1, 10, 9_999, 25_000]),
    shift=st.floats(-50, 50),
    data=st.data(),
)
def test_the_tail_is_exact_in_any_order_of_images(seeds, size, shift, data):
    tail = _UpperTail()
    for seed in seeds:
        random = np.random.default_rng(seed)
        scale = data.draw(st.sampled_from([0.0, 1e-3, 1.0, 100.0]))
        values = (shift + scale * random.standard_cauchy(size)).astype(np.float32)
        assert tail(values) == upper(values)


def test_statistics_are_numpys_for_every_tensor():
    graph = Chain(24, 24).normalize().convolution(6, (3, 3)).activation("silu").gate().head()
    images = pixels(5, 24, 24)
    names = tuple(operator.output for operator in graph.operators)
    model = build(graph, "fp32", outputs=names).SerializeToString()
    values = run_onnx(model, images, names)
    found = calibrate(graph, (image[None] for image in images)).tensors
    assert set(found) == set(names)
    for name, statistics in found.items():
        for index, row in enumerate(values[name]):
            expected = (*upper(row.ravel()), *upper(-row.ravel()))
            of_image = (statistics.high_tail, statistics.high, -statistics.low_tail)
            assert [v[index] for v in (*of_image, -statistics.low)] == list(expected)


def test_images_are_read_once_and_one_at_a_time():
    graph = Chain(16, 16).normalize().convolution(4).head()
    alive: list[weakref.ref] = []
    most = 0

    def stream():
        nonlocal most
        for image in pixels(6, 16, 16):
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))
            fresh = image[None].copy()
            alive.append(weakref.ref(fresh))
            yield fresh
            del fresh

    seen: list[int] = []
    streamed = calibrate(graph, stream(), seen.append).tensors
    assert most <= 1
    assert seen == [1, 2, 3, 4, 5, 6]
    listed = calibrate(graph, [image[None] for image in pixels(6, 16, 16)]).tensors
    for name, statistics in streamed.items():
        assert np.array_equal(statistics.high, listed[name].high)
        assert np.array_equal(statistics.low_tail, listed[name].low_tail)


def test_nothing_is_kept_of_an_image_but_four_numbers():
    graph = Chain(16, 16).normalize().convolution(4).head()
    found = calibrate(graph, (image[None] for image in pixels(3, 16, 16))).tensors
    assert INPUT not in found
    for statistics in found.values():
        for values in vars(statistics).values():
            assert values.shape == (3,)
            assert values.dtype == np.float32


@pytest.mark.parametrize("count", [1, 4])
def test_extremes_enclose_the_tails(count):
    graph = Chain(32, 32).normalize().convolution(8, (3, 3)).head()
    found = calibrate(graph, (image[None] for image in pixels(count, 32, 32))).tensors
    for s in found.values():
        assert np.all(s.low <= s.low_tail)
        assert np.all(s.low_tail <= s.high_tail)
        assert np.all(s.high_tail <= s.high)
