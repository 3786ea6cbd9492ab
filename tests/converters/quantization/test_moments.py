"""Moments are those of what an operator reads, as numpy has them of every position."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import Convolution, Dense, Linear, Padding
from converters.quantization.moments import Moments, MomentSampler


def convolution(depthwise: bool, kernel: int, stride: int, pad: int) -> Convolution:
    channels, out = 3, 3 if depthwise else 5
    shape = (kernel, kernel, channels, 1 if depthwise else out)
    weights = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    bias = np.zeros(out, np.float32)
    padding = Padding(pad, pad, pad, pad)
    return Convolution(
        "c", ("x",), "y", weights, bias, "linear", (stride, stride), padding, depthwise
    )


def maps(count: int, size: int) -> Any:
    """Maps as ONNX holds them, (1, channels, height, width) each."""
    random = np.random.default_rng(1)
    return random.normal(1, 2, (count, 1, 3, size, size)).astype(np.float32)


def by_hand(operator: Convolution, images: Any) -> Any:
    """What the kernel sees at every position: (positions, height, width, channels)."""
    kernel, stride, pad = operator.kernel[0], operator.strides[0], operator.padding.top
    windows = []
    for image in images:
        padded = np.pad(image[0], ((0, 0), (pad, pad), (pad, pad))).transpose(1, 2, 0)
        steps = range(0, padded.shape[0] - kernel + 1, stride)
        windows += [padded[y : y + kernel, x : x + kernel] for y in steps for x in steps]
    return np.stack(windows).astype(np.float64)


def sampled(operator: Linear, tensors: Any) -> Moments:
    sampler = MomentSampler(operator)
    for tensor in tensors:
        sampler.add(sampler.sample(tensor))
    return sampler.moments()


# So small that every position is among the samples: of 16 positions or fewer, depthwise 8.
@pytest.mark.parametrize(
    ("depthwise", "kernel", "stride", "pad", "size"),
    [(False, 3, 1, 1, 4), (False, 1, 1, 0, 4), (False, 3, 2, 1, 7), (True, 3, 2, 1, 4)],
)
def test_moments_of_small_maps_are_exact(depthwise, kernel, stride, pad, size):
    operator = convolution(depthwise, kernel, stride, pad)
    images = maps(4, size)
    found = sampled(operator, images)
    windows = by_hand(operator, images)
    taps = windows.reshape(len(windows), kernel * kernel, 3)
    groups = taps.transpose(2, 0, 1) if depthwise else taps.reshape(1, len(windows), -1)
    for group, mean, covariance in zip(groups, found.mean, found.covariance, strict=True):
        assert mean == pytest.approx(group.mean(axis=0), abs=1e-5)
        expected = np.atleast_2d(np.cov(group.T, bias=True))
        assert covariance == pytest.approx(expected, abs=1e-4)


def test_moments_of_a_dense_layer_are_exact():
    operator = Dense("d", ("x",), "y", np.ones((6, 2), np.float32), np.zeros(2), "linear")
    rows = np.random.default_rng(0).normal(3, 1, (20, 1, 6)).astype(np.float32)
    found = sampled(operator, rows)
    assert found.mean[0] == pytest.approx(rows[:, 0].mean(axis=0), abs=1e-5)
    assert found.covariance[0] == pytest.approx(np.cov(rows[:, 0].T, bias=True), abs=1e-4)


def test_a_tap_is_in_the_place_of_its_weight():
    """So that mean · weights is the mean of the outputs."""
    operator = convolution(depthwise=False, kernel=3, stride=1, pad=0)
    images = maps(3, 6)
    outputs = by_hand(operator, images).reshape(-1, 27) @ operator.weights.reshape(27, -1)
    found = sampled(operator, images).mean[0] @ operator.weights.reshape(27, -1)
    assert found == pytest.approx(outputs.mean(axis=0), abs=1e-4)


def test_large_maps_are_sampled_alike_in_every_image():
    operator = convolution(depthwise=False, kernel=3, stride=1, pad=1)
    image = maps(1, 64)[0]
    one, many = sampled(operator, [image]), sampled(operator, [image] * 5)
    assert many.mean == pytest.approx(one.mean, abs=1e-5)
    assert many.covariance == pytest.approx(one.covariance, abs=1e-4)


@settings(max_examples=30)
@given(
    level=st.sampled_from([0.0, 1.0, -30.0, 1e3]),
    spread=st.sampled_from([0.01, 1.0, 50.0]),
    images=st.sampled_from([2, 31, 32, 33, 70]),
    seed=st.integers(0, 99),
)
def test_single_precision_loses_nothing(level, spread, images, seed):
    """Not of a channel either that hardly varies around a mean far from zero."""
    random = np.random.default_rng(seed)
    operator = convolution(depthwise=False, kernel=1, stride=1, pad=0)
    tensors = random.normal(0, 1, (images, 1, 3, 4, 4))
    tensors[:, :, 0] = level + spread * tensors[:, :, 0]
    tensors = tensors.astype(np.float32)
    found = sampled(operator, tensors)
    exact = tensors.astype(np.float64).transpose(0, 1, 3, 4, 2).reshape(-1, 3)
    covariance = np.cov(exact.T, bias=True)
    scale = np.sqrt(np.outer(np.diag(covariance), np.diag(covariance)))
    assert (np.abs(found.covariance[0] - covariance) / scale).max() < 1e-5
    assert (np.abs(found.mean[0] - exact.mean(axis=0)) / exact.std(axis=0)).max() < 1e-5
