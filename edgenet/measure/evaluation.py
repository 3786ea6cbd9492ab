"""The images that `check` compares on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import islice
from typing import Any

import numpy as np

from edgenet.bundle import REGRESSION, Bundle, InputSpec
from edgenet.images import Batch, ImageFolder, Pixels, Skip, prepare
from edgenet.photographs import crops

_CHUNK = 16


@dataclass(frozen=True)
class Images:
    """What to compare on: `count` images at most, in batches, and where they come from.

    `labelled` tells whether their classes are known. `name` and `pixels` give the name and the
    pixels of an image by its number: its place among the images that were compared, from 0.
    `digest` is a running sha256 over the pixels.
    """

    batches: Iterator[Batch]
    count: int
    source: str
    labelled: bool
    name: Callable[[int], str]
    pixels: Callable[[int], Pixels]
    digest: Any = field(default_factory=sha256)

    def recorded(self) -> Iterator[Batch]:
        """The batches; each is added to the digest as it is read."""
        for batch in self.batches:
            self.digest.update(batch.images.tobytes())
            yield batch


def folder_of(
    bundle: Bundle,
    spec: InputSpec,
    path: str,
    count: int | None = None,
    skip: Skip | None = None,
) -> Images:
    """The images of a folder, or `count` of them, as `spec` prepares them, of the bundle's classes.

    Those of a regression have values, where the folder tells them.

    With `skip`, a damaged image is left out and `skip` is told of it; without, it stops the work.

    Raises:
        UsageError: As `ImageFolder.open`, `ImageFolder.of_classes` and `ImageFolder.of_values`.
    """
    folder = judging(path, bundle.manifest.task, bundle.labels(), bundle.classes)
    if count is not None:
        folder = folder.sample(count)
    names: list[str] = []

    def batches() -> Iterator[Batch]:
        for batch in folder.batches(spec, _CHUNK, skip):
            names.extend(batch.names)
            yield batch

    return Images(
        batches=batches(),
        count=len(folder),
        source=path,
        labelled=folder.labels is not None,
        name=lambda number: names[number],
        pixels=lambda number: prepare(
            folder.root / names[number], *spec.shape[1:3], spec.crop_fraction, spec.interpolation
        ),
    )


def judging(
    path: str | os.PathLike[str], task: str, names: Sequence[str] | None, count: int
) -> ImageFolder:
    """A folder of images with what a model of so many classes or values should answer to them.

    Raises:
        UsageError: As `folder_of`.
    """
    folder = ImageFolder.open(path)
    return (folder.of_values if task == REGRESSION else folder.of_classes)(names, count)


def crops_of(spec: InputSpec, count: int) -> Images:
    """`count` crops of the photographs at hand.

    Raises:
        MissingExtraError: scikit-image, which has them, is not installed.
    """
    height, width = spec.shape[1:3]

    @cache
    def kept() -> list[Pixels]:
        return list(crops(count, height, width))

    return Images(
        batches=_batches(crops(count, height, width)),
        count=count,
        source="crops of scikit-image's photographs",
        labelled=False,
        name=lambda number: f"crop {number}",
        pixels=lambda number: kept()[number],
    )


def _batches(images: Iterator[Pixels]) -> Iterator[Batch]:
    while part := list(islice(images, _CHUNK)):
        yield Batch(np.stack(part), names=(), labels=None)
