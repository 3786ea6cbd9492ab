"""Folders of photos with their classes or values, and files of class names.

`decode` and `prepare`, which read single photos, are handed on from modules of their own.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from edgenet import listing
from edgenet.bundle import InputSpec
from edgenet.decoding import ImageError, ImageSource, decode
from edgenet.errors import UsageError
from edgenet.listing import LABELS_CSV, Listing
from edgenet.preparing import INTERPOLATIONS, Pixels, prepare
from edgenet.sampling import stratified

__all__ = [
    "INTERPOLATIONS",
    "LABELS_CSV",
    "MENDING",
    "SUFFIXES",
    "Batch",
    "ImageError",
    "ImageFolder",
    "ImageSource",
    "Pixels",
    "Skip",
    "decode",
    "prepare",
    "read_labels",
]

Row = TypeVar("Row")
Skip = Callable[[str], None]
"""Told of a damaged image that is left out, in one line: which, and why."""

SUFFIXES = frozenset(
    [".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"]
)
MENDING = ": mend it, or add --skip-damaged"
"""What to do where a damaged image of a folder stops the work."""


def read_labels(path: str | os.PathLike[str]) -> tuple[str, ...]:
    """Reads class names, one a line, in index order.

    Raises:
        UsageError: The file cannot be read, is empty, or has an empty line between names.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").rstrip().splitlines()
    except UnicodeDecodeError as error:
        raise UsageError(f"the labels file {path} is not UTF-8 text") from error
    except OSError as error:
        raise UsageError(f"cannot read the labels file {path}: {error.strerror}") from error
    names = tuple(line.strip() for line in lines)
    if not names:
        raise UsageError(f"the labels file {path} is empty: it needs one class name a line")
    if "" in names:
        raise UsageError(f"line {names.index('') + 1} of the labels file {path} is empty")
    return names


