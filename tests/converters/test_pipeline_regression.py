"""Models that tell quantities, from a .keras file to a bundle."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from converters.pipeline import convert
from converters.scheme.recipe import CALIBRATED
from edgenet.bundle import FORMATS, Bundle
from edgenet.errors import AccuracyError, UnsupportedModelError, UsageError
from edgenet.images import ImageFolder
from edgenet.measure.accuracy import r2
from edgenet.report.convert import text
from edgenet.runtime import load, load_artifact
from tests.converters.test_pipeline import headed, quick
from tests.networks import VALUES, Textures


def test_the_manifest_says_what_a_regression_answers(regression_bundle):
    manifest = Bundle.open(regression_bundle).manifest
    assert [output.name for output in manifest.outputs] == ["values", "features"]
    assert (manifest.task, manifest.answer.shape) == ("regression", (1, len(VALUES)))
    assert all(artifact.verified.agreement is None for artifact in manifest.artifacts)
    assert manifest.from_json(manifest.to_json()) == manifest


@pytest.fixture
def place(tmp_path) -> Path:
    return tmp_path / "bundle"


@pytest.mark.parametrize("format", FORMATS)
def test_each_value_keeps_its_place_in_int8_whatever_its_unit(regression_bundle, format):
    images = Textures.make(200, seed=5).images
    bundle = Bundle.open(regression_bundle)
    with load(bundle, format) as session, load_artifact(bundle, bundle.manifest.reference) as exact:
        values, reference = session.run(images), exact.run(images)
    assert values.shape == (200, len(VALUES))
    assert r2(reference, values) > 0.75


@pytest.mark.parametrize("end", ["sigmoid", "percent", "tanh"])
def test_what_follows_the_last_products_keeps_values_apart(
    tiny_regression, regression_bundle, texture_folder, place, end
):
    """In levels two hundred images would share some eighty values."""
    model = _ended(tiny_regression, end)
    options = {"task": "regression", "precision": "int8", "calibration": texture_folder}
    bundle = convert(model, place, effort="fast", **options)
    images = Textures.make(200, seed=5).images
    for format in FORMATS:
        values, kept = _kept(bundle, format, images)
        assert all(len(np.unique(column)) > 0.9 * len(images) for column in values.T)
        assert kept > _kept(Bundle.open(regression_bundle), format, images)[1] - 0.01


def _ended(path, end):
    """The regression, its values about 0 and of deviation 1, with more layers behind."""
    import keras
    from keras import layers

    model = keras.saving.load_model(path, compile=False)
    head, values = model.get_layer("predictions"), model.output
    weights, bias = head.get_weights()
    made = np.asarray(model(Textures.make(100, seed=4).images.astype(np.float32)))
    mean, spread = made.mean(axis=0), made.std(axis=0)
    head.set_weights([weights / spread, (bias - mean) / spread])
    for layer in {
        "sigmoid": [layers.Activation("sigmoid")],
        "percent": [layers.Activation("sigmoid"), layers.Rescaling(100.0)],
        "tanh": [layers.Activation("tanh")],
    }[end]:
        values = layer(values)
    return keras.Model(model.inputs, values, name=end)


def _kept(bundle, format, images):
    """What a file answers, and the R² of that by the float model's answers."""
    reference = bundle.manifest.reference
    with load(bundle, format) as session, load_artifact(bundle, reference) as exact:
        values = session.run(images)
        return values, r2(exact.run(images), values)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8", "dynamic", "w8a16"])
def test_a_regression_in_every_precision(tiny_regression, texture_folder, place, precision):
    options = {"calibration": texture_folder} if precision in CALIBRATED else {}
    bundle = convert(tiny_regression, place, precision=precision, task="regression", **options)
    assert all(artifact.verified.sqnr_db > 25 for artifact in bundle.manifest.artifacts)


@pytest.mark.parametrize("function", ["linear", "sigmoid", "relu", "tanh"])
@pytest.mark.parametrize("count", [1, 3])
def test_values_are_what_the_model_ends_in(tmp_path, place, function, count):
    import keras
    from keras import layers

    model = headed(tmp_path, layers.Dense(count, function))
    bundle = quick(model, place, task="regression")
    images = np.random.default_rng(1).integers(0, 256, (5, 32, 32, 3), np.uint8)
    with load(bundle) as session:
        found = session.run(images)
    expected = keras.saving.load_model(model, compile=False)(images.astype(np.float32))
    assert found == pytest.approx(np.asarray(expected), rel=1e-4, abs=1e-4)


def test_a_softmax_makes_no_values(tmp_path, place):
    from keras import layers

    with pytest.raises(UnsupportedModelError, match="leave --task regression off"):
        quick(headed(tmp_path, layers.Dense(3, "softmax")), place, task="regression")


