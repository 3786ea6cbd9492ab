"""What is handed over in memory converts as the same in files does; what else, is told how to."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converters.in_memory import as_files
from converters.pipeline import convert
from edgenet.bundle import Bundle
from edgenet.errors import EdgenetError, UsageError
from edgenet.images import ImageFolder
from edgenet.models.weights import load_file
from edgenet.runtime import load
from edgenet.sampling import stratified
from tests.networks import SIZE, Textures

PHOTOS = Textures.make(50, seed=4).images


@pytest.fixture(scope="module")
def model(tiny_models) -> Any:
    return load_file(tiny_models["lite"])


def quick(model: Any, output, calibration: Any, **options: Any) -> Bundle:
    options = {"precision": "int8", "formats": ("onnx",), "effort": "fast", **options}
    return convert(model, output, calibration=calibration, calibration_images=16, **options)


def kept(images: Any, most: int = 100) -> list[np.ndarray]:
    """The pixels that an engine's images come from."""
    with as_files("lite0", images, most) as (_, folder):
        return [np.asarray(Image.open(path)) for path in ImageFolder.open(folder).paths]


def test_a_model_and_an_array_make_the_files_that_theirs_on_disk_make(model, tiny_models, tmp_path):
    (tmp_path / "photos").mkdir()
    for number, photo in enumerate(PHOTOS):
        Image.fromarray(photo).save(tmp_path / "photos" / f"{number:05}.png")
    of_files = quick(tiny_models["lite"], tmp_path / "1", tmp_path / "photos").manifest
    found = quick(model, tmp_path / "2", PHOTOS).manifest
    assert found.artifacts == of_files.artifacts
    assert found.recipe == of_files.recipe
    assert found.source == {"model": model.name, "weights_sha256": found.source["weights_sha256"]}
    assert found.calibration == {**of_files.calibration, **found.calibration}
    assert found.calibration["source"] == "memory"
    assert len(found.source["weights_sha256"]) == len(found.calibration["sha256"]) == 64
    images = Textures.make(5, seed=9).images
    with load(tmp_path / "2") as session:
        assert session.run(images).argmax(1).tolist() == np.argmax(model(images), 1).tolist()


def test_equal_runs_give_equal_manifests_and_other_pixels_or_weights_do_not(
    model, tiny_models, tmp_path
):
    first = quick(model, tmp_path / "1", PHOTOS).manifest
    photos = (Image.fromarray(photo) for photo in PHOTOS)
    assert quick(model, tmp_path / "2", photos).manifest == first
    pixels = PHOTOS.copy()
    pixels[0] ^= 1
    found = quick(load_file(tiny_models["b"]), tmp_path / "2", pixels).manifest
    assert found.source["weights_sha256"] != first.source["weights_sha256"]
    assert found.calibration["sha256"] != first.calibration["sha256"]


def test_without_o_the_bundle_is_named_after_the_model(model, tmp_path, monkeypatch):
    import keras

    monkeypatch.chdir(tmp_path)
    named = keras.Model(model.inputs, model.outputs, name="my model: 2")
    assert convert(named, formats=("onnx",)).path.name == "my_model_2-fp32"
    assert [path.name for path in tmp_path.iterdir()] == ["my_model_2-fp32"]


def test_images_may_be_of_any_size_and_kind():
    wide = np.arange(30 * 50 * 3, dtype=np.uint8).reshape(30, 50, 3)
    grey = Image.fromarray(wide[:, :, 0])
    first, second, third = kept([wide, grey, Image.fromarray(wide)])
    assert (first == wide).all()
    assert (second == np.asarray(grey.convert("RGB"))).all()
    assert (third == wide).all()


def test_of_many_those_are_read_that_are_needed():
    """An iterator may have no end."""
    everywhere = kept(PHOTOS, 10)
    chosen = PHOTOS[stratified(len(PHOTOS), 10)]
    assert [(a == b).all() for a, b in zip(everywhere, chosen, strict=True)] == [True] * 10

    def endless():
        while True:
            yield from PHOTOS

    assert len(kept(endless(), 10)) == 10


def test_no_image_is_read_for_what_cannot_be(tmp_path):
    """Nor are any kept of an effort that there is not."""

    def unread():
        raise AssertionError("images are read")
        yield

    with pytest.raises(UsageError, match="no effort is called 'none'"):
        quick("lite0", tmp_path / "out", unread(), effort="none")
    assert list(tmp_path.iterdir()) == []


