"""What is read of a Keras file before it is loaded: container, version, the model's description.

A SavedModel of Keras 2 is a folder, and counts as a file here.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgenet.errors import UsageError
from edgenet.models.savedmodel import METADATA, read_metadata
from edgenet.models.specs import VARIANTS

Config = dict[str, Any]
OWN_MODELS = ("Functional", "Model", "Sequential")
"""The classes of Keras's own that a model may be of."""

_ZIP = (".keras",)
_HDF5 = (".h5", ".hdf5")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class Description:
    """A saved model without its weights."""

    config: Config
    keras_version: str
    """As the file tells it; "" where an old one does not."""

    @property
    def of_keras_2(self) -> bool:
        """Whether the Keras that saved it is older than 3."""
        return self.keras_version.partition(".")[0] in ("", "1", "2")


def read_description(path: Path) -> Description:
    """Reads a model's description without its weights.

    Raises:
        KeyError, OSError, ValueError, UsageError: The file lacks it, or is damaged.
    """
    if path.is_dir():
        told = read_metadata(path)
        # Of a class with a call of its own Keras 2 tells the name, and maybe settings.
        own = {"class_name": told["class_name"], "config": {}}
        return Description(told.get("model_config", own), told["keras_version"])
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as file:
            version = json.loads(file.read("metadata.json"))["keras_version"]
            return Description(json.loads(file.read("config.json")), version)
    import h5py

    with h5py.File(path) as file:
        version = file.attrs.get("keras_version", "")
        version = version.decode() if isinstance(version, bytes) else str(version)
        return Description(json.loads(file.attrs["model_config"]), version)


def parts(config: Config) -> Iterator[Config]:
    """A model's description and those of all that it holds."""
    yield config
    inner = config["config"]
    for part in inner["layers"] if isinstance(inner, dict) and "layers" in inner else ():
        yield from parts(part)


def is_graph(config: Config) -> bool:
    """Whether a model is described by its layers and how they are joined."""
    inner = config["config"]
    return isinstance(inner, dict) and {"layers", "input_layers", "output_layers"} <= set(inner)


def check_container(path: Path) -> None:
    """Makes sure that a file or folder is one of those that Keras saves whole models in.

    Raises:
        UsageError: It is not.
    """
    if not path.exists():
        raise UsageError(
            f"{path}: no such file, and no variant either: give a .keras or .h5 file, "
            f"a SavedModel's folder, or one of {', '.join(VARIANTS)}"
        )
    if path.is_dir():
        _check_folder(path)
        return
    if path.suffix.lower() not in (*_ZIP, *_HDF5):
        raise UsageError(
            f"{path}: not a Keras model: give a .keras or .h5 file, or a SavedModel's folder"
        )
    if is_hdf5(path):
        _check_suffix(path, "an HDF5 file", _HDF5)
    elif zipfile.is_zipfile(path):
        _check_suffix(path, "a zip archive, as Keras 3 saves", _ZIP)
    else:
        raise UsageError(
            f"{path}: not a Keras model, or cut short: save it again with model.save('{path.name}')"
        )


def _check_folder(path: Path) -> None:
    if (path / METADATA).is_file():
        return
    if (path / "saved_model.pb").is_file():
        raise UsageError(
            f"{path}: a SavedModel that does not tell its layers (it has no {METADATA}), as "
            "model.export(), tf.saved_model.save() and TensorFlow before 2.5 write: save the Keras "
            "model itself with model.save('m.keras') or, in an old TensorFlow, model.save('m.h5')"
        )
    raise UsageError(
        f"{path}: a folder, but not a SavedModel: save the model with model.save('m.keras')"
    )


def _check_suffix(path: Path, what: str, suffixes: tuple[str, ...]) -> None:
    """Keras goes by the suffix alone, and only by one in small letters."""
    if path.suffix in suffixes:
        return
    suffix = path.suffix.lower() if path.suffix.lower() in suffixes else suffixes[0]
    raise UsageError(f"{path}: {what}: rename it to {path.with_suffix(suffix).name}")


def is_hdf5(path: Path) -> bool:
    """Whether a file begins as HDF5 does."""
    with path.open("rb") as file:
        return file.read(len(_HDF5_MAGIC)) == _HDF5_MAGIC
