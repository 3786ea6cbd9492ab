"""From a .keras file to a bundle: what is in it, and that a failure leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from converters.pipeline import convert
from converters.scheme.recipe import Recipe
from edgenet.bundle import MANIFEST, Bundle, sha256_of
from edgenet.errors import AccuracyError, EdgenetError, UnsupportedModelError, UsageError
from edgenet.images import ImageError, ImageFolder
from edgenet.runtime import load
from tests.networks import CLASSES, SIZE, Textures


def listing(folder: Path) -> list[str]:
    """Everything in a folder, hidden or not, deep."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.fixture
def damaged_folder(texture_folder: Path, tmp_path: Path) -> Path:
    """Twenty textures, the eighth a JPEG that was cut short."""
    folder = tmp_path / "damaged"
    folder.mkdir()
    for index in range(20):
        shutil.copy(texture_folder / f"{index:03}.png", folder)
    photo = folder / "007.jpg"
    Image.open(folder / "007.png").save(photo)
    (folder / "007.png").unlink()
    photo.write_bytes(photo.read_bytes()[:-400])
    return folder


def quick(model: Path, output: Path, **options: Any) -> Bundle:
    """A conversion that is over soon."""
    return convert(model, output, **{"formats": ("onnx",), **options})


def test_another_process_may_take_the_place_at_once(tiny_models, place, monkeypatch):
    monkeypatch.setattr("edgenet.staging._replace", lambda target, staging: None)
    assert quick(tiny_models["lite"], place / "out").path == place / "out"


