"""What is known of the model that a conversion starts from."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from converters.pipeline import convert
from converters.sources import load_source
from edgenet.bundle import sha256_of
from edgenet.errors import UsageError
from tests.networks import CLASSES, SIZE

# Of Keras 2: see make_keras2.py there.
SAVED_MODEL = Path(__file__).parents[1] / "edgenet/models/data/chain"


def test_a_file_of_the_users_own_is_named_by_its_digest(tiny_models, tiny_labels):
    source = load_source(tiny_models["lite"], labels=tiny_labels)
    assert source.description == {
        "file": "tiny-lite.keras",
        "sha256": sha256_of(tiny_models["lite"]),
    }
    assert (source.crop_fraction, source.interpolation) == (1.0, "tf-bilinear")
    assert source.model.input_shape == (None, SIZE, SIZE, 3)
    assert source.labels is not None
    assert len(source.labels) == CLASSES


def test_a_saved_model_is_named_by_its_folder_and_what_is_read_of_it(tmp_path, monkeypatch):
    folder = tmp_path / "chain"
    shutil.copytree(SAVED_MODEL, folder)
    read = [*sorted(folder.glob("*.pb")), *sorted(folder.glob("variables/*"))]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in read)).hexdigest()
    named = {"file": "chain", "sha256": digest}
    (folder / "saved_model.pb").write_bytes(b"not read")
    assert load_source(folder).description == named
    monkeypatch.chdir(folder)
    bundle = convert(".", formats=("onnx",))
    assert (bundle.path.name, bundle.manifest.source) == ("chain-fp32", named)


@pytest.fixture(scope="module")
def two_headed(tmp_path_factory) -> Path:
    """A model that tells the kind of a thing and, of three, its colour."""
    import keras
    from keras import layers

    inputs = keras.Input((32, 32, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(inputs)))
    heads = [layers.Dense(size, "softmax", name=name)(x) for name, size in HEADS.items()]
    path = tmp_path_factory.mktemp("model") / "two.keras"
    keras.Model(inputs, heads, name="things").save(path)
    return path


HEADS = {"kind": 2, "colour": 3}


@pytest.mark.parametrize("head", ["colour", "1", 1])
def test_one_of_several_outputs_is_taken_by_its_name_or_number(two_headed, head):
    source = load_source(two_headed, head=head)
    assert source.description["head"] == str(head)
    assert (source.model.name, len(source.model.outputs)) == ("things", 1)
    whole = load_source(two_headed)
    assert len(whole.model.outputs) == 2
    assert "head" not in whole.description
    image = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype(np.float32)
    assert np.array_equal(source.model(image), whole.model(image)[1])


@pytest.mark.parametrize("head", ["2", "-1", "texture", ""])
def test_a_head_that_there_is_not_is_told_those_that_there_are(two_headed, head):
    with pytest.raises(UsageError, match=f"head '{head}': take one of kind, colour, or a number"):
        load_source(two_headed, head=head)


def test_of_one_output_there_is_one_head(tiny_models):
    for head in ("predictions", 0):
        found = load_source(tiny_models["lite"], head=head)
        assert found.model.output_shape == (None, CLASSES)
    for head in ("1", "other"):
        with pytest.raises(UsageError, match=r"take one of predictions$"):
            load_source(tiny_models["lite"], head=head)


def test_outputs_in_a_dictionary_are_called_by_their_keys(two_headed, tmp_path):
    import keras

    model = keras.saving.load_model(two_headed, compile=False)
    inputs = keras.Input((32, 32, 3))
    kind, colour = model(inputs)
    # By the sorted keys the colour comes first, and both come from the layer "things".
    keras.Model(inputs, {"what": kind, "hue": colour}).save(tmp_path / "named.keras")
    found = load_source(tmp_path / "named.keras", head="what")
    assert found.model.output_shape == (None, HEADS["kind"])
    with pytest.raises(UsageError, match="take one of hue, what, or a number below 2"):
        load_source(tmp_path / "named.keras", head="things")


def test_outputs_of_one_name_are_told_apart_by_number(two_headed, tmp_path):
    import keras

    model = keras.saving.load_model(two_headed, compile=False)
    inputs = keras.Input((32, 32, 3))
    keras.Model(inputs, model(inputs)).save(tmp_path / "nested.keras")
    with pytest.raises(UsageError, match="2 heads 'things': take one by its number, 0 or 1"):
        load_source(tmp_path / "nested.keras", head="things")
    found = load_source(tmp_path / "nested.keras", head="1")
    assert found.model.output_shape == (None, HEADS["colour"])


@pytest.mark.slow
def test_a_variant_has_its_published_weights_crop_and_names():
    source = load_source("Lite0")
    assert source.description["variant"] == "lite0"
    assert source.description["weights"]["file"].endswith(".pth")
    assert source.crop_fraction == 224 / 256
    assert source.interpolation == "bicubic"
    assert source.labels is not None
    assert len(source.labels) == 1000
