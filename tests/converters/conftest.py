from __future__ import annotations

from typing import Any

import pytest

from tests.converters.thin import thin


@pytest.fixture(scope="module")
def body() -> Any:
    """A thin network that ends in its map."""
    import keras

    model = thin()
    return keras.Model(model.inputs, model.get_layer("top_activation").output, name="body")
