from __future__ import annotations

import errno
import os
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgenet.bundle import InputSpec
from edgenet.errors import EdgenetError, UsageError
from edgenet.images import (
    ImageError,
    ImageFolder,
    prepare,
    read_labels,
)
from edgenet.sampling import stratified
from tests.photos import JPEG, encoded, photo


def spec(size: int = 8) -> InputSpec:
    return InputSpec("image", (1, size, size, 3), "uint8", "NHWC", "none", 1.0, "bilinear")


def pass_over(line: str) -> None:
    """Leaves a damaged image out without a word."""


def test_labels_are_one_a_line(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("tench\ngreat white shark\n\n", encoding="utf-8")
    assert read_labels(path) == ("tench", "great white shark")


@pytest.mark.parametrize("content", [b"", b"a\n\nb\n", b"\xff\xfe"])
def test_unfit_labels_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"labels\.txt"):
        read_labels(path)


def fill(folder: Path, *names: str) -> Path:
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(photo(seed=seed)))
    return folder


def test_a_flat_folder_is_sorted_and_unlabelled(tmp_path: Path) -> None:
    fill(tmp_path, "b.png", "a.PNG", ".hidden.png")
    (tmp_path / "notes.txt").write_text("not an image")
    folder = ImageFolder.open(tmp_path)
    assert (folder.names, folder.labels) == (("a.PNG", "b.png"), None)


def test_class_folders_are_numbered_in_order(tmp_path: Path) -> None:
    fill(tmp_path, "cat/2.png", "cat/1.png", "dog/1.png")
    (tmp_path / "bird").mkdir()
    folder = ImageFolder.open(tmp_path)
    assert folder.names == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert folder.labels == (1, 1, 2)


def test_labels_csv_is_followed(tmp_path: Path) -> None:
    fill(tmp_path, "b.png", "a.png", "unlisted.png")
    (tmp_path / "labels.csv").write_text("file,class_index\nb.png,7\na.png, 0\n")
    folder = ImageFolder.open(tmp_path)
    assert (folder.names, folder.labels) == (("b.png", "a.png"), (7, 0))


def test_images_beside_class_folders_are_refused(tmp_path: Path) -> None:
    """A stray one would else be all that counts."""
    fill(tmp_path, "cat/1.png", "cat/2.png", "dog/1.png", "confusion.png", "more.png")
    (tmp_path / "bird").mkdir()
    with pytest.raises(
        UsageError, match=r"as confusion\.png, and in folders, as cat: move .* in a labels\.csv"
    ):
        ImageFolder.open(tmp_path)
    (tmp_path / "labels.csv").write_text("file,class_index\ncat/2.png,0\nmore.png,1\n")
    assert ImageFolder.open(tmp_path).names == ("cat/2.png", "more.png")


def test_folders_that_hold_no_images_may_lie_beside_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "1.png", ".thumbs/1.png", "deep/deeper/1.png", "hidden/.1.png", "locked/1.png")
    (tmp_path / "hidden" / "notes.txt").write_text("no image")
    entries = Path.iterdir

    def listed(path: Path):
        if path.name == "locked":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return entries(path)

    monkeypatch.setattr(Path, "iterdir", listed)
    folder = ImageFolder.open(tmp_path)
    assert (folder.names, folder.labels) == (("1.png",), None)


def test_no_folder_and_an_empty_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        ImageFolder.open(tmp_path / "gone")
    with pytest.raises(UsageError, match="no images in"):
        ImageFolder.open(tmp_path)


@given(total=st.integers(1, 60), count=st.integers(1, 80))
def test_a_sample_is_of_all_parts_of_the_folder(total: int, count: int) -> None:
    folder = ImageFolder(Path(), tuple(f"{i:02}" for i in range(total)), None)
    assert [int(name) for name in folder.sample(count).names] == stratified(total, count)
    assert folder.sample(count) == folder.sample(count)


@given(labels=st.lists(st.integers(0, 5), min_size=1, max_size=60), count=st.integers(1, 60))
@example(labels=[0, 1, 2, 3] * 5, count=10)
def test_a_sample_has_its_share_of_each_class(labels: list[int], count: int) -> None:
    """Every second of a list that goes round all classes would else be of half of them."""
    names = tuple(f"{i:02}" for i in range(len(labels)))
    sample = ImageFolder(Path(), names, tuple(labels)).sample(count)
    assert len(sample) == min(count, len(labels))
    assert list(sample.names) == sorted(set(sample.names))
    assert sample.labels == tuple(labels[int(name)] for name in sample.names)
    for label, images in Counter(labels).items():
        share = Fraction(images * len(sample), len(labels))
        assert abs(sample.labels.count(label) - share) < 1


def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    Image.new("RGB", (4, 4)).save(tmp_path / name)
    folder = ImageFolder.open(tmp_path)
    assert folder.names == (name,)
    assert len(folder.digest()) == 64


def test_the_digest_tells_names_and_bytes(tmp_path: Path) -> None:
    def digest() -> str:
        return ImageFolder.open(tmp_path).digest()

    fill(tmp_path, "a.png", "b.png")
    first = digest()
    assert digest() == first
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    renamed = digest()
    (tmp_path / "c.png").write_bytes(encoded(photo(seed=9)))
    assert len({first, renamed, digest()}) == 3


