"""Takes a keras.applications model with a head of its own to int8, and classifies a photo with it.

python examples/convert_own_model.py PHOTO FOLDER [SIZE]

FOLDER gets the Keras model, the class names and the bundle; SIZE is the input's, in pixels. The
weights are random, so the answer means nothing: put your fine-tuned model in place of
`build`, and calibrate on your own photos (calibration="photos/").
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras

import edgenet

CLASSES = ("cat", "dog", "hedgehog")


def build(size: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    body = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(size, size, 3), pooling="avg"
    )
    head = keras.layers.Dense(len(CLASSES), activation="softmax")
    return keras.Sequential([body, keras.layers.Dropout(0.2), head])


def main(photo: str, folder: str, size: str = "224") -> None:
    model, labels = Path(folder, "own.keras"), Path(folder, "classes.txt")
    build(int(size)).save(model)
    labels.write_text("\n".join(CLASSES) + "\n")
    bundle = edgenet.convert(model, Path(folder, "own-int8"), precision="int8", labels=labels)
    print(f"{bundle.path}: {', '.join(bundle.formats)}")
    with edgenet.load(bundle) as session:
        for guess in session.classify(photo, top=len(CLASSES)):
            print(f"{guess.probability:6.1%}  {guess.label}")


if __name__ == "__main__":
    main(*sys.argv[1:])
