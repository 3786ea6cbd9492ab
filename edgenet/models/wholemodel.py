"""A user's own model, whole in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgenet.errors import UsageError
from edgenet.models.keras_errors import explained, quiet
from edgenet.models.keras_import import require_keras
from edgenet.models.savedfile import check_container

if TYPE_CHECKING:
    import keras


def load_file(path: str | Path) -> keras.Model:
    """Loads a whole model from a `.keras` or `.h5` file.

    Raises:
        UsageError: There is no such file, it is not a Keras model, or it is damaged or needs code
            that Keras does not hold.
        MissingExtraError: Keras is not installed.
    """
    path = Path(path)
    check_container(path)
    keras = require_keras()
    if path.suffix != ".keras":
        _check_whole_model(path)
    with explained(path), quiet():
        model = keras.saving.load_model(path, custom_objects=_foreign(keras), compile=False)
    _apply_statistics(model)
    return model


def _apply_statistics(model: keras.Model) -> None:
    """Has every Normalization layer use what was loaded.

    Keras itself leaves it out for those of a nested model in an HDF5 file.
    """
    for layer in model.layers:
        if hasattr(layer, "layers"):
            _apply_statistics(layer)
        elif hasattr(layer, "finalize_state"):
            layer.finalize_state()


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


def _check_whole_model(path: Path) -> None:
    import h5py

    with explained(path), h5py.File(path) as file:
        whole = "model_config" in file.attrs
    if not whole:
        raise UsageError(
            f"{path}: holds weights without a model: name the variant, and give this file "
            f"after --weights, as in: edgenet convert b0 --weights {path}"
        )