@dataclass(frozen=True)
class Batch:
    """Some images of a folder, prepared: `images` is N×H×W×3 uint8.

    `labels` are their classes and `values` what they show, a row an image; None if unknown.
    """

    images: Pixels
    names: tuple[str, ...]
    labels: tuple[int, ...] | None
    values: tuple[tuple[float, ...], ...] | None = None


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images in a fixed order; nothing is decoded before it is asked for.

    Attributes:
        root: The folder.
        names: The images' paths relative to it, with forward slashes.
        labels: Their class indices, or None where the folder does not tell.
        folders: The names of the class folders in the order of their indices, where there are any.
        values: What each shows, a number for each of `columns`, where the folder tells that instead
            of classes.
        columns: What the values are called.
    """

    root: Path
    names: tuple[str, ...]
    labels: tuple[int, ...] | None
    folders: tuple[str, ...] = ()
    values: tuple[tuple[float, ...], ...] | None = None
    columns: tuple[str, ...] = ()

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> ImageFolder:
        """Finds the images of a folder.

        With a `labels.csv` (`edgenet.listing`) it is that file's list, in its order. Else the
        images that lie in the folder itself, sorted by name. Else those of its sub-folders, each of
        which is a class, numbered in the order of their sorted names; `of_classes` numbers them as
        a model does.

        Raises:
            UsageError: No such folder, no image in it, images both in it and in its sub-folders, or
                a `labels.csv` that cannot be followed.
        """
        root = Path(path)
        if not root.is_dir():
            raise UsageError(f"no such folder of images: {root}")
        try:
            found, folders = _contents(root)
        except OSError as error:
            raise UsageError(f"cannot read {error.filename or root}: {error.strerror}") from error
        if not found.names:
            kinds = " ".join(sorted(SUFFIXES))
            raise UsageError(f"no images in {root} or in folders right under it ({kinds})")
        return cls(root, found.names, found.labels, folders, found.values, found.columns)

    def of_classes(self, names: Sequence[str] | None, classes: int) -> ImageFolder:
        """The folder with its class folders numbered as a model numbers its classes.

        Args:
            names: The model's class names in index order; None where it has none.
            classes: How many the model has.

        Returns:
            By name, where the folders are named as the classes; in their sorted order, as Keras
            numbers them, where none is and there are as many as classes.

        Raises:
            UsageError: Neither; or, without class folders, a class index that the model has not, or
                values.
        """
        if self.values is not None:
            raise UsageError(
                f"{self.root / LABELS_CSV} tells {', '.join(self.columns)} of each image, and the "
                'model knows classes: begin it with "file,class_index"'
            )
        if not self.folders:
            self._require_known(classes)
            return self
        known = Counter(map(_plain, names or ()))
        strange = [folder for folder in self.folders if known[_plain(folder)] != 1]
        if not strange:
            places = {_plain(name): index for index, name in enumerate(names or ())}
            indices = [places[_plain(folder)] for folder in self.folders]
            labels = tuple(indices[label] for label in self.labels or ())
            return replace(self, labels=labels, folders=())
        if len(strange) == len(self.folders) == classes:
            return self
        which = "several" if known[_plain(strange[0])] else "none"
        if not names:
            raise UsageError(
                f"{self.root} has {len(self.folders)} class folders, the model {classes} classes "
                "whose names are not known: convert with --labels FILE, or list the images in a "
                f"{LABELS_CSV}"
            )
        raise UsageError(
            f"{self.root} has {len(self.folders)} class folders, the model {classes} classes, and "
            f"{strange[0]!r} is the name of {which} of them: name the folders as the labels, or "
            f"list the images in a {LABELS_CSV}"
        )

    def of_values(self, names: Sequence[str] | None, count: int) -> ImageFolder:
        """The folder with its values in the order in which a regression answers them.

        Args:
            names: What the model calls its values; None where it has no names.
            count: How many it has.

        Returns:
            By name, where the columns are called so; in their order, where there are as many.
            Without values it is a folder of images alone: classes tell a regression nothing.

        Raises:
            UsageError: Neither.
        """
        if self.values is None:
            return replace(self, labels=None, folders=())
        if names is not None and set(names) <= set(self.columns):
            places = [self.columns.index(name) for name in names]
        elif len(self.columns) == count:
            places = list(range(count))
        else:
            wanted = f" ({', '.join(names)})" if names else ""
            raise UsageError(
                f"{self.root / LABELS_CSV} tells {', '.join(self.columns)} of each image, and the "
                f"model answers with {count} values{wanted}: name its columns as the model's "
                "labels, or give as many"
            )
        values = tuple(tuple(row[place] for place in places) for row in self.values)
        columns = tuple(self.columns[place] for place in places)
        return replace(self, values=values, columns=columns)

    def _require_known(self, classes: int) -> None:
        for name, label in zip(self.names, self.labels or (), strict=False):
            if label >= classes:
                raise UsageError(
                    f"{name} in {self.root} has the class index {label}, but the model's {classes} "
                    f"classes are numbered from 0, to {classes - 1}: correct the labels"
                )

    def __len__(self) -> int:
        return len(self.names)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The images' paths, in order."""
        return tuple(self.root / name for name in self.names)

    def sample(self, count: int) -> ImageFolder:
        """The folder with `count` of its images, in its order; all, if it has fewer.

        They come from all parts of the order, at random places that are the same at every call.
        Where classes are known, each has its share of the count, to less than one image.

        Raises:
            UsageError: `count` is below 1.
        """
        if count < 1:
            raise UsageError(f"cannot take {count} images: ask for 1 or more")
        if count >= len(self):
            return self
        chosen = sorted(self._of_each_class(count))
        return replace(
            self,
            names=tuple(self.names[index] for index in chosen),
            labels=_those(self.labels, chosen),
            values=_those(self.values, chosen),
        )

    def _of_each_class(self, count: int) -> Iterator[int]:
        """Places of so many images; where no class is known, all are of one."""
        classes: dict[int, list[int]] = {}
        for place, label in enumerate(self.labels or [0] * len(self)):
            classes.setdefault(label, []).append(place)
        # Evenly spaced in the order of the classes, to see how many fall into each.
        seen = taken = 0
        for places in classes.values():
            seen += len(places)
            share = -(-seen * count // len(self)) - taken
            taken += share
            yield from (places[k] for k in stratified(len(places), share))

    def only(self, names: Iterable[str]) -> ImageFolder:
        """The folder with these of its images, in its order, of whatever classes."""
        wanted = set(names)
        kept = tuple(name for name in self.names if name in wanted)
        return ImageFolder(self.root, kept, labels=None)

    def distinct(self) -> ImageFolder:
        """The folder without copies: of files that are equal byte for byte, the first.

        Raises:
            UsageError: A file has gone.
        """
        first: dict[str, str] = {}
        for name in self.names:
            first.setdefault(_digest_of(self.root / name), name)
        return self if len(first) == len(self) else self.only(first.values())

    def shared(self, other: ImageFolder) -> int:
        """How many of the images are equal, byte for byte, to one of another folder.

        Files are read only where there are some of the same size in both.

        Raises:
            UsageError: A file has gone.
        """
        sizes = set(map(_size_of, self.paths)) & set(map(_size_of, other.paths))
        theirs = set(_digests(other, sizes))
        return sum(digest in theirs for digest in _digests(self, sizes))

    def digest(self) -> str:
        """The sha256, in hexadecimal, over each image's name, size and bytes, in order.

        Raises:
            UsageError: A file has gone.
        """
        digest = hashlib.sha256()
        for name, path in zip(self.names, self.paths, strict=True):
            digest.update(f"{name}\0".encode("utf-8", "surrogateescape"))
            _add_file(digest, path)
        return digest.hexdigest()

    def batches(
        self,
        spec: InputSpec,
        size: int,
        skip: Skip | None = None,
    ) -> Iterator[Batch]:
        """Prepares the images as `spec` says, `size` at a time; only one batch is held at once.

        Args:
            spec: What the model takes; its batch size is ignored.
            size: Images a batch, 1 or more; the last batch may be smaller.
            skip: Told of a damaged image, which is left out; where it is None, one stops the work.

        Raises:
            UsageError: `size` is below 1, or a file has gone.
            ImageError: A damaged image, when it is reached; or all are.
            EdgenetError: An image that the system did not let be read, with `skip` or without.
        """
        if size < 1:
            raise UsageError(f"a batch has 1 image or more, not {size}")
        return self._batches(spec, size, skip)

    def _batches(self, spec: InputSpec, size: int, skip: Skip | None) -> Iterator[Batch]:
        held: list[tuple[int, Pixels]] = []
        sound = 0
        for index, path in enumerate(self.paths):
            try:
                pixels = prepare(path, *spec.shape[1:3], spec.crop_fraction, spec.interpolation)
            except ImageError as error:
                if skip is None:
                    raise ImageError(f"{error}{MENDING}") from error
                skip(f"left out {self.names[index]}: {error}")
                continue
            sound += 1
            held.append((index, pixels))
            if len(held) == size:
                yield self._batch(held)
                held = []
        if held:
            yield self._batch(held)
        if not sound:
            raise ImageError(f"every image in {self.root} is damaged")

    def _batch(self, held: list[tuple[int, Pixels]]) -> Batch:
        indices = [index for index, _ in held]
        return Batch(
            images=np.stack([pixels for _, pixels in held]),
            names=tuple(self.names[index] for index in indices),
            labels=_those(self.labels, indices),
            values=_those(self.values, indices),
        )


def _those(rows: tuple[Row, ...] | None, indices: Iterable[int]) -> tuple[Row, ...] | None:
    return None if rows is None else tuple(rows[index] for index in indices)


def _digests(folder: ImageFolder, sizes: Collection[int]) -> Iterator[str]:
    """The digests of a folder's images whose size, in bytes, is one of `sizes`."""
    return (_digest_of(path) for path in folder.paths if _size_of(path) in sizes)


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    _add_file(digest, path)
    return digest.hexdigest()


def _add_file(digest: Any, path: Path) -> None:
    """Updates a digest with the size and the bytes of a file."""
    digest.update(f"{_size_of(path)}\0".encode())
    with _readable(path), path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)


