"""Errors of Keras about a file that it cannot load, as one line that says what to do."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edgenet.errors import UsageError
from edgenet.models.savedfile import (
    OWN_MODELS,
    Config,
    Description,
    is_graph,
    parts,
    read_description,
)

_LONGEST = 160
_PLAIN = (
    "a model must be whole and made of Keras's own layers; hand one that has your own layers to "
    "edgenet.convert() in Python; replace other code (a Lambda by Rescaling or Normalization, a "
    "function by the name of Keras's activation) and save it again"
)
# Whose modules Keras itself imports for a file.
_PACKAGES = ("keras_hub", "keras_cv", "keras_nlp")
_SUBCLASSED = (
    "its class is your own; hand it to edgenet.convert() in Python, or save it plain, by "
    "keras.Model(model.inputs, model.outputs).save('plain.keras'), or, where the class has a call "
    "of its own, by i = keras.Input(shape); keras.Model(i, model.call(i)).save('plain.keras')"
)
_PREPROCESS_INPUT = (
    "the file does not say whose preprocess_input it is; EfficientNet's does nothing, so build the "
    "model without that layer; in place of another's put Rescaling or Normalization; then "
    "set_weights(model.get_weights()), and save it again"
)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turns whatever Keras raises for a bad file into a UsageError of one line."""
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
            f"{path}: Keras cannot load it ({first_line(error)}): {_advice(path)}"
        ) from error


def _advice(path: Path) -> str:
    try:
        saved = read_description(path)
        return _way_out_of_keras_2(saved, path) if saved.of_keras_2 else _way_out(saved)
    except Exception:
        # Whatever is wrong with the file has been told.
        return _PLAIN


def _way_out_of_keras_2(saved: Description, path: Path) -> str:
    if _is_of_own_class(saved.config):
        return _SUBCLASSED
    # Keras 3 takes no weights from a SavedModel.
    first = "save its weights there by save_weights('w.h5'), " if path.is_dir() else ""
    return (
        f"Keras {saved.keras_version or '1 or 2'} saved it, and edgenet does not read all of "
        f"that; {first}build the model in Keras 3, give it these weights by load_weights, and "
        "save it as a .keras file"
    )


def _is_of_own_class(config: Config) -> bool:
    """Whether its class alone tells what it does."""
    return config["class_name"] not in OWN_MODELS and not is_graph(config)


def _way_out(saved: Description) -> str:
    package = next(filter(None, map(_package, parts(saved.config))), None)
    if package is not None:
        return (
            f"it is read where {package} is installed, by pip install {package.replace('_', '-')}, "
            "or where the model itself is handed to edgenet.convert() in Python"
        )
    if _is_of_own_class(saved.config):
        return _SUBCLASSED
    if any(_prepares(part) for part in parts(saved.config)):
        return _PREPROCESS_INPUT
    return _PLAIN


def _package(layer: Config) -> str | None:
    """The package of Keras's makers that a layer or model is of, if any."""
    package = str(layer.get("module")).partition(".")[0]
    return package if package in _PACKAGES else None


def _prepares(layer: Config) -> bool:
    """Whether it is a Lambda of a `preprocess_input`: Keras 3 keeps a function's name alone."""
    function = layer["config"].get("function")
    return isinstance(function, dict) and function.get("config") == "preprocess_input"


@contextmanager
def quiet() -> Iterator[None]:
    """Drops Keras's warnings about groups that files of other Keras versions lack.

    They repeat a layer's weights under a second path; a layer left without any is an error anyway.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


def first_line(error: Exception) -> str:
    """What an error says, without its generalities, in 160 characters at most."""
    # Keras buries the cause in the middle of a page that starts with generalities.
    cause = str(error).strip().rpartition("Exception encountered: ")[2]
    line = (cause or type(error).__name__).splitlines()[0].split(". ")[0].rstrip(".")
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
