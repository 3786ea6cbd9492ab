"""Crops of scikit-image's photographs: the same at every call, and nothing of it is imported."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice

import numpy as np
import pytest

from edgenet import photographs
from edgenet.errors import MissingExtraError
from edgenet.photographs import NAMES, WHOLE, WIDE, crops, digest, photographs_of


@pytest.mark.parametrize("size", [(32, 32), (24, 48)])
def test_crops_have_the_size_asked_for(size):
    found = list(crops(7, *size))
    assert len(found) == 7
    for crop in found:
        assert crop.shape == (*size, 3)
        assert crop.dtype == np.uint8
        assert crop.std() > 10


def test_the_same_at_every_call_and_fewer_are_the_first_of_each_photograph():
    first = list(crops(8, 16, 16, WIDE))
    assert all(map(np.array_equal, first, crops(8, 16, 16, WIDE)))
    fewer = [first[place] for place in (0, 2, 4)]
    assert all(map(np.array_equal, fewer, crops(3, 16, 16, WIDE)))


def test_photographs_follow_one_another():
    """Whole crops of one are more alike than those of two."""
    assert photographs_of(40) == [which for which in range(5) for _ in range(8)]
    assert photographs_of(7) == [0, 0, 1, 1, 2, 3, 4]
    means = np.array([crop.mean(axis=(0, 1)) for crop in crops(40, 16, 16)]).reshape(5, 8, 3)
    within = means.std(axis=1).max()
    between = np.linalg.norm(np.diff(means.mean(axis=1), axis=0), axis=1)
    assert within < between.min()


def test_no_two_are_alike():
    found = np.stack(list(crops(2 * len(NAMES), 16, 16))).astype(float)
    distances = np.abs(found[:, None] - found[None]).mean(axis=(2, 3, 4))
    assert np.all(distances[~np.eye(len(found), dtype=bool)] > 1)


def test_wide_crops_go_nearer_than_whole_ones():
    """Of the same photograph: a smaller part, enlarged, has less in it."""

    def detail(smallest):
        found = np.stack(list(crops(40, 64, 64, smallest))).astype(float)
        return np.abs(np.diff(found, axis=2)).mean()

    assert detail(WIDE) < detail(WHOLE)


def test_crops_come_one_at_a_time():
    assert len(list(islice(crops(10**9, 16, 16), 2))) == 2


def test_the_digest_is_of_the_files():
    assert digest() == digest()
    assert len(digest()) == 64


def test_scikit_image_is_not_imported():
    script = (
        "import sys; from edgenet.photographs import crops; list(crops(5, 8, 8)); "
        "print('skimage' in sys.modules, 'scipy' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_without_scikit_image_a_folder_is_asked_for_and_that_package_alone(monkeypatch):
    monkeypatch.setattr(photographs, "find_spec", lambda name: None)
    told = r"^name a folder of images, as in check --evaluate DIR.*: pip install scikit-image$"
    with pytest.raises(MissingExtraError, match=told):
        crops(1, 8, 8)
    with pytest.raises(MissingExtraError):
        digest()
