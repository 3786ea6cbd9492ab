"""Which images set ranges and gains, and which only tell how good those are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.quantization.images import FEWEST_TO_SPLIT, Images
from edgenet.sampling import stratified


@pytest.mark.parametrize("kept", [9, 36])
@pytest.mark.parametrize("count", [6, 13, 64, 200])
def test_images_held_out_set_nothing(kept, count):
    numbered = [np.full((1, 1, 1, 3), i, np.uint8) for i in range(count)]

    def numbers(images) -> list[int]:
        return [int(image[0, 0, 0, 0]) for image in images]

    split = Images(lambda: iter(numbered), count).split(kept)
    subset, held_out, setting = map(numbers, (split.subset, split.held_out, split.setting))
    assert sorted(held_out + setting) == list(range(count))
    assert set(subset) <= set(setting)
    assert len(setting) == split.count
    in_memory = len(subset) + len(held_out)
    assert min(kept, count) <= in_memory < 2 * kept
    assert len(held_out) >= in_memory // (2 if count >= 3 * kept else 3)


@pytest.mark.parametrize("period", [2, 3])
@pytest.mark.parametrize(("count", "kept"), [(27, 9), (128, 42)])
def test_what_recurs_is_held_out_and_sets_ranges(count, kept, period):
    """A folder of photos from the front, the side and the top of each thing, by name."""
    kinds = [np.full((1, 1, 1, 3), place % period, np.uint8) for place in range(count)]
    split = Images(lambda: iter(kinds), count).split(kept)
    for images in (split.subset, split.held_out):
        assert {int(image.max()) for image in images} == set(range(period))


@pytest.mark.parametrize(("side", "reads"), [(64, 2), (1200, 4)])
def test_images_that_take_little_memory_are_read_once(side, reads):
    """After a pass that is broken off, anew."""
    read = 0

    def images():
        nonlocal read
        read += 1
        return (np.full((1, side, side, 3), place, np.uint8) for place in range(40))

    kept = Images(images, 40).kept()
    next(kept.all())
    passes = [[int(image.max()) for image in kept.all()] for _ in range(3)]
    assert passes == [list(range(40))] * 3
    assert read == reads


@pytest.mark.parametrize("count", [1, FEWEST_TO_SPLIT - 1, FEWEST_TO_SPLIT])
def test_of_few_images_none_is_held_out(count):
    images = [np.full((1, 1, 1, 3), place, np.uint8) for place in range(count)]
    split = Images(lambda: iter(images), count).split(36)
    assert (split.count == count) == (count < FEWEST_TO_SPLIT)


def test_where_nothing_is_measured_every_image_sets_ranges():
    images = [np.full((1, 1, 1, 3), place, np.uint8) for place in range(64)]
    split = Images(lambda: iter(images), 64).split(64, hold_out=False)
    assert split.count == 64
    assert list(split.setting) == images
    assert split.held_out == split.subset == images


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.sampled_from([9, 36]))
def test_gains_are_judged_on_scenes_that_did_not_make_them(shots, kept):
    scenes = [scene for scene, count in enumerate(shots) for _ in range(count)]
    images = [np.full((1, 1, 1, 3), scene, np.uint8) for scene in scenes]
    split = Images(lambda: iter(images), len(images), scenes).split(kept)
    assert [image.max() for image in split.subset] == split.scenes
    seen, unseen = split.halves()
    if len(set(split.scenes)) == 1:
        assert seen == unseen == split.subset
    else:
        assert len(seen) + len(unseen) == len(split.subset)
        assert not {image.max() for image in seen} & {image.max() for image in unseen}


@given(st.lists(st.integers(1, 12), min_size=6, max_size=50), st.sampled_from([9, 36]))
def test_what_is_measured_on_is_shown_by_nothing_that_sets_ranges(shots, kept):
    scenes = [scene for scene, count in enumerate(shots) for _ in range(count)]
    images = [np.full((1, 1, 1, 3), scene, np.uint8) for scene in scenes]
    split = Images(lambda: iter(images), len(images), scenes).split(kept)
    held_out, subset = (
        {int(image.max()) for image in those} for those in (split.held_out, split.subset)
    )
    setting = [int(image.max()) for image in split.setting]
    assert len(setting) == split.count < len(images)
    assert subset
    assert subset <= set(setting)
    if len({scenes[place] for place in stratified(len(scenes), kept)}) >= FEWEST_TO_SPLIT:
        assert not held_out & set(setting)
        assert held_out | set(setting) == set(scenes)


@pytest.mark.parametrize(("photos", "held_out"), [(5, 28), (12, 14), (40, 14), (100, 14)])
def test_of_photos_and_crops_of_them_whole_photos_are_held_out(photos, held_out):
    """Of the five default photographs, crops of each are on both sides."""
    scenes = [place * photos // 128 for place in range(128)]
    images = [np.full((1, 1, 1, 3), scene, np.uint8) for scene in scenes]
    split = Images(lambda: iter(images), 128, scenes).split(42)
    assert len(split.held_out) == held_out
    assert (set(scenes) == {int(image.max()) for image in split.setting}) == (photos == 5)


def test_where_no_two_images_are_known_to_be_alike_every_other_one_judges():
    images = [np.full((1, 1, 1, 3), place, np.uint8) for place in range(20)]
    split = Images(lambda: iter(images), 20).split(20)
    assert split.halves() == (split.subset[::2], split.subset[1::2])


@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.data())
def test_what_is_left_out_takes_its_scene_along(scenes, data):
    images = [np.full((1, 1, 1, 3), place, np.uint8) for place in range(len(scenes))]
    places = data.draw(st.sets(st.integers(0, len(scenes) - 1), max_size=len(scenes) - 1))
    found = Images(lambda: iter(images), len(images), scenes).without(places)
    kept = [int(image.max()) for image in found.all()]
    assert kept == [place for place in range(len(scenes)) if place not in places]
    assert found.count == len(kept)
    assert found.scenes == [scenes[place] for place in kept]
    assert Images(lambda: iter(images), len(images)).without(places).scenes is None
