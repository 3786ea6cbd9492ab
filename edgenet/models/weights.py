"""Keras models with weights: a variant with its published ones, or a file of the user's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgenet.errors import EdgenetError, UsageError
from edgenet.models.keras_errors import first_line, quiet
from edgenet.models.keras_import import require_keras
from edgenet.models.pretrained import assign_state, published_weights
from edgenet.models.savedfile import is_hdf5
from edgenet.models.specs import IMAGENET_STDDEV, VARIANTS, VariantSpec
from edgenet.models.torchfile import read_state_dict
from edgenet.models.wholemodel import load_file

if TYPE_CHECKING:
    import keras

__all__ = ["load_file", "load_model", "load_variant"]

_TORCH_SUFFIXES = (".pth", ".pt")


def load_model(
    source: str | Path, *, weights: str | Path | None = None, download: bool = False
) -> keras.Model:
    """Loads a variant with its weights, or a saved Keras model.

    Args:
        source: A variant's name, or the path of a `.keras` or `.h5` file that holds a whole model,
            or of a SavedModel of Keras 2.
        weights: For a variant: a Keras weights file (`.weights.h5`, or the `.h5` that
            `keras.applications` hands out), or a PyTorch state dict (`.pth`).
        download: For B0 to B7: let `keras.applications` download its ImageNet weights.

    Returns:
        An uncompiled model. A variant's takes (N, size, size, 3) RGB in 0..255 and gives
        probabilities, (N, 1000).

    Raises:
        UsageError: No such variant or file, a variant without weights or with two, or a file that
            is not a Keras model, is damaged, or does not fit.
        MissingExtraError: Keras, or the package of published weights, is not installed.
        EdgenetError: The download failed.
    """
    spec = VARIANTS.get(str(source).lower())
    if spec is None:
        if weights is not None or download:
            raise UsageError(f"{source}: --weights and --download go with a variant, not a file")
        return load_file(source)
    if weights is not None and download:
        raise UsageError("--weights and --download exclude each other: leave one off")
    if download:
        return _download(spec)
    return load_variant(spec, weights)


def load_variant(spec: VariantSpec, weights: str | Path | None = None) -> keras.Model:
    """Builds a variant and fills it from a file, or from its published weights.

    Raises:
        UsageError, MissingExtraError: As `load_model`.
    """
    path = _weights_file(spec, weights)
    require_keras()
    from edgenet.models.efficientnet import efficientnet

    model = efficientnet(spec)
    if path.suffix in _TORCH_SUFFIXES:
        assign_state(model, spec, read_state_dict(path))
        return model
    _load_weights(model, spec, path)
    if _keeps_stddev(model):
        model = efficientnet(spec, stddev_rescaling=True)
        _load_weights(model, spec, path)
    return model


def _weights_file(spec: VariantSpec, weights: str | Path | None) -> Path:
    if weights is not None:
        path = Path(weights)
        if not path.is_file():
            raise UsageError(f"{path}: no such file: give a weights file after --weights")
        return path
    if spec.name.startswith("b"):
        raise UsageError(
            f"{spec.name} comes without weights: give a file with --weights FILE, "
            "or let keras.applications fetch them with --download"
        )
    return published_weights(spec.name)


def _download(spec: VariantSpec) -> keras.Model:
    if spec.lite:
        raise UsageError(f"keras.applications has no {spec.name}: leave --download off")
    keras = require_keras()
    build = getattr(keras.applications, f"EfficientNet{spec.name.upper()}")
    try:
        return build(weights="imagenet")
    except Exception as error:
        # Keras wraps what the network said in a bare Exception.
        raise EdgenetError(
            f"keras.applications could not download {spec.name} ({first_line(error)}): "
            "fetch the file elsewhere and give it with --weights FILE"
        ) from error


def _load_weights(model: keras.Model, spec: VariantSpec, path: Path) -> None:
    if not path.name.endswith((".h5", ".hdf5")) or not is_hdf5(path):
        raise UsageError(
            f"{path}: not a weights file: give a .weights.h5 of Keras or a .pth of PyTorch"
        )
    try:
        with quiet():
            model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise UsageError(
            f"{path}: the weights do not fit {spec.name} with 1000 classes "
            f"({first_line(error)}): give the whole model as a .keras file instead"
        ) from error


def _keeps_stddev(model: keras.Model) -> bool:
    """Whether the weights hold the standard deviation as Normalization's variance.

    Those of `keras.applications` do; github.com/tensorflow/tensorflow/issues/49930 tells why.
    """
    import numpy as np

    layers = [layer for layer in model.layers if type(layer).__name__ == "Normalization"]
    return any(np.allclose(layer.adapt_variance, IMAGENET_STDDEV, atol=1e-3) for layer in layers)