def test_names_are_of_the_values(tmp_path, place):
    from keras import layers

    (tmp_path / "names.txt").write_text("age\nheight\n")
    model = headed(tmp_path, layers.Dense(1))
    with pytest.raises(UsageError, match=r"has 2 names, the model 1 value$"):
        quick(model, place, task="regression", labels=tmp_path / "names.txt")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "ranking"}, "no task is called 'ranking': take one of classification, regre"),
        ({"max_drop": 1.0}, "points of top-1, and a regression has no classes: take --min-r2"),
        ({"task": "classification", "min_r2": 0.9}, "a classifier has none: take --max-drop"),
        ({"min_r2": 1.5}, "--min-r2 1.5: it is at most 1, as in 0.97"),
        ({"min_r2": float("nan")}, "--min-r2 nan: it is at most 1"),
        ({"min_r2": 0.9}, "--min-r2 of fp32 is judged on images: add --evaluate DIR"),
        ({"precision": "int8", "strict": True}, "about what may be lost: add --min-r2"),
    ],
)
def test_what_does_not_go_with_a_regression(tiny_regression, place, options, message):
    with pytest.raises(UsageError, match=message):
        quick(tiny_regression, place, **{"task": "regression", **options})


def test_evaluation_tells_how_near_the_values_stay(tiny_regression, texture_folder, place):
    said: list[str] = []
    bundle = quick(
        tiny_regression,
        place,
        task="regression",
        precision="int8",
        calibration=texture_folder,
        effort="fast",
        evaluate=texture_folder,
        report=said.append,
    )
    (found,) = bundle.manifest.evaluation["results"]
    assert found["r2"] > 0.9
    assert (found["agreement"], found["top1"], found["drop_points"]) == (None,) * 3
    value = bundle.manifest.evaluation["worst_value"]
    error = f"mean error of {value} {found['mean_error']:.3g}"
    assert f"onnx: R² {found['r2']:.4f}, {error}" in said
    assert f"mean error of {value} of 100" in text(bundle, {"onnx": 1.0})


def test_operators_return_to_float_until_the_r2_holds(
    tiny_regression, texture_folder, tmp_path, monkeypatch
):
    """So small a network has most of its products in few operators: all of them may return."""
    monkeypatch.setattr("converters.quantization.search._MOST_FLOAT", 1.0)
    said: list[str] = []
    options = {
        "task": "regression",
        "precision": "int8",
        "calibration": texture_folder,
        "report": said.append,
    }
    given = (tiny_regression, tmp_path / "bundle")
    easy = quick(*given, min_r2=0.5, **options)
    assert easy.manifest.precision == "int8"
    kept = float(re.fullmatch(r"int8 keeps R² (0\.\d+) of the R² 0\.5000 wanted", said[-3])[1])
    wanted = (1 + kept) / 2
    with pytest.raises(AccuracyError, match="allow more with --min-r2, or leave out --strict"):
        quick(*given, min_r2=wanted, strict=True, **options)
    harder = quick(*given, min_r2=wanted, evaluate=texture_folder, **options)
    assert harder.manifest.precision == "int8-mixed"
    assert harder.manifest.recipe["float_operators"]
    (found,) = harder.manifest.evaluation["results"]
    assert found["r2"] > kept


def test_a_file_below_the_r2_is_not_written(tiny_regression, texture_folder, place):
    options = {"task": "regression", "evaluate": texture_folder, "precision": "w8"}
    with pytest.raises(AccuracyError, match=r"^w8 in onnx: the R² is 0\.\d+, .* written"):
        quick(tiny_regression, place, min_r2=1.0, **options)
    assert not place.exists()


def test_int8_is_chosen_by_what_changes_from_image_to_image(
    tiny_regression, texture_folder, tmp_path
):
    """A million more on each value is a louder signal, and takes nothing from what it tells."""
    import keras

    model = keras.saving.load_model(tiny_regression, compile=False)
    head = model.get_layer("predictions")
    weights, bias = head.get_weights()
    head.set_weights([weights, bias + np.float32(1000)])
    model.save(tmp_path / "loud.keras")
    images = np.stack([*_images(texture_folder)])
    kept = []
    for path in (tiny_regression, tmp_path / "loud.keras"):
        options = {"calibration": texture_folder, "effort": "fast", "precision": "int8"}
        made = quick(path, tmp_path / f"{path.stem}-int8", task="regression", **options)
        exact_bundle = quick(path, tmp_path / path.stem, task="regression")
        with load(made) as ours, load(exact_bundle) as exact:
            kept.append(r2(exact.run(images), ours.run(images)))
    assert kept[1] == pytest.approx(kept[0], abs=0.01)


def _images(folder):
    from edgenet.images import prepare

    names = ImageFolder.open(folder).sample(40).paths
    return [prepare(path, 64, 64, 1.0, "tf-bilinear") for path in names]
