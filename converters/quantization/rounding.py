"""Rounding weights to int8 so that the operator's *output* changes least, and its mean not at all.

Rounding each weight to the nearest level leaves errors that add up over the inputs. GPTQ (Frantar
et al. 2023, arXiv:2210.17323, algorithm 1) rounds input by input and lets the weights that are
still free make up for the error, as the covariance of the inputs weighs it. What remains of the
mean error is a constant for each channel and goes into the bias (Nagel et al. 2019,
arXiv:1906.04721, section 4.2).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from converters.graph import Convolution, Doubles, Linear
from converters.quantization.moments import Moments, in_parts
from converters.scheme.pairs import fitting, neighbours
from converters.scheme.parameters import WEIGHT_LEVELS, weight_scales

# The share of the mean variance that is added to each input's own: GPTQ's "percdamp".
_DAMPING = 0.01
# How far the variance of a constant input may be off, as a share of the input's square.
_PRECISION = 1e-9
# Taps rounded before their errors are passed on to the rest, in one matrix product instead of many.
_BLOCK = 64
# Triangles up to this size are inverted like any other matrix.
_TRIANGLE = 128


def round_weights(operator: Linear, moments: Moments, paired: bool) -> Linear:
    """The operator with its weights rounded to whole multiples of scales, and its bias corrected.

    Args:
        operator: A convolution or dense layer in float.
        moments: Of its inputs.
        paired: Whether levels will be multiplied with its weights; see `weight_scales`.
    """
    scales = weight_scales(operator, paired)
    weights = _grouped(operator)
    taps = weights.shape[1]
    beside = neighbours(operator, taps) if paired else np.empty((taps, 0), np.intp)
    by_group = np.broadcast_to(
        scales.reshape(-1, weights.shape[2]), (len(weights), weights.shape[2])
    )
    rounded = _gptq(weights, moments, by_group.astype(np.float64), beside)
    shift = np.einsum("gt,gto->go", moments.mean, weights - rounded)
    # The groups of a depthwise convolution are its outputs, others add up to them.
    shift = shift.reshape(-1) if shift.size == operator.bias.size else shift.sum(axis=0)
    return replace(
        operator,
        weights=_ungrouped(operator, rounded).astype(np.float32),
        bias=(operator.bias + shift).astype(np.float32),
        scales=scales,
    )


def _grouped(operator: Linear) -> Doubles:
    """The weights as (groups, taps, outputs of a group)."""
    if isinstance(operator, Convolution) and operator.depthwise:
        height, width, channels, _ = operator.weights.shape
        return operator.weights.reshape(height * width, channels).T[..., None].astype(np.float64)
    return in_parts(operator, operator.weights.reshape(-1, operator.bias.size).astype(np.float64))


def _ungrouped(operator: Linear, weights: Doubles) -> Doubles:
    if isinstance(operator, Convolution) and operator.depthwise:
        return weights[..., 0].T.reshape(operator.weights.shape)
    taps = operator.weights.size // operator.bias.size
    return weights.reshape(-1, operator.bias.size)[:taps].reshape(operator.weights.shape)


def _gptq(weights: Doubles, moments: Moments, scales: Doubles, beside: NDArray[np.intp]) -> Doubles:
    """GPTQ of (groups, taps, outputs): tap by tap, the tap of the largest variance first.

    `beside` are each tap's `neighbours`.
    """
    order = np.argsort(-moments.variance, axis=1, kind="stable")
    # How far the variances of constant inputs may be off, and more than zero for dead ones.
    floor = _PRECISION * (moments.mean**2).mean(axis=1) + np.finfo(np.float32).tiny
    factor = _error_factor(moments.covariance, floor, order)
    left = np.take_along_axis(weights, order[:, :, None], axis=1)
    groups, taps, outputs = weights.shape
    # In the order of the weights; the last is where none is beside, and stays zero.
    levels = np.zeros((groups, taps + 1, outputs))
    every = np.arange(groups)
    for start in range(0, taps, _BLOCK):
        end = min(start + _BLOCK, taps)
        errors = np.empty_like(left[:, start:end])
        for tap in range(start, end):
            place = order[:, tap]
            level = np.clip(np.rint(left[:, tap] / scales), -WEIGHT_LEVELS, WEIGHT_LEVELS)
            level = fitting(level, levels[every, beside[place].T])
            levels[every, place] = level
            error = (left[:, tap] - level * scales) / factor[:, tap, tap, None]
            left[:, tap + 1 : end] -= factor[:, tap, tap + 1 : end, None] * error[:, None, :]
            errors[:, tap - start] = error
        left[:, end:] -= factor[:, start:end, end:].transpose(0, 2, 1) @ errors
    return levels[:, :-1] * scales[:, None]


def _error_factor(covariance: Doubles, floor: Doubles, order: NDArray[np.intp]) -> Doubles:
    """The upper factor of the inverse covariance, its taps in `order`.

    Row t tells what an error at tap t asks of the taps after it.
    """
    variance = np.diagonal(covariance, axis1=1, axis2=2)
    backwards = order[:, ::-1]
    groups = np.arange(len(order))[:, None, None]
    damped = covariance[groups, backwards[:, :, None], backwards[:, None, :]]
    np.einsum("gtt->gt", damped)[:] += (_DAMPING * variance.mean(axis=1) + floor)[:, None]
    # Of the taps in order it is an upper factor, whose inverse is the inverse's.
    upper = np.linalg.cholesky(damped)[:, ::-1, ::-1]
    return _upper_inverse(np.ascontiguousarray(upper))


def _upper_inverse(upper: Doubles) -> Doubles:
    """The inverses of (groups, taps, taps) upper triangles, at a third of what others cost."""
    taps = upper.shape[1]
    if taps <= _TRIANGLE:
        return np.asarray(np.linalg.inv(upper), np.float64)
    half = taps // 2
    inverse = np.zeros(upper.shape)
    inverse[:, :half, :half] = _upper_inverse(upper[:, :half, :half])
    inverse[:, half:, half:] = _upper_inverse(upper[:, half:, half:])
    corner = inverse[:, :half, :half] @ upper[:, :half, half:]
    inverse[:, :half, half:] = -corner @ inverse[:, half:, half:]
    return inverse
