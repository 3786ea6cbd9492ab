"""Takes a keras.applications model with a head of its own to int8, and classifies a photo with it.

python examples/convert_own_model.py PHOTO FOLDER [SIZE]

FOLDER gets the Keras model, the class names and the bundle; SIZE is the input's, in pixels. The
weights are random, so the answer means nothing: put your fine-tuned model in place of
`build`, and calibrate on your own photos (calibration="photos/").
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import keras

import edgenet
from edgenet.errors import EdgenetError

CLASSES = ("cat", "dog", "hedgehog")


def build(size: int) -> keras.Model:
    keras.utils.set_random_seed(1)
    body = keras.applications.EfficientNetB0(
        weights=None, include_top=False, input_shape=(size, size, 3), pooling="avg"
    )
    head = keras.layers.Dense(len(CLASSES), activation="softmax")
    return keras.Sequential([body, keras.layers.Dropout(0.2), head])


def main(photo: str, folder: Path, size: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    model, labels = folder / "own.keras", folder / "classes.txt"
    build(size).save(model)
    labels.write_text("\n".join(CLASSES) + "\n")
    bundle = edgenet.convert(model, folder / "own-int8", precision="int8", labels=labels)
    print(f"{bundle.path}: {', '.join(bundle.formats)}")
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
