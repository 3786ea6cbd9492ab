"""Models that Keras 2 saved, described as Keras 3 describes them.

Keras 3 knows the same layers and finds the weights in the files of Keras 2; what differs is how a
file tells which layers there are and how they are joined. Nothing in a file is run.
"""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenet.models.keras2_operations import layer_of_operation
from edgenet.models.keras_import import require_keras
from edgenet.models.savedfile import Config
from edgenet.models.savedmodel import load_checkpoint

if TYPE_CHECKING:
    import keras

_MODELS = {"Functional": "keras.src.models.functional", "Sequential": "keras"}
# Settings that Keras 3 does not know, and those that only training uses.
_DROPPED = re.compile(
    "batch_input_shape|rng_type|jit_compile|ragged|sparse|optional"
    "|.*_(initializer|regularizer|constraint)"
)
_IDENTITIES = re.compile(r"(^|\.)applications\.efficientnet(_v2)?$")


def load_keras_2(path: Path, config: Config, custom_objects: dict[str, Any]) -> keras.Model:
    """Builds the model that Keras 2 described in a file, and gives it that file's weights.

    Raises:
        UsageError: It is a SavedModel, and its weights are damaged.
        ValueError: It holds code of its own, or what Keras 3 has no layer for.
    """
    build = require_keras().saving.deserialize_keras_object
    model = build(modernized(config), custom_objects=custom_objects, safe_mode=True)
    if path.is_dir():
        load_checkpoint(model, config, path)
    else:
        model.load_weights(path)
    return model


def modernized(layer: Config) -> Config:
    """A model's or layer's description in Keras 3's words, and so those of the layers inside it.

    Raises:
        ValueError: It holds code of its own, or an operation that no layer of Keras 3 does.
    """
    kind = _kind(layer)
    if kind in _MODELS:
        return {
            "class_name": kind,
            "module": _MODELS[kind],
            "registered_name": None,
            "config": _sequential(layer) if kind == "Sequential" else _functional(layer["config"]),
            **_place(layer),
        }
    if kind in ("TFOpLambda", "SlicingOpLambda"):
        layer = layer_of_operation(layer)
    elif kind == "Lambda":
        layer = _identity(layer)
    return _plain(layer)


def _kind(layer: Config) -> str:
    """A layer's class; a functional model is one, whatever its own class adds to training."""
    if "input_layers" in layer["config"]:
        return "Functional"
    return str(layer["class_name"].rpartition(">")[2])


def _place(layer: Config) -> Config:
    return {key: layer[key] for key in ("name", "inbound_nodes") if key in layer}


def _functional(config: Config) -> Config:
    kinds = {part["name"]: _kind(part) for part in config["layers"]}
    nested = {name for name, kind in kinds.items() if kind in _MODELS}
    layers = [
        {**part, "inbound_nodes": _renumbered(_listed(part["inbound_nodes"]), nested)}
        for part in config["layers"]
    ]
    # Of an output, Keras 3 does this itself where the layer is functional.
    sequential = {name for name in nested if kinds[name] == "Sequential"}
    return {
        "name": config["name"],
        "trainable": config.get("trainable", True),
        "layers": [modernized(part) for part in layers],
        "input_layers": _single(config["input_layers"]),
        "output_layers": _renumbered(_single(config["output_layers"]), sequential),
    }


def _listed(nodes: list[Any]) -> list[Any]:
    """A layer's calls, each as a list of its inputs; an operation's may be its one input, bare."""
    return [[node] if _is_reference(node) else node for node in nodes]


def _is_reference(value: Any) -> bool:
    """Whether it refers to a tensor: a layer's name, which of its calls, and which output."""
    return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str)


def _single(tensors: Any) -> Any:
    """A single output without the list around it, or Keras 3 would answer with a list."""
    return tensors[0] if isinstance(tensors, list) and len(tensors) == 1 else tensors


def _renumbered(value: Any, nested: set[str]) -> Any:
    """References to tensors, as Keras 3 counts the calls of a nested model.

    In Keras 2 the call that made the model is the first.
    """
    if isinstance(value, dict):
        return {key: _renumbered(inner, nested) for key, inner in value.items()}
    if not isinstance(value, list):
        return value
    if _is_reference(value) and value[0] in nested:
        return [value[0], value[1] - 1, *_renumbered(value[2:], nested)]
    return [_renumbered(inner, nested) for inner in value]


def _sequential(layer: Config) -> Config:
    config = layer["config"]
    if isinstance(config, list):  # until Keras 2.2.3
        config = {"name": layer.get("name", "sequential"), "layers": config}
    layers = [modernized(part) for part in config["layers"]]
    shape = config["layers"][0]["config"].get("batch_input_shape")
    if shape and layers[0]["class_name"] != "InputLayer":
        entrance = {"class_name": "InputLayer", "config": {"batch_shape": shape}}
        layers.insert(0, _plain(entrance))
    return {**config, "layers": layers}


def _plain(layer: Config) -> Config:
    """A layer with the settings that Keras 3 knows, those of training aside."""
    kind, config = _kind(layer), dict(layer["config"])
    if kind == "InputLayer":
        config.setdefault("batch_shape", config.get("batch_input_shape"))
    config = {key: value for key, value in config.items() if not _DROPPED.fullmatch(key)}
    if kind == "DepthwiseConv2D" and config.get("groups") == 1:
        del config["groups"]
    if kind == "BatchNormalization" and isinstance(config.get("axis"), list):
        (config["axis"],) = config["axis"]
    if isinstance(config.get("dtype"), dict):
        config["dtype"] = config["dtype"]["config"]["name"]
    if config.get("activation") == "hard_sigmoid":
        raise ValueError(
            f"layer {config['name']!r} has the hard_sigmoid of Keras 2, which rises from -2.5 to "
            "2.5; that of Keras 3 does so from -3 to 3"
        )
    known = hasattr(require_keras().layers, kind)
    return {
        "class_name": kind,
        "module": "keras.layers" if known else None,
        "registered_name": kind,
        "config": config,
        **_place(layer),
    }


def _identity(layer: Config) -> Config:
    """EfficientNet's own `preprocess_input`, which hands on what it gets, as a layer.

    Keras 2 stores a function's code; its module and name tell which one it was.
    """
    config = layer["config"]
    module, code = str(config.get("module")), config["function"]
    stored = base64.b64decode(code[0]) if isinstance(code, list) else b""
    if not _IDENTITIES.search(module) or b"preprocess_input" not in stored:
        raise ValueError(
            f"layer {config['name']!r} is a Lambda with code of {module}, which is not run"
        )
    plain = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
    return {"class_name": "Identity", "config": plain, **_place(layer)}
