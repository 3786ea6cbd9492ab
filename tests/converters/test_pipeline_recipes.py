"""An earlier bundle's decision, made again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from converters.pipeline import convert
from edgenet.bundle import MANIFEST, Bundle
from edgenet.errors import UsageError
from edgenet.models.weights import load_file
from edgenet.runtime import load
from tests.converters.test_pipeline import listing, quick
from tests.networks import Textures, tiny_network


def test_a_recipe_replays_byte_for_byte(
    tiny_bundle, tiny_models, tiny_labels, place, texture_folder
):
    bundle = convert(
        *(tiny_models["b"], place / "out"),
        precision="int8",
        labels=tiny_labels,
        calibration=texture_folder,
        calibration_images=40,
        recipe=tiny_bundle / MANIFEST,
    )
    assert listing(bundle.path) == listing(tiny_bundle)
    for name in listing(tiny_bundle):
        if (tiny_bundle / name).is_file():
            assert (bundle.path / name).read_bytes() == (tiny_bundle / name).read_bytes()


def test_a_recipe_of_another_network_is_refused(tiny_bundle, tiny_models, place, texture_folder):
    with pytest.raises(UsageError, match="the recipe is of another network"):
        quick(
            *(tiny_models["lite"], place / "out"),
            precision="int8",
            calibration=texture_folder,
            recipe=tiny_bundle / MANIFEST,
        )
    assert listing(place) == []


OTHER_WEIGHTS = "the recipe was made for other weights, and its ranges are theirs"


def further(model: Any) -> Any:
    """The model with a head that was trained further."""
    head = model.get_layer("predictions")
    head.set_weights([values * 1.1 for values in head.get_weights()])
    return model


def test_a_recipe_of_other_weights_is_told_of(tiny_bundle, tiny_models, place, texture_folder):
    further(load_file(tiny_models["b"])).save(place / "further.keras")
    (place / "same.keras").write_bytes(tiny_models["b"].read_bytes())
    for name, told in (("further", True), ("same", False)):
        said: list[str] = []
        quick(
            *(place / f"{name}.keras", place / name),
            precision="int8",
            calibration=texture_folder,
            recipe=tiny_bundle / MANIFEST,
            report=said.append,
        )
        assert (OTHER_WEIGHTS in said) is told


def test_so_is_one_of_a_model_in_memory(tiny_bundle, tiny_models, place, texture_folder):
    """Whose file tells nothing of it: each time it is saved to another."""
    model = load_file(tiny_models["b"])
    options = {"precision": "int8", "calibration": texture_folder}
    quick(model, place / "first", **options)
    for name, made_for, told in (
        ("file", tiny_bundle, False),
        ("same", place / "first", False),
        ("further", place / "first", True),
    ):
        said: list[str] = []
        given = further(model) if name == "further" else model
        recipe = made_for / MANIFEST
        quick(given, place / name, recipe=recipe, report=said.append, **options)
        assert (OTHER_WEIGHTS in said) is told


def test_a_recipe_replays_on_the_network_built_again(
    tiny_bundle, tiny_models, tiny_labels, place, texture_folder
):
    """In a process that has made other layers, as a notebook does."""
    import keras

    for _ in range(50):
        keras.layers.Rescaling(1)
        keras.layers.Normalization()
    said: list[str] = []
    bundle = convert(
        *(tiny_network("b"), place / "out"),
        precision="int8",
        labels=tiny_labels,
        calibration=texture_folder,
        calibration_images=40,
        recipe=tiny_bundle / MANIFEST,
        report=said.append,
    )
    assert any("numbered otherwise than in the recipe: normalization" in line for line in said)
    made, found = Bundle.open(tiny_bundle).manifest.recipe, bundle.manifest.recipe
    assert sorted(made["ranges"].values()) == sorted(found["ranges"].values())
    assert len(set(found["ranges"]) - set(made["ranges"])) == 1
    images = Textures.make(8, seed=5).images
    for format in bundle.formats:
        with load(tiny_bundle, format) as expected, load(bundle, format) as got:
            np.testing.assert_array_equal(got.run(images), expected.run(images))
