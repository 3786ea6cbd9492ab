"""The images of a conversion: those that calibrate, and those that each file is verified with."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.in_memory import InMemory
from converters.quantization.images import Images
from converters.quantization.simulate import Image
from edgenet import photographs
from edgenet.bundle import InputSpec
from edgenet.errors import UsageError
from edgenet.images import MENDING, ImageError, ImageFolder, Skip, decode, prepare

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

VERIFIED = 64
"""How many images verify, where there are as many."""
# Where fewer are left to verify with, they say too little: images that calibrate join them.
_ENOUGH = 32
_CROPPED = ", and crops of its images"


@dataclass(frozen=True)
class ImageSet:
    """Images of the model's size, what the manifest says of them, and their files, if any."""

    images: Images
    description: Mapping[str, Any]
    files: ImageFolder | None = None


def folder_sets(
    folder: str | os.PathLike[str],
    spec: InputSpec,
    count: int,
    skip: Skip | None,
    needs_content: bool = True,
) -> tuple[ImageSet, Images]:
    """Images of a folder to calibrate on and, of the rest if any, images to verify with.

    Args:
        folder: See `edgenet.images.ImageFolder`.
        spec: What the model takes.
        count: How many calibrate, from all parts of the folder's order; of fewer, crops join the
            images to make as many.
        skip: Told of a damaged image, which is left out; where it is None, one stops the work.
        needs_content: Refuse images that are blank, all of them: they set ranges of nothing.

    Raises:
        UsageError: No such folder, or no image in it.
        ImageError: A damaged image, when it is reached.
    """
    _require_count(count)
    whole = ImageFolder.open(folder)
    chosen, rest = _chosen(whole, spec, count, skip)
    if needs_content:
        _require_content(chosen, str(folder))
    rest = rest.sample(VERIFIED)
    if skip is not None:
        rest = _sound(rest, spec, skip)
    few = len(chosen) < count
    source = folder.description["source"] if isinstance(folder, InMemory) else "folder"
    description = {
        "source": f"{source}{_CROPPED * few}",
        "images": len(chosen),
        "sha256": chosen.digest(),
    }
    verification = _images_of(_filled_up(rest, chosen, whole), spec)
    images = _with_crops(chosen, spec, count) if few else _images_of(chosen, spec)
    return ImageSet(images, description, chosen), verification


def _chosen(
    whole: ImageFolder, spec: InputSpec, count: int, skip: Skip | None
) -> tuple[ImageFolder, ImageFolder]:
    """So many images, from all parts of the order, and those that were not looked at.

    Others take the place of copies and, where they are skipped, of damaged ones.

    Raises:
        ImageError: All of them are damaged.
    """
    chosen, rest = whole.only(()), whole
    while len(chosen) < count and len(rest):
        more = rest.sample(count - len(chosen))
        tried = set(more.names)
        rest = rest.only(name for name in rest.names if name not in tried)
        sound = more if skip is None else _sound(more, spec, skip)
        chosen = whole.only((*chosen.names, *sound.names)).distinct()
    if not len(chosen):
        raise ImageError(f"every image in {whole.root} is damaged")
    return chosen, rest


def _filled_up(rest: ImageFolder, chosen: ImageFolder, whole: ImageFolder) -> ImageFolder:
    """The rest and, where those are few, as many of the chosen as make `VERIFIED`."""
    if len(rest) >= _ENOUGH:
        return rest
    return whole.only((*rest.names, *chosen.sample(VERIFIED - len(rest)).names))


def _sound(folder: ImageFolder, spec: InputSpec, skip: Skip) -> ImageFolder:
    """Those of the images that are not damaged."""
    with suppress(ImageError):  # All of them are.
        return folder.only(n for b in folder.batches(spec, 1, skip) for n in b.names)
    return folder.only(())


def _require_content(folder: ImageFolder, name: str) -> None:
    # Of one colour throughout, whichever that is.
    if not any(np.ptp(np.asarray(_decoded(path)), axis=(0, 1)).any() for path in folder.paths):
        raise UsageError(f"every image in {name} is blank: int8 is calibrated on photos")


def _decoded(path: Path) -> PillowImage:
    """One of a folder, which damaged ones have left where that was asked for."""
    try:
        return decode(path)
    except ImageError as error:
        raise ImageError(f"{error}{MENDING}") from error


def _images_of(folder: ImageFolder, spec: InputSpec) -> Images:
    return Images(lambda: (batch.images for batch in folder.batches(spec, 1)), len(folder))


def _with_crops(folder: ImageFolder, spec: InputSpec, count: int) -> Images:
    """Each image, followed by as many crops of it as of the others, or one more.

    What few images have in common is no measure of others. Of 400 photos' logits B0 in TFLite kept
    13.2 and 13.7 dB after calibration on two sets of 8 others, and 14.9 and 14.8 with 120 crops of
    those; on 32, 15.1 and 15.3, and 17.3 and 16.3 with 96 crops.
    """
    shares = photographs.shares(count, len(folder))

    def images() -> Iterator[Image]:
        for which, (path, share) in enumerate(zip(folder.paths, shares, strict=True)):
            photo = _decoded(path)
            size, fraction = spec.shape[1:3], spec.crop_fraction
            yield prepare(photo, *size, fraction, spec.interpolation)[None]
            for crop in photographs.cut(photo, share - 1, photographs.WIDE, which):
                yield prepare(crop, *size, 1.0, spec.interpolation)[None]

    scenes = [which for which, share in enumerate(shares) for _ in range(share)]
    return Images(images, count, scenes)


def crop_sets(spec: InputSpec, count: int) -> tuple[ImageSet, Images]:
    """Crops of scikit-image's photographs: wide ones to calibrate on, whole ones to verify with.

    Raises:
        MissingExtraError: scikit-image is not installed.
        UsageError: `count` is below 1.
    """
    _require_count(count)
    description = {
        "source": "crops of scikit-image's photographs",
        "images": count,
        "sha256": photographs.digest(),
    }
    wide = _crops(spec, count, photographs.WIDE)
    return ImageSet(wide, description), _crops(spec, VERIFIED, photographs.WHOLE)


def _require_count(count: int) -> None:
    if count < 1:
        raise UsageError(f"cannot calibrate on {count} images: ask for 1 or more")


def _crops(spec: InputSpec, count: int, smallest: float) -> Images:
    size = spec.shape[1:3]
    return Images(
        lambda: (crop[None] for crop in photographs.crops(count, *size, smallest)),
        count,
        photographs.photographs_of(count),
    )