@given(size=st.integers(1, 7))
def test_batches_hold_every_image_once(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    root = fill(tmp_path_factory.mktemp("folder"), *(f"c{i % 2}/{i}.png" for i in range(5)))
    folder = ImageFolder.open(root)
    batches = list(folder.batches(spec(), size))
    assert [len(batch.names) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert tuple(name for batch in batches for name in batch.names) == folder.names
    assert tuple(label for batch in batches for label in batch.labels or ()) == folder.labels
    expected = [prepare(path, 8, 8, 1.0, "bilinear") for path in folder.paths]
    np.testing.assert_array_equal(np.concatenate([b.images for b in batches]), expected)


def test_a_damaged_image_stops_or_is_skipped(tmp_path: Path) -> None:
    folder = ImageFolder.open(fill(tmp_path, "x/a.png", "x/b.png", "y/c.png"))
    (tmp_path / "x/b.png").write_bytes(JPEG[:200])
    with pytest.raises(ImageError, match=r"b\.png"):
        list(folder.batches(spec(), 2))
    skipped: list[str] = []
    batches = folder.batches(spec(), 2, skipped.append)
    [batch] = list(batches)
    assert (batch.names, batch.labels) == (("x/a.png", "y/c.png"), (0, 1))
    [line] = skipped
    assert line.startswith("left out x/b.png: ")


def test_what_the_system_refuses_is_not_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unopened(*_: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    folder = ImageFolder.open(fill(tmp_path, "a.png", "b.png"))
    monkeypatch.setattr(Image, "open", unopened)
    with pytest.raises(EdgenetError, match=r"cannot read the image .*a\.png: Too many open files"):
        list(folder.batches(spec(), 1, pass_over))


def test_nothing_but_damaged_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(JPEG[:200])
    with pytest.raises(ImageError, match="every image"):
        list(ImageFolder.open(tmp_path).batches(spec(), 2, pass_over))


def test_a_batch_of_none_is_refused_at_once(tmp_path: Path) -> None:
    folder = ImageFolder.open(fill(tmp_path, "a.png"))
    with pytest.raises(UsageError, match="1 image or more, not 0"):
        folder.batches(spec(), 0)


def class_folders(root: Path, *names: str) -> ImageFolder:
    for index, name in enumerate(names):
        (root / name).mkdir()
        photo(seed=index).save(root / name / "a.png")
    return ImageFolder.open(root)


def test_class_folders_are_numbered_by_the_models_names(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, "cat", "Grey_owl", "rocket")
    assert folder.names == ("Grey_owl/a.png", "cat/a.png", "rocket/a.png")
    assert folder.labels == (0, 1, 2)
    found = folder.of_classes(("rocket", "cat", "dog", "grey  owl"), 4)
    assert found.names == folder.names
    assert found.labels == (3, 1, 0)
    assert found.sample(2).of_classes(None, 99).labels == (3, 1)


def test_class_folders_of_other_names_are_numbered_where_all_are_there(tmp_path: Path) -> None:
    folder = class_folders(tmp_path, "n01", "n02")
    for names in (None, ("cat", "dog")):
        assert folder.of_classes(names, 2) is folder


@pytest.mark.parametrize(
    ("names", "classes", "said"),
    [
        (None, 3, "2 class folders, the model 3 classes whose names are not known: .* --labels"),
        (("cat", "fox"), 2, "'dog' is the name of none"),
        (("cat", "dog", "dog"), 3, "'dog' is the name of several"),
    ],
)
def test_class_folders_that_fit_no_class_are_refused(
    tmp_path: Path, names: tuple[str, ...] | None, classes: int, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        class_folders(tmp_path, "cat", "dog").of_classes(names, classes)


@pytest.mark.parametrize("names", [None, ("cat", "dog")])
def test_an_index_that_no_class_has_is_refused(
    tmp_path: Path, names: tuple[str, ...] | None
) -> None:
    """As where classes are counted from 1."""
    fill(tmp_path, "a.png", "b.png", "c.png")
    (tmp_path / "labels.csv").write_text("file,class_index\nb.png,1\na.png,2\nc.png,3\n")
    folder = ImageFolder.open(tmp_path)
    assert folder.of_classes(None, 4) is folder
    said = (
        r"a\.png in .* has the class index 2, but the model's 2 classes are numbered from 0, to 1"
    )
    with pytest.raises(UsageError, match=said):
        folder.of_classes(names, 2)


def test_of_equal_files_one_is_kept(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 1), ("c", 0)):
        photo(seed=seed).save(tmp_path / f"{name}.png")
    folder = ImageFolder.open(tmp_path)
    assert folder.distinct().names == ("a.png", "b.png")
    assert folder.distinct().distinct().names == ("a.png", "b.png")


@settings(max_examples=30)
@given(ours=st.lists(st.binary(max_size=2)), theirs=st.lists(st.binary(max_size=2)))
def test_images_that_are_in_another_folder_are_counted(
    tmp_path_factory: pytest.TempPathFactory, ours: list[bytes], theirs: list[bytes]
) -> None:
    """By what is in the files, whatever they are called."""
    folders = []
    for contents in (ours, theirs):
        root = tmp_path_factory.mktemp("folder")
        names = tuple(f"{root.name}-{number}.png" for number in range(len(contents)))
        for name, content in zip(names, contents, strict=True):
            (root / name).write_bytes(content)
        folders.append(ImageFolder(root, names, labels=None))
    assert folders[0].shared(folders[1]) == sum(content in theirs for content in ours)


def test_an_image_that_has_gone_is_in_no_folder(tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    folder = ImageFolder.open(tmp_path)
    (tmp_path / "a.png").unlink()
    with pytest.raises(UsageError, match=r"cannot read the image .*a\.png: No such file"):
        folder.shared(folder)
