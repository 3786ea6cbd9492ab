"""A change between two runs is as sure as their images make it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.measure import accuracy, paired
from edgenet.measure.paired import Energy


def had(count: int, *missed: int) -> np.ndarray:
    """All of `count` images but those missed."""
    found = np.ones(count, bool)
    found[list(missed)] = False
    return found


def energy(*noise: float) -> Energy:
    return Energy(np.full(len(noise), 100.0), np.asarray(noise, np.float64))


@pytest.mark.parametrize(
    ("lost", "gained", "p"), [(0, 0, 1), (1, 0, 1 / 2), (7, 0, 1 / 128), (3, 1, 5 / 16), (0, 2, 1)]
)
def test_a_share_is_judged_by_the_images_on_which_the_runs_differ(lost, gained, p):
    before = had(200, *range(lost, lost + gained))
    after = had(200, *range(lost))
    found = paired.shares(before, after)
    assert (found.lost, found.gained) == (lost, gained)
    assert found.p == pytest.approx(p)
    low, high = accuracy.drop_interval(lost, gained, 200)
    assert found.interval == pytest.approx((-high / 100, -low / 100))


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_two_sided_p_is_twice_the_smaller_of_both_one_sided(lost, gained):
    sides = accuracy.loss_p(lost, gained), accuracy.loss_p(gained, lost)
    assert accuracy.mcnemar_p(lost, gained) == pytest.approx(min(1, 2 * min(sides)))
    assert 1 <= sum(sides) <= 2


def test_more_noise_on_every_image_is_no_chance():
    found = paired.decibels(energy(*[1.0] * 40), energy(*[2.0] * 40))
    assert found.interval == pytest.approx((-3.01, -3.01), abs=0.01)
    assert found.p < 0.001


def test_a_worse_r2_is_told_in_its_own_unit():
    before, after = (Energy(np.ones(40), np.full(40, share)) for share in (0.02, 0.05))
    found = paired.r2(before, after)
    assert found.interval == pytest.approx((-0.03, -0.03))
    assert found.p < 0.001
    assert paired.r2(before, before).p == 1


def test_more_noise_on_one_image_is_chance_however_loud():
    found = paired.decibels(energy(*[1.0] * 40), energy(*[1.0] * 39, 100.0))
    assert found.p > 0.4
    assert found.interval[1] == pytest.approx(0)


def test_a_handful_of_images_proves_nothing():
    assert paired.decibels(energy(*[1.0] * 4), energy(*[9.0] * 4)).p > 1 / 32


def test_less_noise_is_no_loss():
    assert paired.decibels(energy(*[2.0] * 40), energy(*[1.0] * 40)).p > 0.99


def test_the_same_answers_are_no_change():
    one = energy(1.0, 0.5, 3.0)
    found = paired.decibels(one, one)
    assert (found.interval, found.p) == ((0, 0), 1)


def test_noise_that_no_one_hears_is_none():
    exact, nearly = energy(*[0.0] * 40), energy(*[1e-5] * 40)
    assert paired.decibels(exact, nearly).p == 1
    assert paired.decibels(exact, energy(*[1e-2] * 40)).p < 0.001


def test_runs_equally_good_are_rarely_told_apart(monkeypatch):
    """Images' noise spreads over decades, and whose answer is whose is a coin's toss."""
    # A randomization test raises no more alarms than it says, however few its draws are.
    monkeypatch.setattr(paired, "_DRAWS", 399)
    rng = np.random.default_rng(8)
    alarms = []
    for _ in range(100):
        noise = rng.lognormal(0, 1.5, (2, 60))
        alarms.append(paired.decibels(energy(*noise[0]), energy(*noise[1])).p < 0.05)
    # 5 are expected; 14 or more come about once in 2,000 such sets.
    assert 0 < sum(alarms) < 14
