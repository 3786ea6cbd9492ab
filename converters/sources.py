"""The Keras model that a conversion starts from, and what is known of it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.composite import inlined
from converters.frontend.walk import output_names
from converters.in_memory import InMemory
from edgenet.bundle import sha256_of
from edgenet.errors import UnsupportedModelError, UsageError
from edgenet.images import read_labels
from edgenet.models.labels import imagenet_labels
from edgenet.models.pretrained import published_weights
from edgenet.models.savedmodel import files_of
from edgenet.models.specs import VARIANTS
from edgenet.models.weights import load_model
from edgenet.models.wholemodel import assumed

# Of a model's or weights' file, and of weights in memory.
_DIGESTS = ("sha256", "weights_sha256")


@dataclass(frozen=True)
class Source:
    """A Keras model and what is known of it.

    `description` goes into the manifest. `crop_fraction` and `interpolation` say how its photos are
    prepared unless the user tells otherwise; `labels` are its class names, where known; `assumed`
    says what its file does not tell and how it is read, line by line.
    """

    model: Any
    description: Mapping[str, Any]
    crop_fraction: float
    interpolation: str
    labels: tuple[str, ...] | None
    assumed: tuple[str, ...] = ()


def load_source(
    model: str | os.PathLike[str],
    *,
    weights: str | os.PathLike[str] | None = None,
    download: bool = False,
    labels: str | os.PathLike[str] | None = None,
    head: str | int | None = None,
) -> Source:
    """Loads a variant or a saved Keras model; of several outputs the one that `head` names.

    A variant's photos are cropped as published. A user's own model gets the whole photo, as
    `keras.utils.image_dataset_from_directory` prepares it.

    Raises:
        UsageError: No such file, or not a Keras model; see `edgenet.models.weights.load_model`. Or
            no such head.
    """
    name = os.fspath(model)
    names = read_labels(labels) if labels is not None else None
    given = None if weights is None else os.fspath(weights)
    with _named(model):
        keras_model = inlined(load_model(name, weights=given, download=download))
    if head is not None:
        keras_model = _with_head(keras_model, str(head))
    spec = VARIANTS.get(name.lower())
    if spec is None:
        description = _described(model)
        if head is not None:
            description["head"] = str(head)
        # What was handed over in memory has been compared with its file.
        lines = () if isinstance(model, InMemory) else tuple(assumed(name))
        return Source(keras_model, description, 1.0, "tf-bilinear", names, lines)
    if names is None:
        found = imagenet_labels()
        names = tuple(found) if found is not None else None
    return Source(
        keras_model,
        {"variant": spec.name, "weights": _weights(spec.name, weights, download)},
        spec.crop_fraction,
        spec.interpolation,
        names,
    )


def _described(model: str | os.PathLike[str]) -> dict[str, Any]:
    if isinstance(model, InMemory):
        return dict(model.description)
    # A folder may be given as ".", too.
    path = Path(model).absolute()
    return {"file": path.name, "sha256": sha256_of(*files_of(path))}


def other_weights(made_for: Any, description: Mapping[str, Any]) -> bool:
    """Whether two descriptions of models are known to be of different weights.

    A file's sha256 is compared with a file's, and that of weights in memory with theirs: one of
    each says nothing.

    Args:
        made_for: What an earlier manifest says of its model, or anything else.
        description: What is said of the model at hand.
    """
    before, now = _digests(made_for), _digests(description)
    return any(before[kind] != now[kind] for kind in before.keys() & now.keys())


def _digests(description: Any) -> dict[str, Any]:
    """The sha256 that there are in a description, by what each is of."""
    if not isinstance(description, Mapping):
        return {}
    own = {kind: description[kind] for kind in _DIGESTS if kind in description}
    return own or _digests(description.get("weights"))


@contextmanager
def _named(model: str | os.PathLike[str]) -> Iterator[None]:
    """Calls a model that was handed over in memory by its name, not by the file that it is in."""
    try:
        yield
    except UsageError as error:
        if not isinstance(model, InMemory):
            raise
        if model.unread:
            raise UnsupportedModelError(model.unread) from error
        raise UsageError(str(error).replace(os.fspath(model), f"the model {model}")) from error


def _with_head(model: Any, head: str) -> Any:
    """The model with one of its outputs alone, by its name or, counted from 0, its number."""
    import keras

    names = output_names(model)
    if not names:
        # It has no layers that could be read, which freezing tells.
        return model
    alike = [place for place, name in enumerate(names) if name == head]
    if len(alike) > 1:
        numbers = " or ".join(map(str, alike))
        raise UsageError(
            f"{model.name} has {len(alike)} heads {head!r}: take one by its number, {numbers}"
        )
    if alike:
        (place,) = alike
    elif head.isdecimal() and int(head) < len(names):
        place = int(head)
    else:
        numbers = f", or a number below {len(names)}" if len(names) > 1 else ""
        raise UsageError(
            f"{model.name} has no head {head!r}: take one of {', '.join(names)}{numbers}"
        )
    if len(names) == 1:
        return model
    return keras.Model(model.inputs, model.outputs[place], name=model.name)


def _weights(
    variant: str, weights: str | os.PathLike[str] | None, download: bool
) -> dict[str, str]:
    if download:
        return {"source": "keras.applications"}
    path = Path(weights) if weights is not None else published_weights(variant)
    return {"file": path.name, "sha256": sha256_of(path)}
