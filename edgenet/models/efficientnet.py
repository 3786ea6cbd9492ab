"""Builds any variant, published or custom, as a Keras model with its preprocessing inside."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import layers

from edgenet.errors import UsageError
from edgenet.models import blocks
from edgenet.models.specs import (
    IMAGENET_MEAN,
    IMAGENET_STDDEV,
    LITE_MEAN,
    LITE_STDDEV,
    SMALLEST_INPUT,
    VariantSpec,
    variant,
)


def efficientnet(
    spec: VariantSpec | str,
    *,
    classes: int = 1000,
    input_size: int | None = None,
    include_top: bool = True,
    classifier_activation: str | None = "softmax",
    stddev_rescaling: bool = False,
) -> keras.Model:
    """Builds the model, (N, size, size, 3) RGB in 0..255 to (N, classes), with random weights.

    B0 to B7 have the layers of `keras.applications`, so equal weights give equal outputs.

    Args:
        spec: A variant's name, or the result of `variant` or `compound`.
        classes: Length of the output.
        input_size: Height and width in pixels; None takes the variant's own resolution.
        include_top: False leaves the classifier off: the output is then the pooled features,
            (N, 1280) for B0, B1 and every Lite variant.
        classifier_activation: `softmax`, or None for logits.
        stddev_rescaling: Adds the second Rescaling that `keras.applications` has when built with
            `weights="imagenet"`: its weights file keeps the standard deviation where the
            Normalization layer expects the variance. B0 to B7 only.

    Raises:
        UsageError: No such variant, fewer than one class, or an input under 32 pixels.
    """
    spec = variant(spec) if isinstance(spec, str) else spec
    size = spec.resolution if input_size is None else input_size
    _check(classes, size)
    inputs = layers.Input((size, size, 3))
    x = _preprocess(inputs, spec, stddev_rescaling)
    x = blocks.stem(x, spec)
    for block_spec in spec.blocks:
        x = blocks.block(x, block_spec, spec)
    x = blocks.head(x, spec)
    if include_top:
        x = blocks.classifier(x, spec, classes, classifier_activation)
    return keras.Model(inputs, x, name=f"efficientnet{spec.name}")


def _check(classes: int, size: int) -> None:
    if classes < 1:
        raise UsageError(f"a classifier of {classes} classes is none: give 1 or more")
    if size < SMALLEST_INPUT:
        raise UsageError(f"an input of {size} px is too small: give {SMALLEST_INPUT} or more")


def _preprocess(x: Any, spec: VariantSpec, stddev_rescaling: bool) -> Any:
    if spec.lite:
        return layers.Rescaling(1 / LITE_STDDEV, offset=-LITE_MEAN / LITE_STDDEV)(x)
    x = layers.Rescaling(1.0 / 255.0)(x)
    normalization = layers.Normalization(axis=3)
    x = normalization(x)
    _set_statistics(normalization)
    if stddev_rescaling:
        x = layers.Rescaling([1.0 / math.sqrt(stddev) for stddev in IMAGENET_STDDEV])(x)
    return x


def _set_statistics(normalization: layers.Normalization) -> None:
    """Starts from ImageNet's statistics, kept as weights so that a weights file can replace them.

    Mean and variance given to the layer's constructor would be constants, which no file of
    `keras.applications` would fit.
    """
    normalization.adapt_mean.assign(IMAGENET_MEAN)
    normalization.adapt_variance.assign([stddev**2 for stddev in IMAGENET_STDDEV])
    normalization.finalize_state()
