"""`convert` in the precisions beside fp32, fp16 and int8: files, recipe, calibration, refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest

from converters.fallback import noise_allowed
from converters.formats import formats_of
from converters.pipeline import convert
from converters.quantization import quantize
from converters.quantization.search import decibels
from converters.scheme.recipe import Recipe
from converters.verify import PrecisionError
from edgenet.bundle import FORMATS, MANIFEST, Bundle
from edgenet.errors import AccuracyError, DeviceError, UsageError
from edgenet.models.weights import load_file
from edgenet.runtime import load
from tests.networks import CLASSES, Textures


def quick(model: Any, output: Path, precision: str, images: Path | None, **more: Any) -> Bundle:
    few = {} if images is None or precision == "bf16" else {"calibration_images": 24}
    return convert(
        model,
        output,
        precision=precision,
        calibration=images,
        crop_fraction=1.0,
        **few,
        **more,
    )


@pytest.mark.parametrize(
    ("precision", "activations", "sqnr"), [("w8", 32, 26), ("dynamic", 8, 26), ("w8a16", 16, 28)]
)
def test_all_formats_that_have_a_precision_are_written(
    tiny_models, texture_folder, tmp_path, precision, activations, sqnr
):
    bundle = quick(tiny_models["b"], tmp_path / "bundle", precision, texture_folder)
    manifest = bundle.manifest
    assert bundle.formats == formats_of(precision)
    assert manifest.precision == precision
    assert manifest.recipe["activations"]["bits"] == activations
    assert manifest.recipe["weights"] == {
        "bias_correction": False,
        "bits": 8,
        "granularity": "channel",
        "rounding": "least-squares",
        "symmetric": True,
    }
    assert manifest.calibration["images"] == 24
    assert manifest.reference.precision == "fp32"
    for artifact in manifest.artifacts:
        assert artifact.precision == precision
        assert artifact.verified.sqnr_db > sqnr
    recipe = json.loads((bundle.path / MANIFEST).read_text())["recipe"]
    assert Recipe.from_json(recipe).to_json() == recipe


@pytest.mark.parametrize("precision", ["w8", "dynamic"])
def test_weights_alone_need_no_images(tiny_models, tmp_path, precision):
    bundle = quick(tiny_models["b"], tmp_path / "bundle", precision, None, formats=("tflite",))
    manifest = bundle.manifest
    assert manifest.calibration is None
    assert manifest.recipe["weights"]["rounding"] == "nearest"
    assert manifest.recipe["ranges"] == {}
    assert manifest.artifacts[0].verified.sqnr_db > 15
    images = Textures.make(2, seed=1).images
    with load(bundle) as session:
        assert session.run(images).shape == (2, CLASSES)
        assert session.info.delegated_fraction == 1.0


def test_what_a_precision_loses_is_told_however_high_its_sqnr(
    tiny_models, tmp_path, texture_folder
):
    """A class that is never to be answered takes all levels of 16 bits for itself."""
    model = load_file(tiny_models["b"])
    weights, bias = model.get_layer("predictions").get_weights()
    model.get_layer("predictions").set_weights([weights, bias - 1e6 * (np.arange(CLASSES) == 0)])
    told: list[str] = []
    options = {"formats": ("tflite",), "report": told.append}
    bundle = quick(model, tmp_path / "bundle", "w8a16", texture_folder, **options)
    assert bundle.manifest.artifacts[0].verified.sqnr_db > 50
    loss = "w8a16 in tflite keeps only "
    assert any(line.startswith(loss) and line.endswith("another precision") for line in told)


def capabilities() -> list[str]:
    found: list[str] = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return found


def test_bf16_is_openvinos_and_of_cpus_that_have_it(tiny_models, tmp_path, texture_folder):
    target = tmp_path / "bundle"
    if "BF16" not in capabilities():
        with pytest.raises(DeviceError, match="has no bf16"):
            quick(tiny_models["b"], target, "bf16", texture_folder)
        assert not target.exists()
        return
    bundle = quick(tiny_models["b"], target, "bf16", texture_folder)
    assert bundle.formats == ("openvino",)
    assert bundle.manifest.recipe is bundle.manifest.calibration is None
    assert bundle.manifest.artifacts[0].verified.sqnr_db > 20
    with load(bundle) as session:
        assert session.info.precision == "bf16"


@pytest.mark.parametrize(
    ("precision", "format", "right"),
    [("bf16", "tflite", "openvino"), ("bf16", "onnx", "openvino"), ("dynamic", "onnx", "tflite")],
)
def test_a_format_without_the_precision_is_refused_before_the_work(
    tmp_path, precision, format, right
):
    with pytest.raises(UsageError, match=f"{format} has no {precision}: take --to {right}"):
        convert("no such model", tmp_path / "b", precision=precision, formats=(right, format))
    assert set(formats_of(precision)) < set(FORMATS)
    assert not (tmp_path / "b").exists()


def limited(tiny_models, texture_folder, tmp_path, drop: float, **more: Any) -> tuple[Bundle, str]:
    """What int8 becomes where so many points may be lost, and what was told of it."""
    lines: list[str] = []
    bundle = quick(
        *(tiny_models["b"], tmp_path / "bundle", "int8", texture_folder),
        **{"formats": ("onnx",), "max_drop": drop, "report": lines.append, **more},
    )
    return bundle, "\n".join(lines)


def test_int8_is_kept_where_its_noise_is_allowed_without_labels(
    tiny_models, texture_folder, tmp_path
):
    bundle, said = limited(tiny_models, texture_folder, tmp_path, 50.0)
    assert bundle.manifest.precision == "int8"
    assert "float_operators" not in bundle.manifest.recipe
    assert "int8 keeps" in said


@pytest.mark.parametrize("more", [{}, {"max_drop": 50.0}])
def test_where_noise_is_limited_rewrites_are_cheap_beside_float(
    tiny_models, texture_folder, tmp_path, monkeypatch, more
):
    told: list[bool] = []

    def spied(*arguments: Any, limited: bool, **options: Any) -> Any:
        told.append(limited)
        return honest(*arguments, limited=limited, **options)

    honest = quantize.rewrite_where_worth
    monkeypatch.setattr(quantize, "rewrite_where_worth", spied)
    options = {"formats": ("onnx",), **more}
    quick(tiny_models["b"], tmp_path / "bundle", "int8", texture_folder, **options)
    assert told == ["max_drop" in more]


def test_some_operators_return_to_float_where_it_is_not(
    tiny_models, texture_folder, tmp_path, monkeypatch
):
    """So small a network has most of its products in few operators: all of them may return."""
    monkeypatch.setattr("converters.quantization.search._MOST_FLOAT", 1.0)
    bundle = quick(
        *(tiny_models["b"], tmp_path / "bundle", "int8-mixed", texture_folder),
        formats=("onnx", "tflite"),
        max_drop=0.1,
    )
    assert bundle.manifest.precision == "int8-mixed"
    recipe = Recipe.from_json(bundle.manifest.recipe)
    for artifact in bundle.manifest.artifacts:
        assert artifact.precision == "int8-mixed"
        assert artifact.verified.sqnr_db > 25
        assert recipe.of(artifact.format).float_operators
    with load(bundle) as session:
        assert session.info.precision == "int8-mixed"


def test_of_a_mixed_bundle_a_format_may_be_int8_throughout(tiny_models, texture_folder, tmp_path):
    whole = quick(tiny_models["b"], tmp_path / "whole", "int8", texture_folder)
    recipe = dict(whole.manifest.recipe)
    recipe["float_operators"] = ["top_activation", "top_conv"]
    recipe["float_operators_in"] = {"openvino": []}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    mixed = quick(
        *(tiny_models["b"], tmp_path / "mixed", "int8", texture_folder),
        recipe=tmp_path / "recipe.json",
    )
    assert mixed.manifest.precision == "int8-mixed"
    assert mixed.manifest.recipe == recipe
    found = {artifact.format: artifact.precision for artifact in mixed.manifest.artifacts}
    assert found == {"tflite": "int8-mixed", "onnx": "int8-mixed", "openvino": "int8"}
    for format in whole.formats:
        files = [bundle.artifact(format).files for bundle in (whole, mixed)]
        assert (files[0] == files[1]) == (format == "openvino")


def test_where_little_may_be_lost_the_weights_alone_are_int8(
    tiny_models, texture_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("converters.quantization.search._MOST_FLOAT", 0.0)
    bundle, said = limited(tiny_models, texture_folder, tmp_path, 0.25)
    assert bundle.manifest.precision == "w8"
    assert bundle.manifest.recipe["activations"]["bits"] == 32
    assert "int8-mixed stays at" in said
    for artifact in bundle.manifest.artifacts:
        assert artifact.verified.sqnr_db > decibels(noise_allowed(0.25))


def test_where_nothing_may_be_lost_nothing_is_int8(tiny_models, texture_folder, tmp_path):
    bundle, said = limited(tiny_models, texture_folder, tmp_path, 0.0)
    assert bundle.manifest.precision == "fp16"
    assert "w8 in onnx: the SQNR is" in said
    assert "required\ntrying fp16" in said


def test_bf16_is_held_to_the_noise_that_is_allowed(
    tiny_models, texture_folder, tmp_path, monkeypatch
):
    """Where the CPU has it: elsewhere it is not tried."""
    monkeypatch.setattr("converters.quantization.search._MOST_FLOAT", 0.0)
    bundle, said = limited(tiny_models, texture_folder, tmp_path, 0.0, formats=("openvino",))
    assert bundle.manifest.precision == "fp16"
    assert ("bf16 in openvino: the SQNR is" in said) == ("BF16" in capabilities())


def test_a_target_gets_what_it_runs(tiny_models, texture_folder, tmp_path):
    bundle, said = limited(
        tiny_models, texture_folder, tmp_path, 0.1, formats=None, target="intel-npu"
    )
    assert bundle.manifest.precision == "fp16"
    assert set(bundle.formats) == {"tflite", "openvino"}
    assert "w8" not in said
    assert "int8-mixed" not in said


def test_an_engine_that_errs_is_no_reason_for_another_precision(
    tiny_models, texture_folder, tmp_path, monkeypatch
):
    """As if int8's arithmetic kept far more than the engine does."""
    monkeypatch.setattr("converters.verify._OTHERWISE_DB", -60.0)
    with pytest.raises(AccuracyError, match=r"^on this CPU .* kernels err here"):
        limited(tiny_models, texture_folder, tmp_path, 50.0)
    assert list(tmp_path.iterdir()) == []


