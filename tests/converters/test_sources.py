"""What a conversion starts from: which images calibrate, which verify, and what is said of them."""

from __future__ import annotations

import numpy as np
import pytest

from converters.sources import (
    CALIBRATION_IMAGES,
    VERIFIED,
    crop_sets,
    folder_sets,
    load_source,
)
from edgenet.bundle import InputSpec, sha256_of
from edgenet.errors import UsageError
from edgenet.photographs import photographs_of
from tests.networks import CLASSES, SIZE

SPEC = InputSpec("image", (1, 32, 32, 3), "uint8", "NHWC", "in the model", 1.0, "bilinear")


def test_no_image_both_calibrates_and_verifies(texture_folder):
    calibration, verification = folder_sets(texture_folder, SPEC, 40, None)
    assert (calibration.count, verification.count) == (40, 60)
    of = [{image.tobytes() for image in images.images()} for images in (calibration, verification)]
    assert of[0].isdisjoint(of[1])
    assert calibration.scenes is None
    assert calibration.description["sha256"] != verification.description["sha256"]


def test_where_all_calibrate_they_verify_too(texture_folder):
    calibration, verification = folder_sets(texture_folder, SPEC, CALIBRATION_IMAGES, None)
    assert (calibration.count, verification.count) == (100, VERIFIED)


def test_images_start_anew_and_come_in_batches(texture_folder):
    calibration, _ = folder_sets(texture_folder, SPEC, 7, None)
    first, again = (list(calibration.images()) for _ in range(2))
    assert all(map(np.array_equal, first, again))
    batches = list(calibration.batches(3))
    assert [batch.shape for batch in batches] == [(3, 32, 32, 3), (3, 32, 32, 3), (1, 32, 32, 3)]
    assert np.array_equal(np.concatenate(batches), np.stack(first))


def test_crops_that_verify_are_not_those_that_calibrate():
    calibration, verification = crop_sets(SPEC, 40)
    assert (calibration.count, verification.count) == (40, VERIFIED)
    assert calibration.scenes == photographs_of(40)
    first, second = (next(iter(images.images())) for images in (calibration, verification))
    assert not np.array_equal(first, second)
    with pytest.raises(UsageError, match="1 or more"):
        crop_sets(SPEC, 0)


def test_a_file_of_the_users_own_is_named_by_its_digest(tiny_models, tiny_labels):
    source = load_source(tiny_models["lite"], labels=tiny_labels)
    assert source.description == {
        "file": "tiny-lite.keras",
        "sha256": sha256_of(tiny_models["lite"]),
    }
    assert (source.crop_fraction, source.interpolation) == (1.0, "bilinear")
    assert source.model.input_shape == (None, SIZE, SIZE, 3)
    assert source.labels is not None
    assert len(source.labels) == CLASSES


@pytest.mark.slow
def test_a_variant_has_its_published_weights_crop_and_names():
    source = load_source("Lite0")
    assert source.description["variant"] == "lite0"
    assert source.description["weights"]["file"].endswith(".pth")
    assert source.crop_fraction == 224 / 256
    assert source.interpolation == "bicubic"
    assert source.labels is not None
    assert len(source.labels) == 1000
