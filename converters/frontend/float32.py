"""A Keras model as it computes in inference in float32, whatever it was trained in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

# A layer, the name of one of its attributes, and another value for it.
Change = tuple[Any, str, Any]


def in_float32(model: Any) -> AbstractContextManager[None]:
    """Has a model that was trained in mixed precision compute in float32, as its weights are.

    What its layers hand out as their kernels, with LoRA's products in them, is float32 then too.
    """
    return replaced([*_float32(model)])


@contextmanager
def replaced(changes: Sequence[Change]) -> Iterator[None]:
    """Sets attributes, and sets them back."""
    before = [(layer, name, getattr(layer, name)) for layer, name, _ in changes]
    for layer, name, value in changes:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, name, value in before:
            setattr(layer, name, value)


def _float32(model: Any) -> Iterator[Change]:
    import keras

    for layer in model._flatten_layers():
        if layer.compute_dtype == "float32":
            continue
        yield layer, "dtype_policy", keras.dtype_policies.DTypePolicy("float32")
        if isinstance(layer, keras.layers.Normalization):
            for name in ("mean", "variance"):
                yield layer, name, keras.ops.cast(getattr(layer, name), "float32")
