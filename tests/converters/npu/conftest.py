"""The tiny networks, quantized for NPUs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from converters.freeze import freeze
from converters.graph import Graph
from converters.quantization.images import Images
from converters.quantization.quantize import Method, Quantized, quantize
from tests.networks import Textures, joined_network

Family = Literal["b", "lite", "joined"]
Made = Callable[[Family, str, bool], Quantized]


@pytest.fixture(scope="session")
def quantized(tiny_models: dict[str, Path]) -> Made:
    """By family, precision and whether pixels are centred."""
    import keras

    from converters.npu.pixels import centred

    images = Textures.make(24, seed=3).images

    @cache
    def frozen(family: Family) -> Graph:
        joined = family == "joined"
        path = tiny_models["b" if joined else family]
        model = keras.saving.load_model(path, compile=False)
        return freeze(joined_network(model) if joined else model)

    @cache
    def made(family: Family, precision: str, centre: bool) -> Quantized:
        graph = frozen(family)
        return quantize(
            centred(graph) if centre else graph,
            Images(lambda: (image[None].astype(np.uint8) for image in images), len(images)),
            Method(effort="fast", rule="min-max" if precision == "w8a16" else "by-role"),
            precision,
        )

    return made
