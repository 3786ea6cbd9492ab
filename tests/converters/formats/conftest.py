"""The tiny networks, to be lowered."""

from __future__ import annotations

from pathlib import Path

import pytest

from converters.freeze import freeze
from converters.reference import reference_answers
from tests.converters.graphs import recipe_of
from tests.networks import Textures


class Network:
    """A tiny fitted network, its graph, what Keras answers, and its ranges."""

    def __init__(self, path: Path) -> None:
        import keras

        model = keras.saving.load_model(path, compile=False)
        self.graph = freeze(model)
        self.images = Textures.make(48, seed=5).images
        self.keras = reference_answers(model, [self.images])
        self.recipe = recipe_of(self.graph, Textures.make(40, seed=3).images)


@pytest.fixture(scope="session")
def networks(tiny_models: dict[str, Path]) -> dict[str, Network]:
    """By family."""
    return {family: Network(path) for family, path in tiny_models.items()}
