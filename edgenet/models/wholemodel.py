"""A user's own model, whole in one file, of this Keras or of Keras 2, or in its SavedModel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenet.errors import UsageError
from edgenet.models.keras2 import load_keras_2
from edgenet.models.keras_errors import explained, quiet
from edgenet.models.keras_import import require_keras
from edgenet.models.savedfile import (
    OWN_MODELS,
    Config,
    check_container,
    is_graph,
    parts,
    read_description,
)

if TYPE_CHECKING:
    import keras


def load_file(path: str | Path) -> keras.Model:
    """Loads a whole model from a `.keras` or `.h5` file, or from a SavedModel of Keras 2.

    Raises:
        UsageError: There is no such file, it is not a Keras model, or it is damaged or needs code
            that Keras does not hold.
        MissingExtraError: Keras is not installed.
    """
    path = Path(path)
    check_container(path)
    keras = require_keras()
    if path.is_file() and path.suffix != ".keras":
        _check_whole_model(path)
    with explained(path), quiet():
        saved = read_description(path)
        custom_objects = _stand_ins(keras, saved.config)
        if saved.of_keras_2:
            _check_name(path)
            model = load_keras_2(path, saved.config, custom_objects)
        else:
            model = keras.saving.load_model(path, custom_objects=custom_objects, compile=False)
    _apply_statistics(model)
    return model


def assumed(path: str | Path) -> Iterator[str]:
    """What edgenet assumes of a file that loads, one line each.

    A file has only the name of a function outside Keras, and of a class of the user's own the graph
    of its layers: what either does is not in it, and has to be assumed.
    """
    told = parts(read_description(Path(path)).config)
    yield from dict.fromkeys(line for part in told for line in _assumed(part))


def _assumed(part: Config) -> Iterator[str]:
    settings = part["config"]
    activation = settings.get("activation") if isinstance(settings, dict) else None
    if isinstance(activation, dict) and activation.get("class_name") == "function":
        yield (
            f"the file names an activation {activation['config']!r} that was not Keras's own: it "
            "is taken for TensorFlow's or Keras's of that name"
        )
    if _is_class_of_graph(part):
        yield (
            f"the model's class {part['class_name']!r} is not in the file: it is taken for the "
            "graph of its layers, without a call of its own"
        )


def _is_class_of_graph(part: Config) -> bool:
    return is_graph(part) and part["class_name"] not in OWN_MODELS


def _apply_statistics(model: keras.Model) -> None:
    """Has every Normalization layer use what was loaded.

    Keras itself leaves it out for those of a nested model in an HDF5 file.
    """
    for layer in model.layers:
        if hasattr(layer, "layers"):
            _apply_statistics(layer)
        elif hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _stand_ins(keras: Any, config: Config) -> dict[str, Any]:
    """By name, what stands in for things that a file names and Keras does not have.

    The third-party package `efficientnet` saves drop-connect under a name of its own, with the
    settings of Dropout; tf.nn.softmax and tf.nn.silu, as activations, are saved by theirs.
    """
    found = {
        "FixedDropout": keras.layers.Dropout,
        "softmax_v2": keras.activations.softmax,
        "swish": keras.activations.silu,
    }
    for part in parts(config):
        if _is_class_of_graph(part):
            name = part["class_name"]
            # A class for training: its graph is in the file. Keras finds weights by its name.
            found[part.get("registered_name") or name] = type(name, (keras.Model,), {})
    return found


def _check_whole_model(path: Path) -> None:
    import h5py

    with explained(path), h5py.File(path) as file:
        whole = "model_config" in file.attrs
    if not whole:
        raise UsageError(
            f"{path}: holds weights without a model: name the variant, and give this file "
            f"after --weights, as in: edgenet convert b0 --weights {path}, or, if its head is your "
            "own, save the whole model"
        )


def _check_name(path: Path) -> None:
    """Keras goes by a file's name, and Keras 2 gave a whole model any."""
    if path.name.endswith(".weights.h5"):
        name = path.name.removesuffix(".weights.h5") + ".h5"
        raise UsageError(f"{path}: a whole model, named as weights alone are: rename it to {name}")
