"""The names mean what keras.applications and EfficientNet-Lite mean by them."""

from __future__ import annotations

import numpy as np
import pytest

from converters.preprocessing import NAMES, Preprocessing
from edgenet.errors import UsageError
from tests.converters.graphs import pixels


@pytest.mark.parametrize("mode", ["tf", "torch"])
def test_tf_and_torch_are_those_of_keras(mode):
    from keras.applications.imagenet_utils import preprocess_input

    images = pixels(2).astype(np.float32)
    chosen = Preprocessing.named(mode)
    expected = preprocess_input(images.copy(), mode=mode)
    assert images * chosen.scale + chosen.offset == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("name", "black", "white"),
    [("raw", 0, 255), ("unit", 0, 1), ("tf", -1, 1), ("lite", -127 / 128, 1)],
)
def test_what_black_and_white_become(name, black, white):
    chosen = Preprocessing.named(name)
    assert chosen.name == name
    assert chosen.offset == pytest.approx([black] * 3)
    assert 255 * chosen.scale + chosen.offset == pytest.approx([white] * 3)


@pytest.mark.parametrize("name", NAMES)
def test_the_layer_that_is_told_does_the_same(name):
    import keras

    chosen, images = Preprocessing.named(name), pixels(2).astype(np.float32)
    found = np.asarray(eval(chosen.layer, {"keras": keras})(images))
    assert found == pytest.approx(images * chosen.scale + chosen.offset, abs=1e-4)
    assert ("Rescaling(1/255)" in chosen.layer) == (name == "unit")


def test_an_unknown_name_is_told_the_known():
    with pytest.raises(UsageError, match="'caffe': take one of raw, unit, tf, torch, lite"):
        Preprocessing.named("caffe")
