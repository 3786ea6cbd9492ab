"""SavedModels that Keras 2 wrote: the description of the model, and TensorFlow's checkpoint.

Nothing in such a folder is run: the graphs in its saved_model.pb are not even opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenet.errors import UsageError
from edgenet.protobuf import fields

if TYPE_CHECKING:
    import keras

METADATA = "keras_metadata.pb"
_CHECKPOINT = "variables/variables"
# Fields of tf_keras/protobuf/saved_metadata.proto, and what Keras calls the model itself.
_NODES, _PATH, _METADATA = 1, 3, 5
_ROOT = b"root"
# The weights that Keras 3 calls by another name than Keras 2.
_RENAMED = {("DepthwiseConv2D", "kernel"): "depthwise_kernel"}
# Kinds of lists that JSON does not have.
_LISTS = ("__tuple__", "TensorShape")


def files_of(path: Path) -> tuple[Path, ...]:
    """The files that a model is read from: of a folder those that count, else the one file."""
    if not path.is_dir():
        return (path,)
    return (path / METADATA, *sorted(path.glob(f"{_CHECKPOINT}.*")))


def read_metadata(folder: Path) -> dict[str, Any]:
    """What Keras 2 tells of the model in a SavedModel, beside its weights.

    Raises:
        OSError: It cannot be read.
        UsageError: It is damaged.
    """
    data = (folder / METADATA).read_bytes()
    try:
        nodes = [dict(_texts(node)) for number, _, node in fields(data) if number == _NODES]
        (root,) = (node[_METADATA] for node in nodes if node[_PATH] == _ROOT)
        return dict(json.loads(root, object_hook=_plain))
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise _damaged(folder, METADATA) from error


def _texts(node: bytes) -> Iterator[tuple[int, bytes]]:
    return ((number, text) for number, _, text in fields(node))


def _plain(found: dict[str, Any]) -> Any:
    """Tuples and shapes as the lists that they are in Keras's other files."""
    return found["items"] if found.get("class_name") in _LISTS else found


def load_checkpoint(model: keras.Model, config: dict[str, Any], folder: Path) -> None:
    """Gives a model the weights of a SavedModel.

    Args:
        model: Of Keras 3.
        config: As Keras 2 described it.
        folder: The SavedModel.

    Raises:
        UsageError: The checkpoint is damaged.
        ValueError: It lacks a weight, or has it in another shape.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

    try:
        reader = tf.train.load_checkpoint(str(folder / _CHECKPOINT))
        graph = TrackableObjectGraph.FromString(reader.get_tensor("_CHECKPOINTABLE_OBJECT_GRAPH"))
        _Checkpoint(reader, graph.nodes).fill(model, config, graph.nodes[0])
    except (IndexError, tf.errors.OpError) as error:
        raise _damaged(folder, f"{_CHECKPOINT}.*") from error


def _damaged(folder: Path, name: str) -> UsageError:
    return UsageError(
        f"{folder}: its {name} is damaged or not all there: copy the folder again, whole, or save "
        "the model again"
    )


@dataclass(frozen=True)
class _Checkpoint:
    """TensorFlow's reader of a checkpoint, and the objects whose values it has."""

    reader: Any
    nodes: Any

    def fill(self, layer: Any, config: dict[str, Any], node: Any) -> None:
        """Gives a layer its weights, or a model those of its layers, from its own node."""
        children = {child.local_name: self.nodes[child.node_id] for child in node.children}
        if "layers" in config["config"]:
            self._fill_layers(layer, config, children)
            return
        for weight in layer.weights:
            name = _RENAMED.get((config["class_name"], weight.name), weight.name)
            (value,) = _found(children, name, weight.path).attributes
            weight.assign(self.reader.get_tensor(value.checkpoint_key))

    def _fill_layers(self, model: Any, config: dict[str, Any], children: dict[str, Any]) -> None:
        """Keras 2 numbers layers in the order that it describes them in.

        The InputLayer of a Sequential does not count, and a layer that is in no path to an output,
        such as a base that is an attribute of the model, does not come to Keras 3.
        """
        parts = config["config"]["layers"]
        if "input_layers" not in config["config"]:
            parts = [part for part in parts if part["class_name"] != "InputLayer"]
        numbers = {part["config"]["name"]: number for number, part in enumerate(parts)}
        for layer in model.layers:
            if layer.weights:
                number = numbers[layer.name]
                child = _found(children, f"layer-{number}", layer.path)
                self.fill(layer, parts[number], child)


def _found(children: dict[str, Any], name: str, path: str) -> Any:
    if name not in children:
        raise ValueError(f"{_CHECKPOINT} has no {path}")
    return children[name]
