"""What a `labels.csv` says is followed to the letter, or refused by its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgenet.bundle import InputSpec
from edgenet.errors import UsageError
from edgenet.images import ImageFolder
from edgenet.listing import Listing, read

SPEC = InputSpec("image", (1, 8, 8, 3), "uint8", "NHWC", "none", 1.0, "bilinear")
NAMES = ("a.png", "b.png", "c.png")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("listed")
    for name in NAMES:
        Image.new("RGB", (8, 8)).save(path / name)
    return path


def listed(folder: Path, *lines: str) -> Listing:
    (folder / "labels.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return read(folder)


def test_classes_are_read_whatever_else_a_row_has(folder: Path) -> None:
    found = listed(folder, "file,note,class_index", "b.png,x,1", "a.png,y,0")
    assert found == Listing(("b.png", "a.png"), labels=(1, 0))


def test_a_column_without_a_name_is_no_value(folder: Path) -> None:
    """`DataFrame.to_csv` writes the index as one."""
    found = listed(folder, ",file,age", "0,b.png,31.5", "1,a.png,40")
    assert found == Listing(("b.png", "a.png"), values=((31.5,), (40.0,)), columns=("age",))


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-1e30, 1e30)] * 2), min_size=3, max_size=3))
def test_values_are_the_numbers_that_were_written(
    folder: Path, rows: list[tuple[float, float]]
) -> None:
    lines = [f"{name},{age!r},{height!r}" for name, (age, height) in zip(NAMES, rows, strict=True)]
    found = listed(folder, "file,age,body height", *lines)
    assert found == Listing(NAMES, values=tuple(rows), columns=("age", "body height"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "must begin with the header line"),
        (["a.png,3"], 'must begin with the header line "file,class_index" or, of a regression'),
        (["file", "a.png"], "must begin with the header line"),
        (["file,age,age", "a.png,1,2"], "must begin with the header line"),
        (["file,age"], "lists no image"),
        (["file,age", "a.png,old"], "line 2 of .*: 'age' must be a number, not 'old'"),
        (["file,age", "a.png,1", "b.png,nan"], "line 3 of .*: 'age' must be a number, not 'nan'"),
        (["file,age", "a.png"], "line 2 of .*: 'age' must be a number, not None"),
        (["file,age", "d.png,1"], "line 2 of .* names 'd.png', which is not there"),
        (["file,age", ",1"], "line 2 of .* needs a file"),
        (["file,age", "a.png,1", "b.png,1", "a.png,2"], "names 'a.png' 2 times"),
        (["file,class_index", "a.png"], "line 2 of .* needs a class_index"),
        (["file,class_index", "a.png,1.5"], "must be a whole number from 0, not '1.5'"),
        (["file,class_index", "a.png,-1"], "must be a whole number from 0, not '-1'"),
        (["file,class_index", "a.png,x"], "must be a whole number from 0, not 'x'"),
        (["file,class_index", '"a.png,1'], "is not a CSV file in UTF-8"),
    ],
)
def test_what_cannot_be_followed_is_named(folder: Path, lines: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        listed(folder, *lines)


def test_a_list_in_another_encoding_is_refused(folder: Path) -> None:
    (folder / "labels.csv").write_bytes("file,größe\na.png,1\n".encode("latin-1"))
    with pytest.raises(UsageError, match="is not a CSV file in UTF-8"):
        read(folder)


def opened(folder: Path, header: str = "file,age,height") -> ImageFolder:
    listed(folder, header, "a.png,1,10", "b.png,2,20", "c.png,3,30")
    return ImageFolder.open(folder)


def test_values_follow_the_models_own_order(folder: Path) -> None:
    assert opened(folder).of_values(("height", "age"), 2).values == ((10, 1), (20, 2), (30, 3))
    assert opened(folder).of_values(("height",), 1).values == ((10,), (20,), (30,))
    assert opened(folder).of_values(None, 2).values == ((1, 10), (2, 20), (3, 30))
    assert opened(folder).of_values(("x", "y"), 2).columns == ("age", "height")


def test_a_part_of_a_folder_keeps_its_values(folder: Path) -> None:
    folder_of_two = opened(folder).sample(2)
    assert folder_of_two.values == ((1, 10), (2, 20))
    (batch,) = folder_of_two.batches(SPEC, 4)
    assert (batch.labels, batch.values) == (None, ((1, 10), (2, 20)))
    assert folder_of_two.only(["b.png"]).values is None


def test_values_that_do_not_fit_the_model_are_refused(folder: Path) -> None:
    message = "tells age, height of each image, and the model answers with 1 values"
    with pytest.raises(UsageError, match=message):
        opened(folder).of_values(None, 1)
    with pytest.raises(UsageError, match=r"3 values \(a, b, c\): name its columns"):
        opened(folder).of_values(("a", "b", "c"), 3)
    with pytest.raises(UsageError, match=r"tells age, height .*, and the model knows classes"):
        opened(folder).of_classes(None, 2)


def test_classes_tell_a_regression_nothing(folder: Path) -> None:
    listed(folder, "file,class_index", "a.png,1")
    found = ImageFolder.open(folder).of_values(None, 1)
    assert (found.labels, found.values, found.names) == (None, None, ("a.png",))
