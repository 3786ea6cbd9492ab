"""Which images calibrate, which verify, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from converters.image_sets import VERIFIED, crop_sets, folder_sets
from edgenet.bundle import InputSpec
from edgenet.errors import UsageError
from edgenet.images import ImageError
from edgenet.photographs import photographs_of
from edgenet.sampling import stratified

SPEC = InputSpec("image", (1, 32, 32, 3), "uint8", "NHWC", "in the model", 1.0, "bilinear")


def test_no_image_both_calibrates_and_verifies(texture_folder):
    calibration, verification = folder_sets(texture_folder, SPEC, 40, None)
    assert (calibration.images.count, verification.count) == (40, 60)
    of = [{image.tobytes() for image in part.all()} for part in (calibration.images, verification)]
    assert of[0].isdisjoint(of[1])
    assert calibration.images.scenes is None


def test_where_all_calibrate_they_verify_too(texture_folder):
    calibration, verification = folder_sets(texture_folder, SPEC, 100, None)
    assert (calibration.images.count, verification.count) == (100, VERIFIED)
    assert calibration.description["source"] == "folder"


def test_where_few_are_left_some_that_calibrate_verify_too(texture_folder):
    calibration, verification = folder_sets(texture_folder, SPEC, 99, None)
    assert (calibration.images.count, verification.count) == (99, VERIFIED)
    of = [{image.tobytes() for image in part.all()} for part in (calibration.images, verification)]
    assert len(of[1] - of[0]) == 1


def few(folder: Path, names: str, blank: bool = False) -> Path:
    """Images whose names tell what they show."""
    folder.mkdir()
    for name in names:
        blobs = np.random.default_rng(ord(name)).integers(0, 256, (4, 4, 3), np.uint8)
        image = Image.fromarray(blobs * (not blank)).resize((60, 40), Image.Resampling.BICUBIC)
        image.save(folder / f"{len(list(folder.iterdir()))}.png")
    return folder


def test_crops_make_as_many_of_few(tmp_path):
    calibration, verification = folder_sets(few(tmp_path / "f", "abc"), SPEC, 8, None)
    assert (calibration.images.count, verification.count) == (8, 3)
    assert calibration.images.scenes == [0, 0, 0, 1, 1, 1, 2, 2]
    assert calibration.description["images"] == 3
    assert calibration.description["source"] == "folder, and crops of its images"
    found = [image.tobytes() for image in calibration.images.all()]
    assert len(set(found)) == 8
    assert found == [image.tobytes() for image in calibration.images.all()]
    whole = {image.tobytes() for image in verification.all()}
    assert whole == {found[place] for place in (0, 3, 6)}


def test_of_equal_images_one_calibrates(tmp_path):
    calibration, _ = folder_sets(few(tmp_path / "f", "aabab"), SPEC, 5, None)
    assert calibration.images.scenes == [0, 0, 0, 1, 1]
    assert calibration.description["images"] == 2


@pytest.mark.parametrize("count", [2, 8])
def test_blank_images_calibrate_nothing(tmp_path, count):
    folder = few(tmp_path / "f", "abcd", blank=True)
    with pytest.raises(UsageError, match="is blank"):
        folder_sets(folder, SPEC, count, None)
    folder_sets(folder, SPEC, count, None, needs_content=False)


@pytest.mark.parametrize("colour", [(90, 90, 90), (90, 140, 220)])
def test_one_colour_is_blank_whichever_it_is(tmp_path, colour):
    for number, size in enumerate([(30, 20), (1, 1)]):
        Image.new("RGB", size, colour).save(tmp_path / f"{number}.png")
    with pytest.raises(UsageError, match="is blank"):
        folder_sets(tmp_path, SPEC, 2, None)


def test_others_take_the_place_of_copies_and_of_damaged_images(tmp_path):
    """All three are among the five that are looked at first."""
    assert {1, 3, 5} <= {*stratified(10, 5)}
    folder = few(tmp_path / "f", "bacadefghi")
    (folder / "5.png").write_text("no image")
    told: list[str] = []
    calibration, verification = folder_sets(folder, SPEC, 5, told.append)
    assert calibration.description["source"] == "folder"
    assert calibration.description["images"] == 5
    assert len(list(calibration.images.all())) == 5
    assert verification.count == 8
    assert [line.split(":")[0] for line in told] == ["left out 5.png"]


@pytest.mark.parametrize("damaged", [0, 3])
def test_a_damaged_image_calibrates_and_verifies_nothing(tmp_path, damaged):
    """The first of three that calibrate, or the only one to verify with."""
    folder = few(tmp_path / "f", "abcd")
    (folder / f"{damaged}.png").write_text("no image")
    told: list[str] = []
    calibration, verification = folder_sets(folder, SPEC, 3, told.append)
    assert len(list(verification.all())) == verification.count == 3
    assert len(list(calibration.images.all())) == calibration.images.count == 3
    assert calibration.description == {**calibration.description, "source": "folder", "images": 3}
    assert [line.split(":")[0] for line in told] == [f"left out {damaged}.png"]


@pytest.mark.parametrize("damaged", [0, 70])
def test_a_damaged_image_of_few_stops_the_work_and_says_what_to_do(tmp_path, damaged):
    """Met as the first that is looked into, or where crops are taken."""
    folder = tmp_path / "f"
    folder.mkdir()
    for number in range(80):
        blobs = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(blobs).save(folder / f"{number:02}.png")
    (folder / f"{damaged:02}.png").write_text("no image")
    with pytest.raises(ImageError, match=r"png .*: mend it, or add --skip-damaged$"):
        list(folder_sets(folder, SPEC, 100, None)[0].images.all())


def test_the_crops_of_few_are_of_sound_images_alone(tmp_path):
    folder = few(tmp_path / "f", "abc")
    (folder / "1.png").write_text("no image")
    calibration, _ = folder_sets(folder, SPEC, 6, lambda line: None)
    assert calibration.images.scenes == [0, 0, 0, 1, 1, 1]
    assert len(list(calibration.images.all())) == 6
    (folder / "0.png").write_text("no image")
    (folder / "2.png").write_text("no image")
    with pytest.raises(ImageError, match="every image"):
        folder_sets(folder, SPEC, 6, lambda line: None)


def test_images_start_anew_and_come_in_batches(texture_folder):
    calibration, _ = folder_sets(texture_folder, SPEC, 7, None)
    first, again = (list(calibration.images.all()) for _ in range(2))
    assert all(map(np.array_equal, first, again))
    batches = list(calibration.images.batches(3))
    assert [batch.shape for batch in batches] == [(3, 32, 32, 3), (3, 32, 32, 3), (1, 32, 32, 3)]
    assert np.array_equal(np.concatenate(batches), np.concatenate(first))


def test_crops_that_verify_are_not_those_that_calibrate():
    calibration, verification = crop_sets(SPEC, 40)
    assert (calibration.images.count, verification.count) == (40, VERIFIED)
    assert calibration.images.scenes == photographs_of(40)
    first, second = (next(part.all()) for part in (calibration.images, verification))
    assert not np.array_equal(first, second)
    with pytest.raises(UsageError, match="1 or more"):
        crop_sets(SPEC, 0)
