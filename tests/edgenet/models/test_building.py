"""Variants to train further have the published weights, whatever their head and input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy

from edgenet import convert, load, models, photographs
from edgenet.errors import UsageError
from edgenet.models.efficientnet import efficientnet
from edgenet.models.weights import load_model

pytestmark = pytest.mark.slow

CLASSES = 11


def photo(size: int) -> np.ndarray:
    """A crop of a photograph, 1 × size × size × 3."""
    return np.stack(list(photographs.crops(1, size, size))).astype("float32")


def features(model: keras.Model, images: np.ndarray) -> np.ndarray:
    """What a whole model pools."""
    return to_numpy(keras.Model(model.inputs, model.get_layer("avg_pool").output)(images))


@pytest.fixture(scope="module")
def lite0() -> keras.Model:
    return load_model("lite0")


def test_the_backbone_has_the_features_of_the_published_model(lite0: keras.Model) -> None:
    image = photo(224)
    expected = features(lite0, image)
    alone = models.build("lite0", include_top=False)
    assert alone.output_shape == (None, 1280)
    np.testing.assert_array_equal(to_numpy(alone(image)), expected)
    np.testing.assert_array_equal(features(models.build("lite0", classes=CLASSES), image), expected)
    assert np.abs(features(models.build("lite0", weights=None), image) - expected).max() > 0.1


def test_all_classes_at_another_size_have_all_weights(lite0: keras.Model) -> None:
    model = models.build("lite0", input_size=96)
    assert (model.input_shape, model.output_shape) == ((None, 96, 96, 3), (None, 1000))
    for ours, theirs in zip(model.weights, lite0.weights, strict=True):
        np.testing.assert_array_equal(to_numpy(ours), to_numpy(theirs), err_msg=ours.path)


def test_weights_that_keep_the_standard_deviation_are_scaled_as_they_want(tmp_path: Path) -> None:
    """Those of `keras.applications`, on a smaller input with a head of its own."""
    official = efficientnet("b0", stddev_rescaling=True, input_size=64)
    (normalization,) = (one for one in official.layers if hasattr(one, "adapt_variance"))
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    normalization.finalize_state()
    official.save_weights(tmp_path / "official.weights.h5")
    weights = tmp_path / "official.weights.h5"
    found = models.build("b0", weights=weights, classes=CLASSES, input_size=64)
    image = photo(64)
    np.testing.assert_array_equal(features(found, image), features(official, image))


def test_a_new_head_converts_and_answers(tmp_path: Path) -> None:
    model = models.build("lite0", classes=CLASSES, input_size=64)
    bundle = convert(model, tmp_path / "out", formats=("onnx",))
    image = photo(64)
    with load(bundle) as session:
        found = session.probabilities(image.astype(np.uint8))
    assert found.shape == (1, CLASSES)
    np.testing.assert_allclose(found, to_numpy(model(image)), atol=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "b0"}, "--weights FILE.*--download"),
        ({"name": "lite3"}, "no package holds weights for lite3"),
        ({"name": "lite0", "weights": "gone.h5"}, "gone.h5: no such file"),
        ({"name": "lite0", "download": True}, "keras.applications has no lite0"),
        ({"name": "b0", "download": True, "weights": None}, "leave weights=None off"),
        ({"name": "b9"}, "no variant is called 'b9': choose one of b0, "),
        ({"name": "lite0", "classes": 0}, "give 1 or more"),
        ({"name": "lite0", "input_size": 8}, "give 32 or more"),
    ],
)
def test_what_cannot_be_is_answered_with_what_can(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        models.build(**arguments)
