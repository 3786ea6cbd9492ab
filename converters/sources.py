"""What a conversion starts from: the Keras model and the images that set its ranges."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from edgenet import photographs
from edgenet.bundle import InputSpec, sha256_of
from edgenet.errors import UsageError
from edgenet.images import ImageError, ImageFolder, Pixels, read_labels
from edgenet.models.labels import imagenet_labels
from edgenet.models.pretrained import published_weights
from edgenet.models.specs import VARIANTS
from edgenet.models.weights import load_model

# As many as the field's recipes take; more of them only cost time (and, by min-max, accuracy).
CALIBRATION_IMAGES = 128
VERIFIED = 64


@dataclass(frozen=True)
class Source:
    """A Keras model and what is known of it.

    `description` goes into the manifest. `crop_fraction` and `interpolation` say how its photos are
    prepared unless the user tells otherwise; `labels` are its class names, where known.
    """

    model: Any
    description: Mapping[str, Any]
    crop_fraction: float
    interpolation: str
    labels: tuple[str, ...] | None


def load_source(
    model: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    labels: str | os.PathLike[str] | None = None,
) -> Source:
    """Loads a variant or a saved Keras model.

    A variant's photos are cropped as published. A user's own model gets the whole photo, bilinear,
    as `keras.utils.image_dataset_from_directory` prepares it.

    Raises:
        UsageError: No such file, or not a Keras model; see `edgenet.models.weights.load_model`.
    """
    name = os.fspath(model)
    names = read_labels(labels) if labels is not None else None
    keras_model = load_model(
        name, weights=None if weights is None else os.fspath(weights), download=download
    )
    spec = VARIANTS.get(name.lower())
    if spec is None:
        description = {"file": Path(name).name, "sha256": sha256_of(Path(name))}
        return Source(keras_model, description, 1.0, "bilinear", names)
    if names is None:
        found = imagenet_labels()
        names = tuple(found) if found is not None else None
    return Source(
        keras_model,
        {"variant": spec.name, "weights": _weights(spec.name, weights, download)},
        spec.crop_fraction,
        spec.interpolation,
        names,
    )


def _weights(
    variant: str, weights: str | os.PathLike[str] | None, download: bool
) -> dict[str, str]:
    if download:
        return {"source": "keras.applications"}
    path = Path(weights) if weights is not None else published_weights(variant)
    return {"file": path.name, "sha256": sha256_of(path)}


@dataclass(frozen=True)
class ImageSet:
    """Images of the model's size; `images` starts anew at each call, height × width × 3 uint8 each.

    `description` is what the manifest says of them; `scenes` has a number for each, the same for
    those that show the same, or None where no two are known to.
    """

    images: Callable[[], Iterator[Pixels]]
    count: int
    description: Mapping[str, Any]
    scenes: Sequence[int] | None = None

    def batches(self, size: int) -> Iterator[Pixels]:
        """The images `size` at a time, the last batch perhaps smaller."""
        images = self.images()
        while held := list(islice(images, size)):
            yield np.stack(held)


def folder_sets(
    folder: str | os.PathLike[str],
    spec: InputSpec,
    count: int,
    skip: Callable[[str, ImageError], None] | None,
) -> tuple[ImageSet, ImageSet]:
    """Images of a folder to calibrate on and, of the rest if any, images to verify with.

    Args:
        folder: See `edgenet.images.ImageFolder`.
        spec: What the model takes.
        count: How many calibrate, evenly spaced.
        skip: Told of a damaged image, which is left out; where it is None, one stops the work.

    Raises:
        UsageError: No such folder, or no image in it.
        ImageError: A damaged image, when it is reached.
    """
    whole = ImageFolder.open(folder)
    chosen = whole.sample(count)
    taken = set(chosen.names)
    rest = replace(
        whole, names=tuple(name for name in whole.names if name not in taken), labels=None
    )
    held_out = (rest if len(rest) else chosen).sample(VERIFIED)
    return _folder_set(chosen, spec, skip), _folder_set(held_out, spec, skip)


def _folder_set(
    folder: ImageFolder, spec: InputSpec, skip: Callable[[str, ImageError], None] | None
) -> ImageSet:
    def images() -> Iterator[Pixels]:
        for batch in folder.batches(spec, 1, "stop" if skip is None else "skip", skip):
            yield batch.images[0]

    return ImageSet(
        images, len(folder), {"source": "folder", "images": len(folder), "sha256": folder.digest()}
    )


def crop_sets(spec: InputSpec, count: int) -> tuple[ImageSet, ImageSet]:
    """Crops of scikit-image's photographs: wide ones to calibrate on, whole ones to verify with.

    Raises:
        MissingExtraError: scikit-image is not installed.
        UsageError: `count` is below 1.
    """
    if count < 1:
        raise UsageError(f"cannot calibrate on {count} images: ask for 1 or more")
    return _crop_set(spec, count, photographs.WIDE), _crop_set(spec, VERIFIED, photographs.WHOLE)


def _crop_set(spec: InputSpec, count: int, smallest: float) -> ImageSet:
    description = {
        "source": "crops of scikit-image's photographs",
        "images": count,
        "sha256": photographs.digest(),
    }
    size = spec.shape[1:3]
    return ImageSet(
        lambda: photographs.crops(count, *size, smallest),
        count,
        description,
        photographs.photographs_of(count),
    )