def test_a_data_set_of_tensorflow_is_an_iterable():
    import tensorflow as tf

    found = kept(tf.data.Dataset.from_tensor_slices(PHOTOS).repeat(), 60)
    assert len(found) == 60
    assert (found[51] == PHOTOS[1]).all()
    assert (kept(tf.constant(PHOTOS), 2)[1] == PHOTOS[stratified(len(PHOTOS), 2)[1]]).all()


def test_a_data_set_of_a_folder_has_its_photos(tmp_path):
    """As Keras makes it: batches of floats, with labels; the first are read, and none beyond."""
    from keras.utils import image_dataset_from_directory

    for number, photo in enumerate(PHOTOS):
        folder = tmp_path / f"class {number % 2}"
        folder.mkdir(exist_ok=True)
        Image.fromarray(photo).save(folder / f"{number:05}.png")
    options = {"image_size": (SIZE, SIZE), "batch_size": 8, "shuffle": False}
    data = image_dataset_from_directory(tmp_path, **options)
    wanted = [*PHOTOS[::2], *PHOTOS[1::2]]
    found = kept(data)
    assert [(a == b).all() for a, b in zip(found, wanted, strict=True)] == [True] * 50
    assert len(kept(data.repeat(), 60)) == 60
    alone = kept(data.map(lambda images, labels: images).unbatch(), 3)
    assert [(a == b).all() for a, b in zip(alone, wanted[:3], strict=True)] == [True] * 3


@pytest.mark.parametrize(
    "images",
    [
        [PHOTOS[:3], PHOTOS[3:4], PHOTOS[4]],
        [(photo, 3) for photo in PHOTOS[:5]],
        [(Image.fromarray(photo), 3) for photo in PHOTOS[:5]],
        PHOTOS[:5].astype(np.float64),
        list(PHOTOS[:5] + np.float32(0.3) * (PHOTOS[:5] < 255)),
        [PHOTOS[0], PHOTOS[1:3].astype(np.float32), *PHOTOS[3:5]],
    ],
)
def test_batches_labels_and_floats_are_made_photos_of(images):
    found = kept(images)
    assert [(a == b).all() for a, b in zip(found, PHOTOS[:5], strict=True)] == [True] * 5


def test_a_dark_photo_among_floats_is_one():
    """Its values alone might be those of pixels that were divided by 255."""
    dark = np.linspace(0, 1, 48, dtype=np.float32).reshape(4, 4, 3)
    assert (kept([dark, PHOTOS[0].astype(np.float32)])[0] == np.rint(dark)).all()


def test_paths_stay_as_they_are(tmp_path):
    with as_files("lite0", tmp_path, 1) as found:
        assert found == ("lite0", tmp_path)
    with as_files("lite0", None, 1) as found:
        assert found == ("lite0", None)


@pytest.mark.parametrize(
    ("images", "said"),
    [
        (PHOTOS / 255, "calibration has floats of 0..1 alone: give pixels of 0..255, as they are"),
        (PHOTOS / 127.5 - 1, "image 0 of calibration has values from -0.8118 to 0.898: give"),
        ([PHOTOS[0], PHOTOS[1] * 1.5], "image 1 of calibration has values from"),
        ([(PHOTOS[:2] * np.float32(np.nan), None)], "image 0 of calibration has values from nan"),
        (PHOTOS.astype(int), "calibration is int64: give the pixels as uint8"),
        (PHOTOS.transpose(0, 3, 1, 2), "give images.transpose(0, 2, 3, 1)"),
        (PHOTOS[..., :1], f"calibration is 50×{SIZE}×{SIZE}×1: give N×H×W×3 RGB"),
        (PHOTOS[0], "and one image as image[None]"),
        ([PHOTOS[0], PHOTOS[1] / 255], "calibration has floats of 0..1 alone"),
        ([PHOTOS[:1].transpose(0, 3, 1, 2)], "image 0 of calibration: an image array must be"),
        ([(3, PHOTOS[0])], "image 0 of calibration is of type int: give H×W×3 uint8"),
        ([()], "image 0 of calibration is of type tuple"),
        ([{"image": PHOTOS[0]}], "image 0 of calibration is of type dict"),
        ({"images": PHOTOS}, "not dict"),
        (lambda: iter(PHOTOS), "called: calibration=images(), not function"),
        (7, "calibration is a folder, N×H×W×3 uint8, or an iterable"),
        ([], "calibration has no image: give 100 or more"),
        (PHOTOS[:0], "calibration has no image"),
        (np.zeros((4, SIZE, SIZE, 3), np.uint8), "is blank: int8 is calibrated on photos"),
    ],
)
def test_what_is_no_photos_is_told_with_the_way_out(tiny_models, tmp_path, images, said):
    with pytest.raises(UsageError) as caught:
        quick(tiny_models["lite"], tmp_path / "out", images)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "/edgenet-" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def answering_otherwise(kind: str) -> Any:
    """A model of which Keras saves something else, or the same, and code of its own."""
    import keras

    class Scaled(keras.Model):
        def call(self, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return super().call(inputs / 255, training=training)

    class Trainer(keras.Model):
        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    def leaky_relu(x: Any) -> Any:
        return keras.ops.leaky_relu(x, 0.2 if kind == "a function like Keras's" else 0.01)

    keras.utils.set_random_seed(1)
    inputs = keras.Input((None, None, 3))
    of_function = kind in ("a function", "a function like Keras's")
    x = keras.layers.Conv2D(4, 3, activation=leaky_relu if of_function else "relu")(inputs)
    x = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    made = {"a call": Scaled, "a train_step": Trainer}.get(kind, keras.Model)
    return made(inputs, x, name="mine")


@pytest.mark.parametrize("kind", ["a function", "a call"])
def test_a_model_that_keras_saves_as_another_is_refused(tmp_path, kind):
    with pytest.raises(UsageError, match=r"Keras saves of the model mine answers otherwise"):
        quick(answering_otherwise(kind), tmp_path / "out", PHOTOS)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["a function like Keras's", "a train_step", "nothing"])
