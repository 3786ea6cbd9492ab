"""The tiny networks, quantized for NPUs."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Literal

import numpy as np
import pytest

from converters.freeze import freeze
from converters.quantization.images import Images
from converters.quantization.quantize import Method, Quantized, quantize
from tests.networks import Textures, joined_network, tiny_network

Family = Literal["b", "lite", "joined"]
Made = Callable[[Family, str, bool], Quantized]


@pytest.fixture(scope="session")
def quantized() -> Made:
    """By family, precision and whether pixels are centred."""
    from converters.npu.pixels import centred

    images = Textures.make(24, seed=3).images

    @cache
    def made(family: Family, precision: str, centre: bool) -> Quantized:
        graph = freeze(joined_network() if family == "joined" else tiny_network(family))
        return quantize(
            centred(graph) if centre else graph,
            Images(lambda: (image[None].astype(np.uint8) for image in images), len(images)),
            Method(effort="fast", rule="min-max" if precision == "w8a16" else "by-role"),
            precision,
        )

    return made