def test_strictly_it_is_int8_or_nothing(tiny_models, texture_folder, tmp_path):
    with pytest.raises(AccuracyError, match=r"int8 keeps .* wanted for a drop of 0 points"):
        limited(tiny_models, texture_folder, tmp_path, 0.0, strict=True)
    assert list(tmp_path.iterdir()) == []


def test_with_labels_every_attempt_is_judged_and_the_last_failure_leaves_nothing(
    tiny_models, texture_folder, tmp_path, monkeypatch
):
    """As if each lost more than is allowed: no labels do that to fp16."""

    def judge(*_: object) -> None:
        raise PrecisionError("it drops 1 point")

    monkeypatch.setattr("converters.writing.judge", judge)
    lines: list[str] = []
    with pytest.raises(AccuracyError, match="nothing was written"):
        quick(
            *(tiny_models["b"], tmp_path / "bundle", "int8", texture_folder),
            formats=("onnx",),
            evaluate=texture_folder,
            max_drop=0.13,
            report=lines.append,
        )
    (place,) = (place for place, line in enumerate(lines) if line.startswith("trying "))
    assert lines[place] == "trying fp16"
    assert lines[place - 1] == "it drops 1 point"
    assert "lowering to onnx w8 and verifying" in lines
    assert list(tmp_path.iterdir()) == []
