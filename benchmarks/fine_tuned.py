"""Fine-tunes an EfficientNet as its users do, or trains one, for the other benchmarks to take.

    python -m benchmarks.fine_tuned [VARIANT] --photos DIR --evaluate DIR -o DIR

The classes of ImageNet-1k become eleven (fish, birds, dogs, ...). A head for them is put on the
network, augmentation before it, and all of it is trained on the photos: the network's batch
statistics stay as they are, as Keras's guide to transfer learning has it, or follow the photos with
`--batch-statistics`, whose weights end further from those published. DIR then holds `model.keras`,
`classes.txt`, and in `photos` and `evaluate` the photos with their new labels. Photos are resized
as Pillow does it: `benchmarks.peers` takes `--interpolation bilinear` with the model.

A class of keras.applications in a variant's place is trained from nothing, as `EfficientNetV2B0
--size 64 --epochs 30 --learning-rate 1.5e-3 --batch-statistics`: a network that explodes on some
photos.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import bounded, end
from converters.sources import load_source
from edgenet.errors import UsageError
from edgenet.images import LABELS_CSV, ImageFolder, prepare
from edgenet.models.specs import VARIANTS
from edgenet.staging import writing

GROUPS = {
    "fish": (range(7),),
    "bird": (range(7, 25), range(80, 101), range(127, 147)),
    "reptile or amphibian": (range(25, 69),),
    "insect or spider": (range(69, 80), range(300, 327)),
    "sea animal": (range(107, 127), range(147, 151), range(327, 330), range(389, 398)),
    "dog": (range(151, 269),),
    "cat, bear or fox": (range(269, 300),),
    "other mammal": (range(101, 107), range(330, 389)),
    "thing": (range(398, 922),),
    "food": (range(922, 970),),
    "landscape or plant": (range(970, 1000),),
}
"""What becomes of ImageNet-1k's classes, which are in the order of their WordNet ids."""

_BATCH = 32
_SEED = 20


def main() -> int:
    args = _parser().parse_args()
    with writing(Path(args.output)) as folder:
        photos = _relabelled(args.photos, folder / "photos")
        evaluation = _relabelled(args.evaluate, folder / "evaluate")
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in GROUPS))
        model = _model(args)
        model.fit(*_read(model, photos), batch_size=_BATCH, epochs=args.epochs, verbose=2)
        _, accuracy = model.evaluate(*_read(model, evaluation), verbose=0)
        model.save(folder / "model.keras")
    print(f"{args.output}/model.keras: right on {accuracy:.1%} of {len(evaluation)} photos")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fine_tuned")
    parser.add_argument("variant", metavar="VARIANT", nargs="?", default="lite0")
    parser.add_argument(
        "--size", type=bounded(int, 32), metavar="N", help="pixels, of one trained from nothing"
    )
    parser.add_argument("--weights", metavar="FILE", help="of a variant without published ones")
    parser.add_argument("--photos", metavar="DIR", required=True, help="of ImageNet-1k, to train")
    parser.add_argument("--evaluate", metavar="DIR", required=True, help="others of ImageNet-1k")
    parser.add_argument("--epochs", type=bounded(int, 1), default=4, metavar="N")
    parser.add_argument("--learning-rate", type=float, default=1e-4, metavar="R")
    parser.add_argument("--batch-statistics", action="store_true", help="train those as well")
    parser.add_argument("-o", "--output", metavar="DIR", required=True)
    return parser


def _model(args: argparse.Namespace) -> Any:
    import keras

    keras.utils.set_random_seed(_SEED)
    whole = _whole(args)
    backbone = keras.Model(whole.inputs, whole.get_layer("avg_pool").output, name="backbone")
    pixels = keras.Input(whole.input_shape[1:])
    augmented = keras.layers.RandomFlip("horizontal")(pixels)
    augmented = keras.layers.RandomRotation(0.05)(augmented)
    augmented = keras.layers.RandomZoom(0.1)(augmented)
    features = backbone(augmented, training=None if args.batch_statistics else False)
    features = keras.layers.Dropout(0.2)(features)
    classes = keras.layers.Dense(len(GROUPS), activation="softmax", name="classes")(features)
    model = keras.Model(pixels, classes)
    model.compile(
        keras.optimizers.Adam(args.learning_rate),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def _whole(args: argparse.Namespace) -> Any:
    """A variant with its published weights, or a network of keras.applications with random ones."""
    import keras

    if args.variant.lower() in VARIANTS:
        if args.size is not None:
            raise UsageError(f"{args.variant} has weights for its own size: leave --size off")
        return load_source(args.variant, weights=args.weights).model
    build = getattr(keras.applications, args.variant, None)
    if build is None:
        raise UsageError(f"keras.applications has no {args.variant}")
    return build(weights=None, input_shape=args.size and (args.size, args.size, 3))


def _relabelled(path: str, home: Path) -> ImageFolder:
    """Links to the photos of a folder, in another that has the coarse labels."""
    folder = ImageFolder.open(path)
    if folder.labels is None:
        raise UsageError(f"{path} has no labels: list its images in a {LABELS_CSV}")
    for name, photo in zip(folder.names, folder.paths, strict=True):
        link = home / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(photo.resolve())
    with (home / LABELS_CSV).open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "class_index"])
        rows.writerows(zip(folder.names, _coarse(folder.labels), strict=True))
    return ImageFolder.open(home)


def _coarse(labels: Iterable[int]) -> list[int]:
    index = {
        label: group
        for group, ranges in enumerate(GROUPS.values())
        for label in chain.from_iterable(ranges)
    }
    try:
        return [index[label] for label in labels]
    except KeyError as error:
        raise UsageError(f"ImageNet-1k has no class {error}: its labels end at 999") from None


def _read(model: Any, folder: ImageFolder) -> tuple[Any, Any]:
    """The photos whole and of the model's size, and their classes."""
    print(f"reading {len(folder)} photos", file=sys.stderr)
    _, height, width, _ = model.input_shape
    images = [prepare(path, height, width, 1.0, "bilinear") for path in folder.paths]
    return np.stack(images).astype(np.float32), np.asarray(folder.labels)


if __name__ == "__main__":
    end(main)
