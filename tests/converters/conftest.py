from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.converters.thin import thin


@pytest.fixture(scope="module")
def body() -> Any:
    """A thin network that ends in its map."""
    import keras

    model = thin()
    return keras.Model(model.inputs, model.get_layer("top_activation").output, name="body")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """An empty folder to convert in."""
    folder = tmp_path / "place"
    folder.mkdir()
    return folder
