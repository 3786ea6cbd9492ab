"""A network of the family that is built in a moment, as Keras has it."""

from __future__ import annotations

from typing import Any

from edgenet.models.efficientnet import efficientnet
from edgenet.models.specs import VariantSpec
from tests.converters.graphs import randomized


class _ThinSpec(VariantSpec):
    repeats = (1, 2, 1, 0, 0, 0, 0)


def thin(family: Any = "b", size: int = 64, **options: Any) -> Any:
    """Four thin blocks with random weights."""
    import keras

    keras.utils.set_random_seed(3)
    spec = _ThinSpec(f"thin-{family}", family, 0.25, 1, size, dropout=0.1, drop_connect=0.1)
    return randomized(efficientnet(spec, **{"classes": 6, **options}))
