"""Tiny networks, int8 with their float references, in every format."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from converters.bisection.network import Network
from converters.bisection.opening import NETWORKS
from converters.formats import lower
from converters.freeze import freeze
from converters.graph import Graph, Linear
from converters.scheme.parameters import weight_scales
from converters.scheme.recipe import Recipe
from tests.converters.graphs import recipe_of
from tests.networks import Textures

FORMATS = tuple(NETWORKS)
FAMILIES = ("b", "lite")


@dataclass(frozen=True)
class Frozen:
    """A tiny network's graph and ranges, and where its files go."""

    graph: Graph
    recipe: Recipe
    folder: Path

    @classmethod
    def of(cls, model: Path, folder: Path) -> Frozen:
        """Of a .keras file."""
        import keras

        graph = freeze(keras.saving.load_model(model, compile=False))
        return cls(graph, recipe_of(graph, Textures.make(40, seed=3).images), folder)

    def file(self, format: str, precision: str, recipe: Recipe | None = None) -> Path:
        """The file of a format, lowered anew."""
        home = self.folder / f"{format}-{precision}"
        home.mkdir(exist_ok=True)
        chosen = None if precision == "fp32" else recipe or self.recipe
        return lower(self.graph, format, precision, chosen, home)[0]

    def overflowing(self, folder: Path) -> Frozen:
        """The same with weights as wide as 8 bits hold: products of two leave 16 bits."""
        wide = [
            replace(op, scales=weight_scales(op, paired=False)) if isinstance(op, Linear) else op
            for op in self.graph.operators
        ]
        return replace(self, graph=self.graph.with_operators(wide), folder=folder)

    def pair(
        self, format: str, reference: str, recipe: Recipe | None = None
    ) -> tuple[Network, Network]:
        """The int8 network of a format, and its float reference in a format."""
        theirs = opened(reference, self.file(reference, "fp32"))
        return opened(format, self.file(format, "int8", recipe), theirs), theirs


def opened(format: str, path: Path, reference: Network | None = None) -> Network:
    from importlib import import_module

    module, name = NETWORKS[format]
    network: Network = getattr(import_module(module), name)(path, reference)
    return network


@pytest.fixture(scope="session")
def frozen(tiny_models, tmp_path_factory) -> dict[str, Frozen]:
    return {
        family: Frozen.of(tiny_models[family], tmp_path_factory.mktemp(f"bisect-{family}"))
        for family in FAMILIES
    }


@pytest.fixture(scope="session")
def textures():
    """Images that set nothing."""
    return Textures.make(12, seed=9).images
