"""Keras models with weights: a variant with its published ones, or a file of the user's own."""

from __future__ import annotations

import json
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenet.errors import EdgenetError, UsageError
from edgenet.models.keras_import import require_keras
from edgenet.models.pretrained import assign_state, published_weights
from edgenet.models.specs import IMAGENET_STDDEV, VARIANTS, VariantSpec
from edgenet.models.torchfile import read_state_dict

if TYPE_CHECKING:
    import keras

_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_TORCH_SUFFIXES = (".pth", ".pt")


def load_model(
    source: str | Path, *, weights: str | Path | None = None, download: bool = False
) -> keras.Model:
    """Loads a variant with its weights, or a saved Keras model.

    Args:
        source: A variant's name, or the path of a `.keras` or `.h5` file that holds a whole model.
        weights: For a variant: a Keras weights file (`.weights.h5`, or the `.h5` that
            `keras.applications` hands out), or a PyTorch state dict (`.pth`).
        download: For B0 to B7: let `keras.applications` download its ImageNet weights.

    Returns:
        An uncompiled model. A variant's takes (N, size, size, 3) RGB in 0..255 and gives
        probabilities, (N, 1000).

    Raises:
        UsageError: No such variant or file, a variant without weights, or a file that is not a
            Keras model, is damaged, or does not fit.
        MissingExtraError: Keras, or the package of published weights, is not installed.
        EdgenetError: The download failed.
    """
    spec = VARIANTS.get(str(source).lower())
    if spec is None:
        if weights is not None or download:
            raise UsageError(f"{source}: --weights and --download go with a variant, not a file")
        return load_file(source)
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


def load_file(path: str | Path) -> keras.Model:
    """Loads a whole model from a `.keras` or `.h5` file.

    Raises:
        UsageError: There is no such file, it is not a Keras model, or it is damaged or needs code
            that Keras does not hold.
        MissingExtraError: Keras is not installed.
    """
    path = Path(path)
    _check_container(path)
    keras = require_keras()
    if path.suffix != ".keras":
        _check_whole_model(path)
    with _explained(path), _quiet():
        return keras.saving.load_model(path, custom_objects=_foreign(keras), compile=False)


def _foreign(keras: Any) -> dict[str, Any]:
    """Layers that others save under names or with settings that Keras 3 does not have."""

    class DepthwiseConv2D:
        """Keras 2 saves `groups` with it, which can only be 1."""

        @staticmethod
        def from_config(config: dict[str, Any]) -> Any:
            known = {key: value for key, value in config.items() if key != "groups"}
            return keras.layers.DepthwiseConv2D.from_config(known)

    # The third-party package `efficientnet` saves drop-connect under a name of its own; its
    # settings are Dropout's.
    return {"FixedDropout": keras.layers.Dropout, "DepthwiseConv2D": DepthwiseConv2D}


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
            f"keras.applications could not download {spec.name} ({_first_line(error)}): "
            "fetch the file elsewhere and give it with --weights FILE"
        ) from error


def _load_weights(model: keras.Model, spec: VariantSpec, path: Path) -> None:
    if not path.name.endswith((".h5", ".hdf5")) or not _starts_with(path, _HDF5_MAGIC):
        raise UsageError(
            f"{path}: not a weights file: give a .weights.h5 of Keras or a .pth of PyTorch"
        )
    try:
        with _quiet():
            model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise UsageError(
            f"{path}: the weights do not fit {spec.name} with 1000 classes "
            f"({_first_line(error)}): give the whole model as a .keras file instead"
        ) from error


def _keeps_stddev(model: keras.Model) -> bool:
    """Whether the weights hold the standard deviation as Normalization's variance.

    Those of `keras.applications` do; github.com/tensorflow/tensorflow/issues/49930 tells why.
    """
    import numpy as np

    layers = [layer for layer in model.layers if type(layer).__name__ == "Normalization"]
    return any(np.allclose(layer.adapt_variance, IMAGENET_STDDEV, atol=1e-3) for layer in layers)


def _check_container(path: Path) -> None:
    if not path.exists():
        raise UsageError(
            f"{path}: no such file, and no variant either: give a .keras or .h5 file, "
            f"or one of {', '.join(VARIANTS)}"
        )
    if path.is_dir():
        raise UsageError(f"{path}: a folder: save the model as one file with model.save('m.keras')")
    if path.suffix not in (".keras", ".h5", ".hdf5"):
        raise UsageError(f"{path}: not a Keras model: give a .keras or .h5 file")
    if path.suffix == ".keras" and _is_hdf5(path):
        raise UsageError(f"{path}: an HDF5 file: rename it to {path.with_suffix('.h5').name}")
    readable = zipfile.is_zipfile(path) or (path.suffix != ".keras" and _is_hdf5(path))
    if not readable:
        raise UsageError(
            f"{path}: not a Keras model, or cut short: save it again with model.save('{path.name}')"
        )


def _check_whole_model(path: Path) -> None:
    import h5py

    with _explained(path), h5py.File(path) as file:
        whole = "model_config" in file.attrs
    if not whole:
        raise UsageError(
            f"{path}: holds weights without a model: name the variant, and give this file "
            f"after --weights, as in: edgenet convert b0 --weights {path}"
        )


def _is_hdf5(path: Path) -> bool:
    return _starts_with(path, _HDF5_MAGIC)


def _starts_with(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turns whatever Keras makes of a bad file into one line."""
    try:
        yield
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
        NotImplementedError,
        OSError,
        EOFError,
        RuntimeError,
        zlib.error,
        zipfile.BadZipFile,
    ) as error:
        raise UsageError(
            f"{path}: Keras cannot load it ({_first_line(error)}): {_advice(path)}"
        ) from error


def _advice(path: Path) -> str:
    version = _keras_version(path)
    if version.startswith("2."):
        return (
            f"Keras {version} saved it, and Keras 3 does not read all of that; build the model "
            "in Keras 3, give it these weights by load_weights, and save it as a .keras file"
        )
    return (
        "a model must be whole and made of Keras's own layers; replace custom ones (a Lambda by "
        "Rescaling or Normalization, a function by the name of Keras's activation) and save it "
        "again"
    )


def _keras_version(path: Path) -> str:
    """Of the Keras that saved a file; "" where a damaged one does not tell."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                return str(json.loads(file.read("metadata.json"))["keras_version"])
        import h5py

        with h5py.File(path) as file:
            return str(file.attrs["keras_version"])
    except Exception:
        # It is only asked where loading failed, and whatever is wrong with the file has been told.
        return ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Drops Keras's warnings about groups that files of other Keras versions lack.

    They repeat a layer's weights under a second path; a layer left without any is an error anyway.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def _first_line(error: Exception, limit: int = 160) -> str:
    # Keras buries the cause in the middle of a page that starts with generalities.
    cause = str(error).strip().rpartition("Exception encountered: ")[2]
    line = (cause or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
    return line if len(line) <= limit else f"{line[:limit]}…"
