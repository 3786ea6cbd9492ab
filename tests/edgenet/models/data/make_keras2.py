"""Writes the files of Keras 2 beside it, and what Keras 2 answers with each.

Keras 2 needs no place among edgenet's requirements for that: in an environment with TensorFlow,

    pip install --no-deps tf_keras==2.21.0
    python make_keras2.py

writes small.h5, small.keras and the SavedModel small (a graph that holds a small network of
EfficientNet's layers, partly frozen, behind augmentation, arithmetic and a Lambda), the same of
chain (the same network in a Sequential that was given no input) and answers.json. Of SavedModels it
leaves what edgenet reads.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers

FOLDER = Path(__file__).parent


def network() -> keras.Model:
    """EfficientNet's layers, each once."""
    inputs = keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Normalization()(x)
    x = layers.Conv2D(4, 3, strides=2, use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = layers.DepthwiseConv2D(3, padding="same", activation="swish", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    gate = layers.GlobalAveragePooling2D(keepdims=True)(x)
    gate = layers.Conv2D(4, 1, activation="sigmoid")(gate)
    return keras.Model(inputs, layers.Multiply()([x, gate]), name="base")


class Trainer(keras.Model):
    """A class of one's own that trains in its own way."""

    def train_step(self, data: Any) -> Any:
        return super().train_step(data)


def small() -> keras.Model:
    base = network()
    for layer in base.layers[:5]:
        layer.trainable = False
    augment = keras.Sequential([layers.RandomFlip()])
    inputs = keras.Input((8, 8, 3))
    x = augment(inputs)
    x = 1.5 - tf.cast(x, tf.float32) * 2.0
    x = layers.Lambda(keras.applications.efficientnet.preprocess_input)(x)
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    return Trainer(inputs, layers.Dense(3, activation="softmax", kernel_regularizer="l2")(x))


def chain() -> keras.Model:
    head = [layers.GlobalAveragePooling2D(), layers.Dense(3)]
    return keras.Sequential([network(), *head])


def fill(model: keras.Model) -> None:
    """Gives every weight values that no fresh model has."""
    generator = np.random.default_rng(5)
    for variable in model.weights:
        positive = "variance" in variable.name or "gamma" in variable.name
        if variable.dtype.is_floating:
            low = 0.5 if positive else -1.0
            variable.assign(generator.uniform(low, 1.5, variable.shape))
    for layer in model._flatten_layers():
        if isinstance(layer, layers.Normalization):
            layer.finalize_state()


def remove(path: Path) -> None:
    path.rmdir() if path.is_dir() else path.unlink()


def main() -> None:
    images = np.random.default_rng(7).integers(0, 256, (2, 8, 8, 3)).astype("float32")
    answers = {}
    for name, build in {"small": small, "chain": chain}.items():
        model = build()
        fill(model)
        model.save(FOLDER / f"{name}.h5")
        model.save(FOLDER / f"{name}.keras")
        model.save(FOLDER / name, save_format="tf")
        for unread in ("assets", "fingerprint.pb", "saved_model.pb"):
            remove(FOLDER / name / unread)
        answers[name] = model.predict(images, verbose=0).tolist()
    (FOLDER / "answers.json").write_text(json.dumps(answers) + "\n")


if __name__ == "__main__":
    main()
