"""Trains a head of its own on EfficientNet-Lite0, takes it to int8, and classifies a photo with it.

python examples/fine_tune_lite.py PHOTO FOLDER [SIZE]

FOLDER gets the Keras model, the class names and the bundle; SIZE is the input's, in pixels. The
classes are five photographs of scikit-image, by crops of them: put your own photos in their place.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import keras
import numpy as np

import edgenet
from edgenet import models, photographs
from edgenet.errors import EdgenetError

CLASSES = ("person", "cat", "cup", "motorcycle", "rocket")


def fine_tuned(images: np.ndarray) -> keras.Model:
    keras.utils.set_random_seed(1)
    labels = np.arange(len(images)) * len(CLASSES) // len(images)
    backbone = models.build("lite0", include_top=False, input_size=images.shape[1])
    backbone.trainable = False
    model = keras.Sequential([backbone, keras.layers.Dense(len(CLASSES), "softmax")])
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images, labels, epochs=5, verbose=2)
    return model


def main(photo: str, folder: Path, size: int) -> None:
    crops = np.stack(list(photographs.crops(100, size, size, smallest=0.5)))
    model = fine_tuned(crops)
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder / "lite.keras")
    names, output = folder / "classes.txt", folder / "lite-int8"
    names.write_text("\n".join(CLASSES) + "\n")
    bundle = edgenet.convert(model, output, precision="int8", labels=names, calibration=crops)
    with edgenet.load(bundle) as session:
        for guess in session.classify(photo, top=len(CLASSES)):
            print(f"{guess.probability:6.1%}  {guess.label}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("photo")
    parser.add_argument("folder", type=Path)
    parser.add_argument("size", type=int, nargs="?", default=224)
    try:
        main(**vars(parser.parse_args()))
    except EdgenetError as error:
        sys.exit(str(error))
