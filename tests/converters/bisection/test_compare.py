"""The error of a tensor, also where a rewrite has multiplied its channels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.bisection.compare import Energies, ScaledEnergies


@given(
    gains=st.lists(st.floats(2**-4, 2**4), min_size=3, max_size=3),
    noise=st.floats(0.001, 0.1),
    seed=st.integers(0, 99),
)
def test_a_channel_that_was_rescaled_on_purpose_is_no_noise(gains, noise, seed):
    random = np.random.default_rng(seed)
    truth = random.normal(size=(1, 20, 20, 3)).astype(np.float32)
    found = truth + noise * random.normal(size=truth.shape).astype(np.float32)
    plain, scaled = Energies(), ScaledEnergies()
    plain.add(truth, found)
    scaled.add(truth, found * np.array(gains, np.float32))
    assert scaled.sqnr_db == pytest.approx(plain.sqnr_db, abs=0.5)


def test_a_dead_channel_is_all_noise_and_no_error():
    scaled = ScaledEnergies()
    truth = np.ones((1, 2, 2, 2), np.float32)
    scaled.add(truth, truth * np.array([1, 0], np.float32))
    assert scaled.sqnr_db == pytest.approx(10 * np.log10(2))
