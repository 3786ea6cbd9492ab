"""One record of two networks' logits, whatever they are."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgenet.measure.fidelity import Fidelity


@given(
    hnp.arrays(np.float32, (6, 4), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.float32, (6, 4), elements=st.floats(-20, 20, width=32)),
    hnp.arrays(np.int64, 6, elements=st.integers(0, 3)),
)
def test_fidelity_is_consistent_in_itself(reference_logits, logits, labels):
    found = Fidelity.of(reference_logits, logits, labels)
    assert found.top1 is not None
    assert found.drop is not None
    assert abs(found.drop.points) <= 100 * (1 - found.agreement) + 1e-9
    assert (found.sqnr_db is None) == (found.max_error == 0.0)


def test_without_labels_nothing_is_said_of_them():
    logits = np.eye(3, dtype=np.float32)
    found = Fidelity.of(logits, logits)
    assert (found.top1, found.top5, found.drop, found.drop_points) == (None,) * 4
    assert (found.agreement, found.sqnr_db, found.max_error, found.kl) == (1.0, None, 0.0, 0.0)
