"""Statistics are those that numpy has of each tensor, whatever came before, in bounded memory."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.formats.onnx import build
from converters.graph import INPUT, Linear
from converters.quantization import parallel
from converters.quantization.calibrate import TAIL, _look, calibrate, channel_peaks
from edgenet.errors import UsageError
from tests.converters.graphs import Chain, pixels, run_onnx
from tests.converters.quantization.networks import batches, silu_network


def upper(values):
    """The quantile 1 - TAIL as the rank-th largest value, and the largest."""
    rank = max(1, round(values.size * TAIL))
    return float(np.sort(values)[-rank]), float(values.max())


def by_channel(tensor):
    """(channels, positions) of a map, channels first, or of a vector."""
    return tensor.reshape(tensor.shape[1], -1)


@given(
    shape=st.sampled_from([(1, 7), (1, 3, 1, 1), (1, 2, 5, 4), (1, 1, 150, 170), (1, 40, 33, 20)]),
    seed=st.integers(0, 1000),
    shift=st.floats(-50, 50),
    scale=st.sampled_from([0.0, 1e-3, 1.0, 100.0]),
)
def test_a_look_at_a_tensor_is_numpys(shape, seed, shift, scale):
    random = np.random.default_rng(seed)
    tensor = (shift + scale * random.standard_cauchy(shape)).astype(np.float32)
    look = _look(tensor, "layer")
    assert look.ends[2:] == upper(tensor.ravel())
    assert (-look.ends[1], -look.ends[0]) == upper(-tensor.ravel())
    assert np.array_equal(look.peaks, np.abs(by_channel(tensor)).max(axis=1))
    assert look.sample.size == min(tensor.size, 256)
    assert np.isin(look.sample, tensor).all()


@pytest.mark.parametrize("shape", [(480,), (511,), (32, 112, 112), (144, 56, 56), (1152, 7, 7)])
def test_a_sample_is_of_all_of_a_tensor(shape):
    values = np.arange(np.prod(shape), dtype=np.float32).reshape(1, *shape)
    places = _look(values, "layer").sample
    assert len(set(places)) == 256
    for axis, found in enumerate(np.unravel_index(places.astype(int), shape)):
        quarters = np.bincount(4 * found // shape[axis], minlength=4)
        assert quarters.min() > 256 / 4 / 3
        assert len(set(found)) > min(shape[axis], 256) / 2


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
        peaks = [np.abs(by_channel(row[None])).max(axis=1) for row in values[name]]
        assert statistics.peaks == pytest.approx(np.mean(peaks, axis=0), rel=1e-6)


def test_the_peaks_of_channels_alone_are_those_of_the_statistics():
    graph, images = silu_network(), batches(4)
    tensors = [operator.output for operator in graph.operators[:5]]
    statistics = calibrate(graph, images).tensors
    found = channel_peaks(graph, images, tensors)
    assert list(found) == tensors
    for name in tensors:
        assert found[name] == pytest.approx(statistics[name].peaks, rel=1e-5)


@pytest.mark.parametrize("cores", [2, 4])
def test_the_numbers_are_the_same_whatever_the_number_of_threads(monkeypatch, cores):
    graph, images = silu_network(), batches(9)
    monkeypatch.setattr(parallel, "processors", lambda: range(1))
    alone = calibrate(graph, images)
    monkeypatch.setattr(parallel, "processors", lambda: range(cores))
    together = calibrate(graph, images)
    for name, statistics in alone.tensors.items():
        for field, values in vars(statistics).items():
            assert np.array_equal(values, getattr(together.tensors[name], field))
    for name, moments in alone.inputs.items():
        assert np.array_equal(moments.mean, together.inputs[name].mean)
        assert np.array_equal(moments.covariance, together.inputs[name].covariance)


def test_images_are_read_once_and_few_at_a_time(request, monkeypatch):
    monkeypatch.setattr(parallel, "processors", lambda: range(2))
    gc.freeze()  # What was there before need not be looked through for every image.
    request.addfinalizer(gc.unfreeze)
    graph = Chain(16, 16).normalize().convolution(4).head()
    alive: list[weakref.ref] = []
    most = 0

    def stream():
        nonlocal most
        for image in pixels(20, 16, 16):
            gc.collect()
            most = max(most, sum(ref() is not None for ref in alive))
            fresh = image[None].copy()
            alive.append(weakref.ref(fresh))
            yield fresh
            del fresh

    seen: list[int] = []
    streamed = calibrate(graph, stream(), seen.append).tensors
    assert most <= 4
    assert seen == list(range(1, 21))
    listed = calibrate(graph, [image[None] for image in pixels(20, 16, 16)]).tensors
    for name, statistics in streamed.items():
        assert np.array_equal(statistics.high, listed[name].high)
        assert np.array_equal(statistics.low_tail, listed[name].low_tail)


def test_what_is_kept_of_an_image_does_not_grow_with_the_map():
    graph = Chain(64, 64).normalize().convolution(4).head()
    found = calibrate(graph, (image[None] for image in pixels(3, 64, 64))).tensors
    assert INPUT not in found
    for name, statistics in found.items():
        kept = dict(vars(statistics))
        assert kept.pop("peaks").shape == (graph.shapes[name][-1],)
        sample = kept.pop("sample")
        assert sample.shape[0] == 3
        assert sample.shape[1] <= 256
        assert {values.shape for values in kept.values()} == {(3,)}
        assert {values.dtype for values in vars(statistics).values()} == {np.dtype(np.float32)}


def test_of_many_images_the_samples_of_evenly_spaced_ones_are_kept(monkeypatch):
    graph, images = Chain(8, 8).normalize().convolution(4).head(), pixels(11, 8, 8)
    every = calibrate(graph, (image[None] for image in images)).tensors
    monkeypatch.setattr("converters.quantization.calibrate._SAMPLED_IMAGES", 4)
    found = calibrate(graph, (image[None] for image in images)).tensors
    for name, statistics in found.items():
        assert np.array_equal(statistics.sample, every[name].sample[::4])
        assert np.array_equal(statistics.peaks, every[name].peaks)


def test_moments_are_of_what_operators_with_weights_read_and_can_be_left_out():
    graph, images = silu_network(), batches(2)
    linear = {operator.name for operator in graph.operators if isinstance(operator, Linear)}
    assert set(calibrate(graph, images).inputs) == linear
    assert calibrate(graph, images, operators=()).inputs == {}


def test_some_tensors_can_be_observed_alone():
    graph, images = silu_network(), batches(3)
    every = calibrate(graph, images).tensors
    some = list(every)[1:5]
    found = calibrate(graph, images, operators=(), tensors=some).tensors
    assert set(found) == set(some)
    for name, statistics in found.items():
        for field, values in vars(statistics).items():
            assert np.allclose(values, getattr(every[name], field), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, 4])
def test_extremes_enclose_the_tails(count):
    graph = Chain(32, 32).normalize().convolution(8, (3, 3)).head()
    found = calibrate(graph, (image[None] for image in pixels(count, 32, 32))).tensors
    for s in found.values():
        assert np.all(s.low <= s.low_tail)
        assert np.all(s.low_tail <= s.high_tail)
        assert np.all(s.high_tail <= s.high)


@pytest.mark.parametrize(("gain", "reached"), [(1e20, "[0-9]e[+]2[0-9]"), (3e38, "inf")])
def test_a_network_that_explodes_is_refused(gain, reached):
    chain = Chain(32, 32).normalize().convolution(8, (3, 3)).affine(gain, 0.0)
    graph = chain.convolution(8, (3, 3)).head()
    with pytest.raises(UsageError, match=f"explodes: layer .* reaches {reached} .*training=True"):
        calibrate(graph, (image[None] for image in pixels(2, 32, 32)), operators=())