def test_a_model_that_keras_saves_as_it_is_is_taken(kind):
    with as_files(answering_otherwise(kind), None, 1) as (path, _):
        assert str(path) == "mine"


def test_the_way_out_of_a_call_of_ones_own_keeps_it():
    import keras

    model = answering_otherwise("a call")
    i = keras.Input((None, None, 3))
    with as_files(keras.Model(i, model.call(i)), None, 1) as (path, _):
        images = PHOTOS[:2].astype(np.float32)
        assert np.allclose(load_file(path.path)(images), model(images), atol=1e-5)


def test_what_cannot_be_saved_is_told_what_can():
    import keras

    class Own(keras.Model):
        def __init__(self, network: Any) -> None:
            super().__init__()
            self.network = network

        def call(self, inputs: Any) -> Any:
            return self.network(inputs)

    class Steady(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> float:
            return 0.1

    compiled = answering_otherwise("nothing")
    compiled.compile(keras.optimizers.SGD(Steady()), "mse")
    unbuilt, built = Own(compiled), Own(compiled)
    built(PHOTOS[:1].astype(np.float32))
    ways = {
        unbuilt: "call it on an image first, so that it is built",
        built: "its class is your own: convert what i = keras.Input(shape)",
        compiled: "convert keras.Model(model.inputs, model.outputs), which has neither",
    }
    for model, way in ways.items():
        with pytest.raises(UsageError, match=re.escape(way)), as_files(model, None, 1):
            pass


def own_call() -> Any:
    import keras

    class Own(keras.Model):
        def call(self, inputs: Any) -> Any:
            return inputs

    own = Own(name="own")
    own(np.zeros((1, 8, 8, 3), np.float32))
    return own


def foreign() -> Any:
    import keras

    inputs = keras.Input((32, 32, 3))
    pooled = keras.layers.Flatten()(keras.layers.MaxPooling2D(name="pool")(inputs))
    return keras.Model(inputs, keras.layers.Dense(3)(pooled), name="foreign")


def unregistered() -> Any:
    import keras
    import tensorflow as tf

    class Mine(keras.layers.Layer):
        def call(self, inputs: Any) -> Any:
            return tf.cumsum(inputs, axis=1)

    inputs = keras.Input((32, 32, 3))
    return keras.Model(inputs, keras.layers.Flatten()(Mine(name="mine")(inputs)))


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (object, "a .keras or .h5 file, a SavedModel or a keras.Model, not object"),
        (own_call, "the model own: Keras cannot load it"),
        (foreign, "'pool' (MaxPooling2D)"),
        (unregistered, "layer 'mine' (Mine) is outside the family; it is no layer of Keras"),
    ],
)
def test_a_model_that_cannot_be_converted_is_told_by_its_name(tmp_path, make, said):
    with pytest.raises(EdgenetError) as caught:
        quick(make(), tmp_path / "out", PHOTOS)
    assert said in str(caught.value)
    assert "/edgenet-" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
