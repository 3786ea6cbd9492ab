"""The images and classes that a file gets wrong are found."""

from __future__ import annotations

import numpy as np
import pytest

from edgenet.measure import accuracy, damage

# Four images of three classes: the second changes its answer, the third only its certainty.
REFERENCE = np.array([[4, 0, 0], [2, 1, 0], [0, 3, 0], [0, 0, 5]], np.float32)
OURS = np.array([[4, 0, 0], [1, 2, 0], [0, 1, 0], [0, 0, 5]], np.float32)


def find(reference, ours, labels=None) -> damage.Damage:
    return damage.find(reference, ours, accuracy.divergences(reference, ours), labels)


def test_changed_answers_come_before_those_that_lost_certainty():
    found = find(REFERENCE, OURS)
    assert found.changed == 1
    assert [image.number for image in found.worst][:2] == [1, 2]
    worst = found.worst[0]
    assert (worst.reference.index, worst.ours.index, worst.label) == (0, 1, None)
    assert worst.reference.probability == pytest.approx(np.exp(2) / np.exp([2, 1, 0]).sum())
    assert worst.kl > 0


def test_a_class_is_charged_with_what_it_lost_and_credited_with_what_it_gained():
    labels = np.array([0, 0, 1, 2])
    (only,) = find(REFERENCE, OURS, labels).classes
    assert (only.index, only.images, only.lost, only.gained) == (0, 2, 1, 0)
    (only,) = find(OURS, REFERENCE, labels).classes
    assert (only.lost, only.gained) == (0, 1)


def test_of_values_the_largest_errors_come_first_each_by_its_own_spread():
    reference = np.array([[0, 0, 7], [1, 1000, 7], [2, 2000, 7], [3, 3000, 7]], np.float32)
    ours = reference + np.array([[0, 0, 0], [0.5, 0, 0], [0, 100, 0], [0, 0, 0]], np.float32)
    found = damage.find_in_values(reference, ours)
    assert [image.number for image in found.worst] == [1, 2, 0, 3]
    assert found.worst[1].reference.values == (2, 2000, 7)
    assert found.worst[1].ours.values == (2, 2100, 7)
    assert (found.changed, found.classes, found.worst[0].kl) == (0, (), None)


def test_values_that_are_no_numbers_are_the_worst_of_all():
    reference = np.array([[1], [2], [3]], np.float32)
    ours = np.array([[9], [2], [np.nan]], np.float32)
    first, second, _ = damage.find_in_values(reference, ours).worst
    assert (first.number, first.ours.values, second.number) == (2, None, 0)


def test_the_classes_that_lost_most_come_first():
    labels = np.array([0, 1, 1, 1, 2, 2])
    before = np.eye(3, dtype=np.float32)[labels]
    after = np.eye(3, dtype=np.float32)[[0, 0, 0, 1, 0, 2]]
    assert [found.index for found in find(before, after, labels).classes] == [1, 2]


def test_an_image_without_an_answer_has_changed_whatever_the_reference_says():
    ours = REFERENCE.copy()
    ours[0, 2] = np.nan
    found = find(REFERENCE, ours, np.array([0, 0, 1, 2]))
    assert found.changed == 1
    assert (found.worst[0].number, found.worst[0].ours) == (0, damage.Answer(None, None))
    assert np.isfinite(found.worst[0].kl)
    assert [(each.index, each.lost) for each in found.classes] == [(0, 1)]


def test_no_more_images_and_classes_are_kept_than_are_read():
    """Of each class one image is lost and another gained."""
    labels = np.arange(50) // 2
    before = np.eye(25, dtype=np.float32)[np.where(np.arange(50) % 2, labels, 24)]
    found = find(before, before[np.arange(50) ^ 1], labels)
    assert (found.classes[0].lost, found.classes[0].gained) == (1, 1)
    assert (len(found.worst), len(found.classes)) == (damage.WORST, damage.CLASSES)
    assert len(damage.find_in_values(before, before).worst) == damage.WORST
