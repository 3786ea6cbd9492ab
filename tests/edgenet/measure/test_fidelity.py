"""One record of two networks' logits, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgenet.measure import accuracy
from edgenet.measure.fidelity import Fidelity


@given(
    hnp.arrays(np.float32, (6, 4), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.float32, (6, 4), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.int64, 6, elements=st.integers(0, 3)),
)
def test_fidelity_is_consistent_in_itself(reference_logits, logits, labels):
    found = Fidelity.of(reference_logits, logits, labels)
    before = accuracy.top1(reference_logits, labels)
    assert found.top1 == accuracy.top1(logits, labels)
    assert found.drop_points == pytest.approx(100 * (before - found.top1))
    assert found.kl == np.mean(accuracy.divergences(reference_logits, logits))
    assert abs(found.drop.points) <= 100 * (1 - found.agreement) + 1e-9
    assert (found.sqnr_db is None) == (found.max_error == 0.0)
    assert Fidelity.by("classification", reference_logits, logits).agreement == found.agreement


@given(
    hnp.arrays(np.float32, (6, 2), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.float32, (6, 2), elements=st.floats(-20, 20, width=32)),
)
def test_values_are_told_by_their_errors_alone(reference_values, values):
    found = Fidelity.of_values(reference_values, values)
    assert (found.top1, found.drop, found.agreement, found.cosine, found.kl) == (None,) * 5
    assert 0 <= found.mean_error <= found.max_error * (1 + 1e-6)
    assert found.r2 is None or found.r2 <= 1
    assert Fidelity.by("regression", reference_values, values) == found


def test_true_values_tell_which_of_two_is_nearer():
    truth = np.array([[1], [2], [3]], np.float32)
    found = Fidelity.of_values(truth + 1, truth + 3, truth)
    assert (found.mae, found.mae_growth, found.mae_growth_interval) == (3.0, 2.0, [2.0, 2.0])
    unknown = Fidelity.of_values(truth + 1, truth + 3)
    assert (unknown.mae, unknown.mae_growth, unknown.mae_growth_interval) == (None, None, None)


def test_errors_of_values_in_different_units_are_of_the_one_kept_worst():
    """A share from 0 to 1 that becomes noise is nothing in the mean with a price of thousands."""
    random = np.random.default_rng(0)
    truth = (random.uniform(0, 1, (500, 2)) * [1e5, 1]).astype(np.float32)
    reference = truth + random.normal(size=truth.shape).astype(np.float32) * np.float32([500, 0.02])
    noisy = reference.copy()
    noisy[:, 1] = random.uniform(0, 1, 500)
    found = Fidelity.of_values(reference, noisy, truth)
    assert found == Fidelity.of_values(reference, noisy, truth, 1)
    # Of two numbers drawn from 0 to 1, the mean difference is a third.
    for error in (found.mean_error, found.mae, found.mae_growth):
        assert 0.25 < error < 0.4
    price = Fidelity.of_values(reference, noisy, truth, 0)
    assert (price.mean_error, price.mae_growth) == (0, 0)
    assert 300 < price.mae < 500


def test_an_image_without_an_answer_has_an_error_of_each_value():
    truth = np.array([[1, 10], [2, 20], [3, 30]], np.float32)
    void = truth.copy()
    void[1, 0] = np.nan
    errors = [Fidelity.of_values(truth, void, truth, value).mae for value in (0, 1)]
    assert errors == pytest.approx([2 / 3, 20 / 3])


def test_without_labels_nothing_is_said_of_them():
    logits = np.eye(3, dtype=np.float32)
    found = Fidelity.of(logits, logits)
    assert (found.top1, found.top5, found.drop, found.drop_points) == (None,) * 4
    assert (found.agreement, found.sqnr_db, found.max_error, found.kl) == (1.0, None, 0.0, 0.0)
