"""Tiny networks of the family, fitted in seconds, so that int8 has something to keep."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

SIZE = 64
CLASSES = 10
_FITTED_IMAGES = 512


@dataclass(frozen=True)
class Textures:
    """Coloured gratings: a class is a direction and two colours; width, phase and shades vary."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    @classmethod
    def make(cls, count: int, seed: int, size: int = SIZE) -> Textures:
        """`count` images of size × size × 3, their classes in turn."""
        random = np.random.default_rng(seed)
        labels = np.arange(count) % CLASSES
        angles = labels * np.pi / CLASSES + random.normal(0, 0.03, count)
        pitch, phase = random.uniform(5, 14, count), random.uniform(0, 2 * np.pi, count)
        y, x = np.mgrid[:size, :size]
        along = np.cos(angles)[:, None, None] * x + np.sin(angles)[:, None, None] * y
        wave = np.sin(2 * np.pi * along / pitch[:, None, None] + phase[:, None, None])
        palette = np.random.default_rng(0).uniform(40, 215, (CLASSES, 2, 3))
        colours = palette[labels] + random.normal(0, 20, (count, 2, 3))
        mix = (wave[..., None] + 1) / 2
        images = colours[:, None, None, 0] * mix + colours[:, None, None, 1] * (1 - mix)
        noise = random.normal(0, 10, images.shape)
        return cls(np.clip(images + noise, 0, 255).astype(np.uint8), labels.astype(np.int64))


def tiny_network(
    family: Literal["b", "lite"], classifier_activation: str | None = "softmax"
) -> Any:
    """Four thin blocks, "b" (SiLU, squeeze-and-excite) or "lite" (ReLU6), the same at every call.

    The convolutions stay random (depthwise ones nearly pass their input on, or nothing would be
    left of it at the end), BatchNorm has the textures' statistics, and the classifier is their
    least-squares fit: a network that answers, without the minutes of training.
    """
    import keras

    from edgenet.models.efficientnet import efficientnet
    from edgenet.models.specs import VariantSpec

    class TinySpec(VariantSpec):
        repeats = (1, 2, 1, 0, 0, 0, 0)

    keras.utils.set_random_seed(7)
    spec = TinySpec(f"tiny-{family}", family, 0.25, 1, SIZE, dropout=0.0, drop_connect=0.0)
    model = efficientnet(spec, classes=CLASSES, classifier_activation=classifier_activation)
    images = _fitted_to().images.astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            layer.set_weights([_near_identity(layer.get_weights()[0])])
    model(images, training=True)
    return _fitted(model, ridge=1e-2)


def joined_network(model: Any) -> Any:
    """A tiny network with a classifier that reads the map's maximum beside its mean."""
    import keras

    maximum = keras.layers.GlobalMaxPooling2D()(model.get_layer("top_activation").output)
    joined = keras.layers.Concatenate()([model.get_layer("avg_pool").output, maximum])
    classifier = keras.layers.Dense(CLASSES, "softmax", name="predictions")
    return _fitted(keras.Model(model.inputs, classifier(joined), name="joined"), ridge=10)


VALUES = ("red", "contrast")
"""What `regression_network` tells of a texture."""


def regression_network(model: Any) -> Any:
    """A tiny network that tells how red its texture is, 0..255, and its contrast, a share."""
    import keras

    values = keras.layers.Dense(len(VALUES), name="predictions")
    features = model.get_layer("avg_pool").output
    regression = keras.Model(model.inputs, values(features), name="regression")
    images = _fitted_to().images
    return _fitted(regression, ridge=1e-3, targets=values_of(images))


def values_of(images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of each image what `VALUES` names: mean red, and the deviation as a share of 255."""
    red = images[..., 0].mean(axis=(1, 2))
    return np.stack([red, images.std(axis=(1, 2, 3)) / 255], axis=1)


def _fitted(model: Any, ridge: float, targets: NDArray[np.float64] | None = None) -> Any:
    """The model with its last layer fitted to the textures: to ±10 for right and wrong classes."""
    import keras

    data = _fitted_to()
    if targets is None:
        targets = np.where(data.labels[:, None] == np.arange(CLASSES), 10.0, -10.0)
    head = model.get_layer("predictions")
    features = keras.Model(model.inputs, head.input)(data.images.astype(np.float32))
    head.set_weights(_fit(np.asarray(features), targets, ridge))
    return model


@cache
def _fitted_to() -> Textures:
    return Textures.make(_FITTED_IMAGES, seed=1)


def _near_identity(kernel: NDArray[np.float32]) -> NDArray[np.float32]:
    kernel = 0.3 * kernel / np.abs(kernel).max()
    kernel[kernel.shape[0] // 2, kernel.shape[1] // 2] += 1
    return kernel


def _fit(
    features: NDArray[np.float32], targets: NDArray[np.float64], ridge: float
) -> list[NDArray[np.float32]]:
    """Ridge regression: weights (features, targets), bias."""
    mean = features.mean(axis=0)
    centred = (features - mean).astype(np.float64)
    gram = centred.T @ centred + len(features) * ridge * np.eye(features.shape[1])
    weights = np.linalg.solve(gram, centred.T @ targets)
    bias = targets.mean(axis=0) - mean @ weights
    return [weights.astype(np.float32), bias.astype(np.float32)]
