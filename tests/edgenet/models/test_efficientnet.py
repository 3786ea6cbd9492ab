"""The Keras builder against keras.applications, layer by layer and number by number."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pytest

from edgenet.errors import UsageError
from edgenet.models import VARIANTS, compound
from edgenet.models.efficientnet import efficientnet

# Maps of 75 pixels become odd and even ones in turn, which are padded otherwise; those of 64 stay
# even.
SIZES = {name: (64, 75) if name == "b0" else (75,) for name in VARIANTS if name.startswith("b")}
TWINS = [
    pytest.param((name, size), marks=() if size == 64 else pytest.mark.slow, id=f"{name}-{size}")
    for name, sizes in SIZES.items()
    for size in sizes
]
SMALL = compound(width=0.25, depth=0.3, resolution=32)
SMALL_LITE = compound(width=0.25, depth=0.3, resolution=32, family="lite")
LITE_PARAMETERS = {"lite0": 4_694_024, "lite1": 5_470_344, "lite2": 6_150_168}


def images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, 3)).astype("float32")


def theirs(name: str, size: int) -> keras.Model:
    return getattr(keras.applications, f"EfficientNet{name.upper()}")(
        weights=None, input_shape=(size, size, 3), classifier_activation=None
    )


def liven(model: keras.Model) -> None:
    """Sets BatchNorm to what it meets, so that an untrained network keeps its signal's size."""
    generator = np.random.default_rng(3)
    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in layers:
        layer.gamma.assign(generator.uniform(0.8, 1.2, layer.gamma.shape))
        layer.beta.assign(generator.normal(0, 0.1, layer.beta.shape))
        layer.momentum = 0.0
    model(images(8, model.input_shape[1]), training=True)


def layer_shapes(model: keras.Model) -> list[tuple[str, list[tuple[int, ...]]]]:
    return [
        (layer.name, [tuple(weight.shape) for weight in layer.weights])
        for layer in model.layers
        if layer.weights and not isinstance(layer, keras.layers.Normalization)
    ]


@dataclass(frozen=True)
class Twins:
    """A variant as keras.applications and as edgenet build it, with the same weights."""

    theirs: keras.Model
    ours: keras.Model


@pytest.fixture(scope="module", params=TWINS)
def twins(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Twins:
    name, size = request.param
    reference = theirs(name, size)
    liven(reference)
    weights = tmp_path_factory.mktemp("twins") / "reference.weights.h5"
    reference.save_weights(weights)
    ours = efficientnet(name, input_size=size, classifier_activation=None)
    ours.load_weights(weights)
    return Twins(reference, ours)


def test_equal_weights_give_keras_applications_outputs(twins: Twins) -> None:
    reference, ours = twins.theirs, twins.ours
    assert layer_shapes(ours) == layer_shapes(reference)
    assert ours.count_params() == reference.count_params()
    batch = images(2, reference.input_shape[1])
    expected = reference(batch, training=False).numpy()
    assert np.abs(expected[0] - expected[1]).max() > 0.1
    np.testing.assert_allclose(ours(batch, training=False).numpy(), expected, atol=1e-5)


def test_training_layers_are_those_of_keras_applications(twins: Twins) -> None:
    def dropouts(model: keras.Model) -> list[tuple[str, float, object]]:
        return [
            (layer.name, pytest.approx(layer.rate), layer.noise_shape)
            for layer in model.layers
            if isinstance(layer, keras.layers.Dropout)
        ]

    assert dropouts(twins.ours) == dropouts(twins.theirs)


@pytest.mark.parametrize("name", LITE_PARAMETERS)
def test_lite_has_the_published_number_of_parameters(name: str) -> None:
    assert efficientnet(name, input_size=32).count_params() == LITE_PARAMETERS[name]


def test_lite_preprocesses_to_about_minus_one_to_one() -> None:
    model = efficientnet(SMALL_LITE)
    rescaled = keras.Model(model.input, model.layers[1].output)
    extremes = np.stack([np.zeros((32, 32, 3)), np.full((32, 32, 3), 255)]).astype("float32")
    assert rescaled(extremes).numpy()[:, 0, 0, 0].tolist() == [-127 / 128, 1.0]


@pytest.mark.parametrize("stddev_rescaling", [False, True])
def test_b_preprocesses_by_imagenets_statistics(stddev_rescaling: bool) -> None:
    model = efficientnet(SMALL, stddev_rescaling=stddev_rescaling)
    normalization = next(
        layer for layer in model.layers if isinstance(layer, keras.layers.Normalization)
    )
    if stddev_rescaling:
        normalization.adapt_variance.assign([0.229, 0.224, 0.225])
        normalization.finalize_state()
    preprocess = keras.Model(model.input, model.get_layer("stem_conv_pad").input)
    batch = images(1, 32)
    mean, stddev = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    expected = (batch / np.float32(255) - mean) / stddev
    np.testing.assert_allclose(preprocess(batch).numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["b0", "lite0"])
def test_headless_gives_1280_features(name: str) -> None:
    model = efficientnet(name, input_size=64, include_top=False)
    assert model(images(1, 64)).shape == (1, 1280)


def test_any_number_of_classes_and_logits() -> None:
    model = efficientnet(SMALL_LITE, classes=7, classifier_activation=None)
    assert model.output_shape == (None, 7)
    assert model.layers[-1].activation is keras.activations.linear


def test_a_custom_scaling_builds() -> None:
    model = efficientnet(compound(width=0.5, depth=0.5, resolution=64), classes=3)
    assert model(images(2, 64)).shape == (2, 3)


def test_drop_connect_is_on_in_training_only() -> None:
    model = efficientnet("lite0", input_size=32, classes=3)
    batch = images(1, 32)
    first, second = (model(batch, training=False).numpy() for _ in range(2))
    np.testing.assert_array_equal(first, second)
    drop = model.get_layer("block2b_drop")
    ones = np.ones((512, 2, 2, 1), "float32")
    kept = drop(ones, training=True).numpy()
    # Whole images are dropped, never parts, and the rest makes up for them.
    assert set(np.unique(kept)) == {np.float32(0), np.float32(1 / (1 - drop.rate))}
    assert (np.ptp(kept, axis=(1, 2, 3)) == 0).all()


def test_a_saved_model_loads_without_edgenets_code(tmp_path: Path) -> None:
    model = efficientnet(SMALL, classes=3)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    modules = {type(layer).__module__.split(".")[0] for layer in loaded.layers}
    assert modules == {"keras"}
    batch = images(1, 32)
    np.testing.assert_array_equal(loaded(batch).numpy(), model(batch).numpy())


@pytest.mark.parametrize("arguments", [{"classes": 0}, {"input_size": 8}, {"input_size": 0}])
def test_impossible_sizes_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        efficientnet("b0", **arguments)  # type: ignore[arg-type]
