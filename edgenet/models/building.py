"""Variants to train further: the backbone with its weights, a head and an input of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgenet.errors import UsageError
from edgenet.models.keras_import import require_keras
from edgenet.models.specs import variant
from edgenet.models.weights import load_model

if TYPE_CHECKING:
    import keras

PUBLISHED = "published"
_HEAD = "predictions"


def build(
    name: str,
    *,
    weights: str | Path | None = PUBLISHED,
    download: bool = False,
    classes: int = 1000,
    input_size: int | None = None,
    include_top: bool = True,
) -> keras.Model:
    """Builds a variant with weights, as the functions of `keras.applications` do.

    Args:
        name: Of a variant, b0..b7 or lite0..lite4.
        weights: "published" for those of ImageNet, which the extra `weights` holds of lite0 to
            lite2; a file of them, `.weights.h5`, `.h5` or `.pth`, for 1000 classes; or None for
            random ones.
        download: For B0 to B7: let `keras.applications` download the published ones.
        classes: Length of the output. The head stays random where they are not 1000.
        input_size: Height and width in pixels; None takes the variant's own resolution.
        include_top: False leaves the head off: the output is then the pooled features, (N, 1280)
            for B0, B1 and every Lite variant.

    Returns:
        An uncompiled model, (N, size, size, 3) RGB in 0..255 to (N, classes) probabilities; the
        normalization is inside.

    Raises:
        UsageError: No such variant or file, a variant without published weights, a file that does
            not fit, fewer than one class, or an input under 32 pixels.
        MissingExtraError: Keras, or the package of published weights, is not installed.
        EdgenetError: The download failed.
    """
    spec = variant(name)
    if weights is None and download:
        raise UsageError(f'download goes with weights="{PUBLISHED}": leave weights=None off')
    require_keras()
    from edgenet.models.efficientnet import efficientnet

    source = None
    if weights is not None:
        given = None if weights == PUBLISHED else weights
        source = load_model(spec.name, weights=given, download=download)
    model = efficientnet(
        spec,
        classes=classes,
        input_size=input_size,
        include_top=include_top,
        stddev_rescaling=source is not None and _scales_twice(source),
    )
    if source is not None:
        _take_over(model, source)
    return model


def _scales_twice(model: keras.Model) -> bool:
    """Whether a model has the second Rescaling that its weights want."""
    return [type(layer).__name__ for layer in model.layers].count("Rescaling") == 2


def _take_over(model: keras.Model, source: keras.Model) -> None:
    """Fills a model from another of the same variant; a head of other classes is left alone."""
    theirs = {_key(layer): layer for layer in source.layers}
    for layer in model.layers:
        if layer.name == _HEAD and model.output_shape != source.output_shape:
            continue
        if layer.weights:
            layer.set_weights(theirs[_key(layer)].get_weights())
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def _key(layer: keras.Layer) -> str:
    """What a layer has the same in every model of a variant; Keras numbers the one without name."""
    kind = type(layer).__name__
    return kind if kind == "Normalization" else str(layer.name)