def test_a_bundle_holds_what_its_manifest_says(tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    assert listing(tiny_bundle) == [
        *("labels.txt", "manifest.json", "model.bin", "model.onnx", "model.tflite", "model.xml"),
        *("reference", "reference/model.tflite"),
    ]
    assert bundle.formats == ("tflite", "onnx", "openvino")
    assert bundle.manifest.reference is not None
    for artifact in (*bundle.manifest.artifacts, bundle.manifest.reference):
        assert bundle.model_path(artifact).is_file()
        assert artifact.bytes == sum((tiny_bundle / f.path).stat().st_size for f in artifact.files)
    assert bundle.labels() == tuple(f"stripes {index}" for index in range(CLASSES))


def test_each_file_tells_its_class_names_by_itself(tiny_bundle):
    for path in (*tiny_bundle.glob("model.*"), tiny_bundle / "reference" / "model.tflite"):
        assert path.suffix == ".bin" or b"stripes" in path.read_bytes()


def test_the_manifest_keeps_the_contract(tiny_bundle, tiny_models, texture_folder):
    document = json.loads((tiny_bundle / MANIFEST).read_text())
    assert document["schema_version"] == 1
    assert document["source"] == {"file": "tiny-b.keras", "sha256": sha256_of(tiny_models["b"])}
    assert document["input"] == {
        "name": "image",
        "shape": [1, SIZE, SIZE, 3],
        "dtype": "uint8",
        "layout": "NHWC",
        "preprocessing": "in the model, which takes RGB 0..255",
        "crop_fraction": 1.0,
        "interpolation": "tf-bilinear",
    }
    assert [output["name"] for output in document["outputs"]] == [
        *("logits", "probabilities", "features")
    ]
    assert document["outputs"][0]["shape"] == [1, CLASSES]
    assert document["precision"] == "int8"
    assert set(document["recipe"]) == {"activations", "weights", "ranges", "rewrites"}
    assert document["recipe"]["weights"]["bias_correction"] is True
    assert document["calibration"]["images"] == 40
    assert len(document["calibration"]["sha256"]) == 64
    assert document["reference"]["precision"] == "fp32"
    assert {"edgenet", "tensorflow", "keras", "onnxruntime"} <= document["versions"].keys()


def test_every_file_was_verified(tiny_bundle):
    manifest = Bundle.open(tiny_bundle).manifest
    for artifact in manifest.artifacts:
        assert artifact.verified.images == 60  # those of the folder that did not calibrate
        assert artifact.verified.agreement >= 0.95
        assert artifact.verified.sqnr_db > 12
    assert manifest.reference.verified.agreement == 1.0
    assert manifest.reference.verified.max_error < 1e-3


def test_a_float_bundle_is_its_own_reference(tiny_float_bundle):
    manifest = Bundle.open(tiny_float_bundle).manifest
    assert manifest.reference is manifest.recipe is manifest.calibration is None
    for artifact in manifest.artifacts:
        assert artifact.verified.agreement == 1.0
        assert artifact.verified.max_error < 1e-3


def test_the_bundle_answers(tiny_bundle):
    data = Textures.make(40, seed=11)
    for format in Bundle.open(tiny_bundle).formats:
        with load(tiny_bundle, format) as session:
            right = session.run(data.images).argmax(axis=1) == data.labels
        assert np.mean(right) > 0.8


def test_fp16_halves_and_answers(tiny_models, place, texture_folder):
    bundle = convert(
        tiny_models["lite"], place / "out", precision="fp16", calibration=texture_folder
    )
    for artifact in bundle.manifest.artifacts:
        assert artifact.precision == "fp16"
        assert artifact.verified.sqnr_db > 50
        assert artifact.verified.agreement == 1.0


def test_a_batch_and_formats_of_choice(tiny_models, place, texture_folder):
    bundle = quick(
        *(tiny_models["lite"], place / "out"),
        formats=("openvino", "tflite", "openvino"),
        batch=3,
        calibration=texture_folder,
    )
    assert bundle.formats == ("openvino", "tflite")
    assert bundle.manifest.input.shape == (3, SIZE, SIZE, 3)
    images = Textures.make(7, seed=2).images
    with load(bundle, "openvino") as first, load(bundle, "tflite") as second:
        assert first.run(images) == pytest.approx(second.run(images), abs=1e-3)


def test_without_a_folder_photographs_calibrate(tiny_models, place):
    bundle = quick(tiny_models["lite"], place / "out", precision="int8", calibration_images=6)
    assert bundle.manifest.calibration["images"] == 6
    assert "scikit-image" in bundle.manifest.calibration["source"]
    assert bundle.labels() is None


def test_numbers_may_be_numpys(tiny_models, place):
    options = {"batch": np.int64(2), "crop_fraction": np.float32(0.875)}
    bundle = quick(tiny_models["lite"], place / "out", formats=("onnx",), **options)
    assert bundle.manifest.input.shape[0] == 2
    assert bundle.manifest.input.crop_fraction == 0.875


def test_an_untrained_network_converts(place):
    """Its answers are all alike but for the last bits, so that rounding decides the best class."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Conv2D(8, 3, activation="swish")(keras.layers.Rescaling(1 / 255)(inputs))
    x = keras.layers.GlobalAveragePooling2D()(x)
    start = {"kernel_initializer": keras.initializers.RandomNormal(stddev=1e-7)}
    outputs = keras.layers.Dense(10, bias_initializer="ones", **start)(x)
    keras.Model(inputs, outputs).save(place / "fresh.keras")
    for precision in ("fp32", "fp16"):
        quick(place / "fresh.keras", place / precision, precision=precision)


def test_preprocessing_that_is_told_is_kept_in_the_manifest(place):
    import keras

    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
    outputs = keras.layers.Dense(3)(keras.layers.GlobalAveragePooling2D()(x))
    keras.Model(inputs, outputs).save(place / "bare.keras")
    bundle = quick(place / "bare.keras", place / "out", preprocess="torch", input_size=40)
    told = bundle.manifest.input.preprocessing
    assert told == "in the model (torch), which takes RGB 0..255"
    assert bundle.manifest.input.shape == (1, 40, 40, 3)


def test_an_older_bundle_is_replaced_and_other_things_are_not(tiny_models, place):
    lines: list[str] = []
    told = f"{place / 'out'} is there: it is replaced when all is done"
    quick(tiny_models["lite"], place / "out", report=lines.append)
    before = (place / "out" / MANIFEST).read_text()
    assert told not in lines
    quick(tiny_models["b"], place / "out", formats=("tflite",), report=lines.append)
    assert told in lines
    assert listing(place) == ["out", "out/manifest.json", "out/model.tflite"]
    assert (place / "out" / MANIFEST).read_text() != before
    (place / "thesis").mkdir()
    (place / "thesis" / "draft.txt").write_text("years of work")
    with pytest.raises(
        UsageError, match=r"other things in it \(draft\.txt\): name another place with -o"
    ):
        quick(tiny_models["lite"], place / "thesis")
    assert (place / "thesis" / "draft.txt").read_text() == "years of work"


def test_a_failure_leaves_an_older_bundle_as_it_was(tiny_models, place, texture_folder):
    quick(tiny_models["lite"], place / "out")
    before = {name: (place / name).stat() for name in listing(place)}
    with pytest.raises(AccuracyError):
        quick(
            *(tiny_models["lite"], place / "out"),
            precision="int8",
            calibration=texture_folder,
            calibration_images=16,
            effort="fast",
            max_drop=0.01,
            strict=True,
        )
    assert {name: (place / name).stat() for name in listing(place)} == before


def test_a_damaged_calibration_image_stops_and_is_named(tiny_models, place, damaged_folder):
    with pytest.raises(ImageError, match=r"007\.jpg is a damaged image"):
        quick(tiny_models["lite"], place / "out", precision="int8", calibration=damaged_folder)
    assert listing(place) == []


@pytest.mark.parametrize(("count", "used"), [(20, 20), (4, 4)])
def test_a_damaged_image_is_left_out_where_the_user_chose(
    tiny_models, place, damaged_folder, count, used
):
    """Once told, though the folder is read for every file that is verified."""
    lines: list[str] = []
    bundle = quick(
        *(tiny_models["lite"], place / "out"),
        formats=("onnx", "tflite"),
        precision="int8",
        calibration=damaged_folder,
        calibration_images=count,
        skip_damaged=True,
        report=lines.append,
    )
    assert len([line for line in lines if "007.jpg" in line]) == 1
    assert bundle.manifest.calibration["images"] == used


def test_of_one_photo_it_is_told_that_figures_on_it_are_optimistic(
    tiny_models, place, texture_folder, tmp_path
):
    shutil.copy(texture_folder / "000.png", tmp_path)
    lines: list[str] = []
    quick(
        *(tiny_models["lite"], place / "out"),
        precision="int8",
        calibration=tmp_path,
        calibration_images=8,
        report=lines.append,
    )
    told = "calibrating on 1 different image and crops: int8 keeps more accuracy with 100 or more, "
    assert f"{told}and figures measured on these are optimistic" in lines


@pytest.mark.parametrize(("asked", "looked_at"), [(None, 27), (30, 30)])
def test_the_fast_effort_looks_at_fewer_images_unless_told_otherwise(
    tiny_models, place, texture_folder, asked, looked_at
):
    bundle = quick(
        *(tiny_models["lite"], place / "out"),
        precision="int8",
        calibration=texture_folder,
        calibration_images=asked,
        effort="fast",
    )
    assert bundle.manifest.calibration == {
        "source": "folder",
        "images": looked_at,
        "sha256": ImageFolder.open(texture_folder).sample(looked_at).digest(),
    }


def test_damaged_images_to_evaluate_on_are_left_out_where_the_user_chose(
    tiny_models, place, damaged_folder
):
    """Each told once, of whichever folder, though some are named alike."""
    (damaged_folder / "003.png").write_bytes(b"")
    judged = shutil.copytree(damaged_folder, damaged_folder.parent / "judged")
    (judged / "005.png").write_bytes(b"")
    lines: list[str] = []
    quick(
        *(tiny_models["lite"], place / "out"),
        calibration=damaged_folder,
        evaluate=judged,
        skip_damaged=True,
        report=lines.append,
    )
    told = [line.split(":")[0] for line in lines if line.startswith("left out")]
    assert sorted(told[:2]) == ["left out 003.png", "left out 007.jpg"]
    assert told[2:] == ["left out 003.png", "left out 005.png", "left out 007.jpg"]


def foreign_model(folder: Path) -> Path:
    import keras

    inputs = keras.Input((32, 32, 3))
    x = keras.layers.MaxPooling2D(name="pool")(keras.layers.Rescaling(1 / 255)(inputs))
    outputs = keras.layers.Dense(3)(keras.layers.Flatten()(x))
    keras.Model(inputs, outputs).save(folder / "foreign.keras")
    return folder / "foreign.keras"


def text_model(folder: Path) -> Path:
    (folder / "text.keras").write_text("not a model")
    return folder / "text.keras"


FAILURES: dict[str, tuple[dict[str, Any], type[EdgenetError], str]] = {
    "no such file": ({"model": "gone.keras"}, UsageError, "no such file"),
    "a text file": ({"model": text_model}, UsageError, "not a Keras model, or cut short"),
    "another family": ({"model": foreign_model}, UnsupportedModelError, "'pool' (MaxPooling2D)"),
    "unknown precision": ({"precision": "int4"}, UsageError, "take one of fp32, fp16, bf16, int8"),
    "unknown format": ({"formats": ["coreml"]}, UsageError, "tflite, onnx, openvino"),
    "no format": ({"formats": []}, UsageError, "tflite, onnx, openvino"),
    "unknown rule": ({"range_rule": "magic"}, UsageError, "by-role, min-max"),
    "unknown rounding": ({"rounding": "up"}, UsageError, "least-squares, nearest"),
    "unknown step": (
        {"without": ["sleep"]},
        UsageError,
        "streams, silu, lifting, splitting, piecewise, correction",
    ),
    "unknown effort": ({"effort": "some"}, UsageError, "take one of fast, thorough"),
    "no such recipe": ({"recipe": "gone.json"}, UsageError, "cannot read the recipe gone.json"),
    "no recipe": ({"recipe": "two.txt"}, UsageError, "two.txt is not JSON"),
    "strict about nothing": ({"strict": True}, UsageError, "what may be lost: add --max-drop"),
    "gate of a replay without images": (
        {"precision": "int8", "recipe": "recipe.json", "max_drop": 1.0},
        UsageError,
        "--recipe replays a decision, so --max-drop can only be judged: add --evaluate DIR",
    ),
    "strict replay": (
        {
            "precision": "int8",
            "recipe": "recipe.json",
            "max_drop": 1.0,
            "evaluate": "labelled",
            "strict": True,
        },
        UsageError,
        "leave --strict off",
    ),
    "recipe of a float bundle": (
        {"precision": "int8", "recipe": "float.json"},
        UsageError,
        "the recipe must be an object: take the recipe of a bundle's manifest.json",
    ),
    "gate without a limit": ({"max_drop": float("nan")}, UsageError, "a number of points"),
    "gate of a gain": (
        {"precision": "int8", "max_drop": -0.5},
        UsageError,
        "--max-drop -0.5: it is a number of points, 0 or more",
    ),
    "strict without a limit": (
        {"precision": "fp16", "max_drop": 1.0, "evaluate": "labelled", "strict": True},
        UsageError,
        "nothing for --strict to decide in fp16: take --int8, or leave it off",
    ),
    "unknown interpolation": (
        {"interpolation": "lanczos"},
        UsageError,
        "take one of bicubic, bilinear, tf-bilinear",
    ),
    "unknown preprocessing": ({"preprocess": "caffe"}, UsageError, "raw, unit, tf"),
    "contradicted preprocessing": ({"preprocess": "tf"}, UsageError, "leave --preprocess off"),
    "empty batch": ({"batch": 0}, UsageError, "1 image or more"),
    "gate without images": ({"max_drop": 1.0}, UsageError, "add --evaluate DIR"),
    "gate without labels": (
        {"max_drop": 1.0, "evaluate": "unlabelled"},
        UsageError,
        "--max-drop needs labels",
    ),
    "empty folder": ({"calibration": "empty"}, UsageError, "no images in"),
    "no such folder": ({"calibration": "nowhere"}, UsageError, "no such folder of images"),
    "nothing to evaluate on": ({"evaluate": "nowhere"}, UsageError, "no such folder of images"),
    "no images": ({"precision": "int8", "calibration_images": 0}, UsageError, "1 or more"),
    "impossible crop": ({"crop_fraction": 1.5}, UsageError, "crop fraction"),
    "too few labels": ({"labels": "two.txt"}, UsageError, f"2 names, the model {CLASSES} classes"),
    "no such head": ({"head": "other"}, UsageError, "take one of predictions"),
    "wrong size": ({"input_size": 96}, UsageError, "leave --input-size off"),
}


def headed(folder: Path, *head: Any) -> Path:
    """A model file whose head is these layers."""
    from keras import Sequential, layers

    front = [layers.Input((32, 32, 3)), layers.Rescaling(1 / 255), layers.Conv2D(4, 3)]
    path = folder / "headed.keras"
    Sequential([*front, layers.GlobalAveragePooling2D(), *head]).save(path)
    return path


@pytest.mark.parametrize("count", [1, 3])
def test_a_single_sigmoid_wants_two_names(tmp_path, place, count):
    from keras import layers

    (tmp_path / "names.txt").write_text("cat\n" * count)
    with pytest.raises(UsageError, match=rf"{count} names?, the model 2 classes") as caught:
        quick(headed(tmp_path, layers.Dense(1, "sigmoid")), place, labels=tmp_path / "names.txt")
    assert ("name first what 0 means" in str(caught.value)) == (count == 1)


@pytest.mark.parametrize("function", ["linear", "relu", "tanh", "softmax"])
def test_linear_values_that_become_classes_are_told(tmp_path, place, function):
    from keras import layers

    lines: list[str] = []
    quick(headed(tmp_path, layers.Dense(3, function)), place, report=lines.append)
    told = [line for line in lines if f"ends in 3 {function} values" in line]
    assert len(told) == (function != "softmax")
    for line in told:
        assert "Where several may be true" in line
        assert "of a regression, add --task regression" in line


@pytest.mark.parametrize("named", ["own", "keras"])
def test_a_function_that_a_file_only_names_is_told(tmp_path, place, named):
    from keras import layers, ops

    def swish(x):
        return ops.silu(x)

    lines: list[str] = []
    function = swish if named == "own" else "swish"
    quick(headed(tmp_path, layers.Dense(3, function)), place, report=lines.append)
    told = [line for line in lines if "an activation 'swish' that was not Keras's own" in line]
    assert len(told) == (named == "own")


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_what_and_leaves_nothing_behind(
    tiny_models, tmp_path, place, monkeypatch, name
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "unlabelled").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "unlabelled" / "a.png")
    (tmp_path / "two.txt").write_text("a\nb\n")
    (tmp_path / "labelled" / "a").mkdir(parents=True)
    shutil.copy(tmp_path / "unlabelled" / "a.png", tmp_path / "labelled" / "a")
    (tmp_path / "recipe.json").write_text(json.dumps(Recipe("by hand", {}).to_json()))
    (tmp_path / "float.json").write_text(json.dumps({"recipe": None}))
    options, kind, said = FAILURES[name]
    chosen = options.get("model", tiny_models["lite"])
    model = chosen(tmp_path) if callable(chosen) else chosen
    options = {key: value for key, value in options.items() if key != "model"}
    with pytest.raises(kind) as caught:
        quick(model, place / "out", **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert listing(place) == []


def test_progress_is_told_step_by_step(tiny_models, place, texture_folder):
    lines: list[str] = []
    quick(
        *(tiny_models["lite"], place / "out"),
        precision="int8",
        calibration=texture_folder,
        calibration_images=40,
        report=lines.append,
    )
    text = "\n".join(lines)
    for step in (
        *("loading", "asking Keras", "looking for rewrites", "calibrating: 16 of 26"),
        *("calibrating: 26 of 26", "rounding weights", "lowering to onnx int8"),
    ):
        assert step in text
