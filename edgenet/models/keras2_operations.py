"""TensorFlow's functions in a model that Keras 2 saved, as the layers of Keras 3 that do the same.

Keras 2 wraps each, `x / 127.5` say, in a layer of its own and keeps its arguments in the graph.
"""

from __future__ import annotations

from typing import Any

from edgenet.models.savedfile import Config

_ACTIVATIONS = {
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.silu": "silu",
    "nn.softmax": "softmax",
    "math.sigmoid": "sigmoid",
    "math.tanh": "tanh",
}
_POOLS = {"math.reduce_mean": "GlobalAveragePooling2D", "math.reduce_max": "GlobalMaxPooling2D"}
# Stands for a layer's name where a constant is.
_CONSTANT = "_CONSTANT_VALUE"
_SUMS = ("math.add", "__operators__.add", "nn.bias_add")
_MERGES = {"math.add": "Add", "__operators__.add": "Add", "math.multiply": "Multiply"}


def layer_of_operation(layer: Config) -> Config:
    """A layer of Keras 3 that does what a `TFOpLambda` of Keras 2 does.

    Raises:
        ValueError: There is none.
    """
    config = layer["config"]
    function = config["function"]
    (node,) = layer["inbound_nodes"]
    found = _as_join(function, node) if len(node) > 1 else _as_layer(function, *_arguments(node))
    if found is None:
        raise ValueError(f"layer {config['name']!r} is TensorFlow's function tf.{function}")
    kind, settings, sources = found
    plain = {key: config[key] for key in ("name", "trainable", "dtype") if key in config}
    return {
        "class_name": kind,
        "config": {**plain, **settings},
        "name": layer["name"],
        "inbound_nodes": [[[*source[:3], {}] for source in sources]],
    }


def _arguments(node: list[Any]) -> tuple[Any, Config]:
    """What a function takes: the first argument and the named ones that are given."""
    ((name, index, position, named),) = node
    # Keras 2 puts a constant where a tensor's place stands else: 1 - x.
    first = position if name == _CONSTANT else [name, index, position]
    return first, {key: value for key, value in named.items() if value is not None}


def _as_join(function: str, node: list[Any]) -> tuple[str, Config, list[list[Any]]] | None:
    """The class, settings and inputs of the layer that joins a list of tensors."""
    # Every tensor of the list comes with all that the function is given.
    axis = node[0][3].get("axis")
    constant = any(name == _CONSTANT for name, *_ in node)
    if function != "concat" or axis is None or constant:
        return None
    return "Concatenate", {"axis": axis}, [source[:3] for source in node]


def _as_layer(
    function: str, first: Any, arguments: Config
) -> tuple[str, Config, list[list[Any]]] | None:
    """The class, settings and inputs of the layer that does it."""
    second = arguments.pop("y", arguments.pop("bias", None))
    if _is_tensor(second) and _is_tensor(first):
        merges = function in _MERGES and not arguments
        return (_MERGES[function], {}, [first, second]) if merges else None
    if second is not None:
        arguments.pop("data_format", None)
        affine = None if arguments else _affine(function, first, second)
        source = first if _is_tensor(first) else second
        return ("Rescaling", affine, [source]) if affine else None
    found = _of_one(function, arguments)
    return (*found, [first]) if found else None


def _is_tensor(argument: Any) -> bool:
    return isinstance(argument, list) and bool(argument) and isinstance(argument[0], str)


def _affine(function: str, first: Any, second: Any) -> Config | None:
    """A tensor and a constant, one number or one a channel, as scale and offset."""
    constant = second if _is_tensor(first) else first
    if function in _SUMS:
        return {"scale": 1.0, "offset": constant}
    if function == "math.multiply":
        return {"scale": constant, "offset": 0.0}
    if function == "math.subtract":
        if _is_tensor(first):
            return {"scale": 1.0, "offset": _each(lambda value: -value, constant)}
        return {"scale": -1.0, "offset": constant}
    if function == "math.truediv" and _is_tensor(first):
        return {"scale": _each(lambda value: 1 / value, constant), "offset": 0.0}
    return None


def _each(change: Any, constant: Any) -> Any:
    if isinstance(constant, list):
        return [_each(change, value) for value in constant]
    return change(constant)


def _of_one(function: str, arguments: Config) -> tuple[str, Config] | None:
    """What takes one tensor and settings."""
    given = dict(arguments)
    if function == "cast" and given.pop("dtype", "") == "float32" and not given:
        return "Identity", {}
    if function in _POOLS and given.pop("axis", None) == [1, 2]:
        keeps = given.pop("keepdims", False)
        return None if given else (_POOLS[function], {"keepdims": keeps})
    if function in _ACTIVATIONS and given.pop("axis", -1) == -1 and not given:
        return "Activation", {"activation": _ACTIVATIONS[function]}
    if function == "image.resize":
        height, width = given.pop("size")
        method = given.pop("method", "bilinear")
        size = {"height": height, "width": width, "interpolation": method}
        return None if given else ("Resizing", size)
    return None