def _size_of(path: Path) -> int:
    with _readable(path):
        return path.stat().st_size


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read the image {path}: {error.strerror}") from error


def _plain(name: str) -> str:
    return " ".join(name.replace("_", " ").casefold().split())


def _contents(root: Path) -> tuple[Listing, tuple[str, ...]]:
    """The images, and the names of class folders."""
    if (root / LABELS_CSV).is_file():
        return listing.read(root), ()
    names = _images_in(root)
    folders = sorted(e.name for e in root.iterdir() if e.is_dir() and not e.name.startswith("."))
    if names:
        _refuse_both(root, names[0], folders)
        return Listing(names), ()
    pairs = [
        (f"{folder}/{name}", index)
        for index, folder in enumerate(folders)
        for name in _images_in(root / folder)
    ]
    labels = tuple(index for _, index in pairs)
    return Listing(tuple(name for name, _ in pairs), labels), tuple(folders)


def _refuse_both(root: Path, image: str, folders: Sequence[str]) -> None:
    """Refuses images beside class folders: one or the other would be left out without a word."""
    for folder in folders:
        with suppress(OSError):  # lost+found, for one, is nobody's to look into.
            if _images_in(root / folder):
                raise UsageError(
                    f"{root} has images in itself, as {image}, and in folders, as {folder}: move "
                    f"one or the other away, or list the images in a {LABELS_CSV}"
                )


def _images_in(folder: Path) -> tuple[str, ...]:
    entries = (e for e in folder.iterdir() if e.suffix.lower() in SUFFIXES and e.is_file())
    return tuple(sorted(e.name for e in entries if not e.name.startswith(".")))
