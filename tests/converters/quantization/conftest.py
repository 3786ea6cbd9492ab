"""What all of these share."""

from __future__ import annotations

import pytest

from converters.quantization import rewrite_search


@pytest.fixture(autouse=True, scope="module")
def time_at_a_discount():
    """So small a network's time is mostly calls, and no rewrite would be worth one more of them."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        for price in ("_AMPLITUDE_OF_TIME", "_AMPLITUDE_BESIDE_FLOAT"):
            monkeypatch.setattr(rewrite_search, price, 0.04)
        yield
