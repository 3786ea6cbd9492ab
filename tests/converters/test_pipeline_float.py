"""`convert(keep_float=...)`: layers that stay in float, whatever else is int8."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from converters.bisection.opening import open_bundle
from converters.pipeline import convert
from edgenet.bundle import MANIFEST, Bundle
from edgenet.errors import UsageError
from tests.converters.test_pipeline import listing

# None is a convolution that TFLite multiplies in int8 all the same.
KEPT = ["block3a_se_*", "block2b_dwconv"]
LAYERS = {
    *("block3a_se_squeeze", "block3a_se_reduce", "block3a_se_reduce_silu", "block3a_se_expand"),
    *("block3a_se_expand_sigmoid", "block3a_se_excite", "block2b_dwconv"),
}


def mixed(model: Path, output: Path, images: Path, **options: Any) -> Bundle:
    options = {"precision": "int8", "keep_float": KEPT, "calibration_images": 24, **options}
    return convert(model, output, calibration=images, crop_fraction=1.0, **options)


def same_files(one: Bundle, other: Bundle) -> bool:
    """Whether two bundles are the same to the byte."""
    names = listing(one.path)
    return names == listing(other.path) and all(
        (one.path / name).read_bytes() == (other.path / name).read_bytes()
        for name in names
        if (one.path / name).is_file()
    )


@pytest.fixture(scope="module")
def kept(tiny_models, texture_folder, tmp_path_factory) -> Bundle:
    """The tiny SiLU network with `KEPT` in float, all formats."""
    return mixed(tiny_models["b"], tmp_path_factory.mktemp("kept") / "bundle", texture_folder)


def test_layers_are_in_float_in_every_format(kept, tiny_bundle):
    assert kept.manifest.precision == "int8-mixed"
    operators = kept.manifest.recipe["float_operators"]
    assert operators == sorted(operators)
    assert {name.partition("/")[0] for name in operators} == LAYERS
    assert "float_operators_in" not in kept.manifest.recipe
    whole = Bundle.open(tiny_bundle)
    for format in whole.formats:
        assert kept.artifact(format).precision == "int8-mixed"
        assert kept.artifact(format).verified.sqnr_db > 10
        networks = [open_bundle(bundle, format, None).network for bundle in (kept, whole)]
        left, every = (
            {network.steps[number].layer for number in network.quantized} for network in networks
        )
        assert left.isdisjoint(LAYERS)
        assert left == every - LAYERS


def test_its_recipe_replays_byte_for_byte(kept, tiny_models, texture_folder, tmp_path):
    again = mixed(
        *(tiny_models["b"], tmp_path / "again", texture_folder),
        keep_float=(),
        recipe=kept.path / MANIFEST,
    )
    assert same_files(again, kept)


def test_a_recipes_names_are_layers_too(kept, tiny_models, texture_folder, tmp_path):
    again = mixed(
        *(tiny_models["b"], tmp_path / "again", texture_folder),
        keep_float=kept.manifest.recipe["float_operators"],
    )
    assert same_files(again, kept)


@pytest.mark.parametrize("precision", ["int8", "int8-mixed"])
def test_where_that_is_enough_no_more_is_in_float(tiny_models, texture_folder, tmp_path, precision):
    said: list[str] = []
    bundle = mixed(
        *(tiny_models["lite"], tmp_path / "out", texture_folder),
        keep_float="top_conv",
        precision=precision,
        formats=("onnx",),
        max_drop=50,
        report=said.append,
    )
    assert bundle.manifest.precision == "int8-mixed"
    assert bundle.manifest.recipe["float_operators"] == ["top_conv"]
    assert "1 layer in float" in said
    assert any(line.startswith("int8-mixed keeps ") for line in said)


def test_where_it_is_not_more_returns_to_float(tiny_models, texture_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("converters.quantization.search._MOST_FLOAT", 1.0)
    bundle = mixed(
        *(tiny_models["b"], tmp_path / "out", texture_folder),
        formats=("onnx", "openvino"),
        max_drop=0.1,
    )
    assert bundle.manifest.precision == "int8-mixed"
    recipe = bundle.manifest.recipe
    for operators in (recipe["float_operators"], *recipe.get("float_operators_in", {}).values()):
        assert {name.partition("/")[0] for name in operators} > LAYERS
    for artifact in bundle.manifest.artifacts:
        assert artifact.verified.sqnr_db > 20


def test_weights_alone_are_not_rounded_where_layers_stay_in_float(
    tiny_models, texture_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr("converters.quantization.search._MOST_FLOAT", 0.0)
    said: list[str] = []
    bundle = mixed(
        *(tiny_models["b"], tmp_path / "out", texture_folder),
        formats=("onnx",),
        max_drop=0.1,
        report=said.append,
    )
    assert any(line.startswith("int8-mixed stays at ") for line in said)
    assert bundle.manifest.precision == "fp16"
    assert "trying w8" not in said


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"keep_float": ["stem_conv", "blok2a_dwconv"]},
            "'blok2a_dwconv': the nearest are block2a",
        ),
        ({"keep_float": "stem_bn"}, "no layer that is called 'stem_bn': the nearest are stem_"),
        ({"keep_float": "conv9*"}, "no layer that is called 'conv9[*]': the nearest are "),
        ({"max_drop": 1, "strict": True}, "--strict is int8 throughout, which --keep-float is not"),
        ({"target": "intel-npu"}, "intel-npu does not run int8-mixed, which --keep-float makes"),
        ({"target": "ethos-u55-128"}, "ethos-u55-128 does not run int8-mixed"),
    ],
)
def test_what_contradicts_it_is_refused(tiny_models, texture_folder, tmp_path, options, said):
    with pytest.raises(UsageError, match=said):
        mixed(tiny_models["b"], tmp_path / "out", texture_folder, **options)
    assert listing(tmp_path) == []


def test_a_target_that_runs_floats_as_well_takes_it(tiny_models, texture_folder, tmp_path):
    bundle = mixed(
        *(tiny_models["lite"], tmp_path / "out", texture_folder),
        keep_float=["top_conv"],
        precision=None,
        target="cpu-arm",
    )
    assert bundle.manifest.precision == "int8-mixed"
    assert json.loads((bundle.path / MANIFEST).read_text())["recipe"]["float_operators"] == [
        "top_conv"
    ]
