"""A model and images that are handed over in memory, as the files that the stages read."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt

from converters.composite import custom_layer, inlined
from converters.frontend.supported import outside
from converters.round_trip import require_alike
from edgenet.decoding import decode
from edgenet.errors import EdgenetError, UsageError
from edgenet.models.keras_errors import first_line, quiet
from edgenet.sampling import stratified

if TYPE_CHECKING:
    import keras
    from PIL.Image import Image

    Place: TypeAlias = str | os.PathLike[str]
    Model: TypeAlias = Place | keras.Model
    Photos: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.floating[Any]]
    Calibration: TypeAlias = Place | Photos | Iterable[Photos | Image | tuple[Any, ...]] | None

_KERAS = ("keras", "tf_keras", "tensorflow")
# Stands in no file name, on any system.
_UNSAFE = re.compile(r"[^\w.-]+")
_RAW = "as they are before any normalization"


@dataclass(frozen=True)
class InMemory:
    """What was handed over in memory, as the file or folder that it was written to: a path.

    `name` stands for it in messages, and `description` in the manifest. Where the file of a model
    does not load for want of a layer's class, `unread` says of that layer why it is in there.
    """

    path: Path
    name: str
    description: Mapping[str, Any]
    unread: str | None = None

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __str__(self) -> str:
        return self.name


@contextmanager
def as_files(
    model: Model, calibration: Calibration, most: int
) -> Iterator[tuple[Place, Place | None]]:
    """What is no path yet, in a temporary folder; paths as they are.

    Args:
        model: A path, a variant's name or a Keras model.
        calibration: A path; N×H×W×3 pixels; or an iterable of H×W×3 pixels and PIL images of any
            size, of batches of pixels, or of tuples that begin with either, of which one at a time
            is held. Pixels are uint8, or floats of 0..255, which are rounded. None stays None.
        most: How many images are taken: from all parts of their order where they are counted and
            have places, else the first, as of batches.

    Raises:
        UsageError: One of them is something else.
    """
    if _is_place(model) and (calibration is None or _is_place(calibration)):
        yield model, calibration
        return
    with TemporaryDirectory(prefix="edgenet-") as folder:
        yield _model(model, Path(folder)), _images(calibration, Path(folder) / "calibration", most)


def _is_place(given: Any) -> TypeGuard[Place]:
    return isinstance(given, str | os.PathLike)


def _model(model: Any, folder: Path) -> Place:
    if _is_place(model):
        return model
    if not any(_is_keras_model(kind) for kind in type(model).__mro__):
        raise UsageError(
            "convert takes a variant's name, a .keras or .h5 file, a SavedModel or a keras.Model, "
            f"not {type(model).__name__}"
        )
    path = folder / f"{_UNSAFE.sub('_', model.name)}.keras"
    plain = inlined(model)
    try:
        with quiet():
            plain.save(path)
            weights = model.get_weights()
    except Exception as error:
        raise UsageError(
            f"the model {model.name} cannot be saved ({first_line(error)}): {_plain(model)}"
        ) from error
    require_alike(plain, path)
    custom = custom_layer(plain)
    return InMemory(
        path,
        model.name,
        {"model": model.name, "weights_sha256": _digest(weights)},
        unread=None if custom is None else outside(custom),
    )


def _plain(model: Any) -> str:
    """What can be saved in place of a model that cannot."""
    if not model.built:
        return "call it on an image first, so that it is built"
    if getattr(model, "inputs", None):
        return (
            "convert keras.Model(model.inputs, model.outputs), which has neither its class nor "
            "what it was compiled with"
        )
    return (
        "its class is your own: convert what i = keras.Input(shape); keras.Model(i, model.call(i)) "
        "makes"
    )


def _is_keras_model(kind: type) -> bool:
    return kind.__name__ == "Model" and kind.__module__.partition(".")[0] in _KERAS


def _digest(weights: Iterable[Any]) -> str:
    """Of their shapes, types and values: a file of them tells the time, and names by address."""
    digest = hashlib.sha256()
    for weight in weights:
        digest.update(f"{weight.dtype} {weight.shape}\0".encode())
        digest.update(np.ascontiguousarray(weight).tobytes())
    return digest.hexdigest()


def _images(calibration: Calibration, folder: Path, most: int) -> Place | None:
    if calibration is None or _is_place(calibration):
        return calibration
    folder.mkdir()
    number = -1
    singly = chain.from_iterable(map(_images_of, _taken(calibration, most)))
    for number, image in enumerate(_in_bytes(islice(singly, most))):
        # Not PNG, whose bytes are another in each version of its compressor.
        _photo(image, number).save(folder / f"{number:05}.bmp")
    if number < 0:
        raise UsageError("calibration has no image: give 100 or more, or leave it off")
    return InMemory(folder, "calibration", {"source": "memory"})


def _taken(images: Any, most: int) -> Iterator[Any]:
    if isinstance(images, np.ndarray) and images.dtype != object:
        _require_photos(images)
    if not isinstance(images, Iterable) or isinstance(images, Mapping | bytes):
        called = ", called: calibration=images()" if callable(images) else ""
        raise UsageError(
            "calibration is a folder, N×H×W×3 uint8, or an iterable of H×W×3 uint8 arrays, PIL "
            f"images or batches{called}, not {type(images).__name__}"
        )
    if not (hasattr(images, "__len__") and hasattr(images, "__getitem__")):
        yield from islice(images, most)
        return
    listed: Any = images
    count = len(listed)
    for place in stratified(count, most):
        yield listed[place]


def _require_photos(images: Any) -> None:
    shape = "×".join(map(str, images.shape))
    if images.ndim == 4 and images.shape[1] == 3 != images.shape[3]:
        raise UsageError(
            f"calibration has its channels first ({shape}): give images.transpose(0, 2, 3, 1)"
        )
    if images.ndim != 4 or images.shape[3] != 3:
        one = ", and one image as image[None]" if images.ndim == 3 else ""
        raise UsageError(f"calibration is {shape}: give N×H×W×3 RGB{one}")
    if images.dtype != np.uint8 and not _is_float(images):
        raise UsageError(f"calibration is {images.dtype}: give the pixels as uint8, 0..255, {_RAW}")


def _images_of(item: Any) -> Iterable[Any]:
    """The images of what an iterable yields: one or a batch, by itself or in front of labels."""
    from PIL import Image

    if isinstance(item, tuple) and item:
        item = item[0]
    if hasattr(item, "__array__") and not isinstance(item, Image.Image):
        item = np.asarray(item)
    return item if isinstance(item, np.ndarray) and item.ndim == 4 else (item,)


def _in_bytes(images: Iterable[Any]) -> Iterator[Any]:
    """Floats of 0..255, as Keras's data sets have them, as uint8; what else, as it is.

    Raises:
        UsageError: Floats are out of 0..255, or none is above 1: the pixels were normalized.
    """
    # Of all of them: a dark image alone tells nothing.
    highest = None
    for number, image in enumerate(images):
        if not _is_float(image) or not image.size:
            yield image
            continue
        low, high = float(image.min()), float(image.max())
        # So that NaN is refused.
        if not (low >= 0 and high <= 255):
            raise UsageError(
                f"image {number} of calibration has values from {low:.4g} to {high:.4g}: give "
                f"pixels of 0..255, {_RAW}; clip what resizing put beyond"
            )
        highest = max(high, highest or 0.0)
        yield np.rint(image).astype(np.uint8)
    if highest is not None and highest <= 1:
        raise UsageError(
            f"calibration has floats of 0..1 alone: give pixels of 0..255, {_RAW}, such as "
            "images * 255"
        )


def _is_float(image: Any) -> bool:
    return isinstance(image, np.ndarray) and np.issubdtype(image.dtype, np.floating)


def _photo(image: Any, number: int) -> Image:
    from PIL import Image

    if not isinstance(image, Image.Image | np.ndarray):
        raise UsageError(
            f"image {number} of calibration is of type {type(image).__name__}: give H×W×3 uint8, "
            "a PIL image, a batch, or a tuple that begins with one of these"
        )
    try:
        return decode(image)
    except EdgenetError as error:
        raise UsageError(f"image {number} of calibration: {error}") from error
