"""What cannot be, or would change nothing, is refused before any work."""

from __future__ import annotations

from typing import Any

import pytest

from converters.pipeline import convert
from edgenet.bundle import MANIFEST
from edgenet.errors import UsageError
from tests.converters.test_pipeline import listing, quick


@pytest.mark.parametrize("precision", ["fp32", "fp16", "w8"])
def test_a_recipe_is_not_taken_for_nothing(tiny_bundle, tiny_models, tmp_path, precision):
    with pytest.raises(UsageError, match=f"nothing for --recipe to decide in {precision}"):
        quick(
            *(tiny_models["lite"], tmp_path / "out"),
            precision=precision,
            recipe=tiny_bundle / MANIFEST,
        )
    assert listing(tmp_path) == []


@pytest.mark.parametrize("option", ["range_rule", "rounding", "keep_float"])
def test_what_a_recipe_says_is_not_said_again(tiny_bundle, tiny_models, tmp_path, option):
    values = {"range_rule": "min-max", "rounding": "nearest", "keep_float": ["top_conv"]}
    name = f"--{option.replace('_', '-')}"
    with pytest.raises(UsageError, match=f"--recipe says what {name} would: leave {name} off"):
        quick(
            *(tiny_models["b"], tmp_path / "out"),
            precision="int8",
            recipe=tiny_bundle / MANIFEST,
            **{option: values[option]},
        )
    assert listing(tmp_path) == []


def test_one_name_need_not_be_a_list(tiny_models, tmp_path):
    bundle = convert(tiny_models["lite"], tmp_path / "out", formats="onnx")
    assert bundle.formats == ("onnx",)
    with pytest.raises(UsageError, match="no step is called 'magic'"):
        convert(tiny_models["lite"], tmp_path / "b", precision="int8", without="magic")


# What decides something in int8, by how it is given; at its default it is given too.
DECIDING: dict[str, dict[str, Any]] = {
    "--calibration-images": {"calibration_images": 40},
    "--range-rule": {"range_rule": "by-role"},
    "--rounding": {"rounding": "least-squares"},
    "--without": {"without": ["silu"]},
    "--effort": {"effort": "thorough"},
    "--keep-float": {"keep_float": ["top_conv"]},
}
# What decides nothing whatever the images: of weights alone no ranges are held, and what is not in
# 8 bits is not rewritten.
IDLE = {
    "fp32": tuple(DECIDING),
    "fp16": tuple(DECIDING),
    "bf16": tuple(DECIDING),
    "int8": (),
    "int8-mixed": (),
    "w8a16": ("--without", "--keep-float"),
    "w8": ("--range-rule", "--without", "--keep-float"),
    "dynamic": ("--range-rule", "--without", "--keep-float"),
}


@pytest.mark.parametrize("option", DECIDING)
@pytest.mark.parametrize("precision", IDLE)
def test_an_option_is_not_taken_for_nothing(tmp_path, texture_folder, precision, option):
    idle = f"nothing for {option} to decide in {precision}: take --int8, or leave it off"
    with pytest.raises(UsageError) as caught:
        convert(
            *("no such model", tmp_path / "out"),
            precision=precision,
            calibration=texture_folder,
            **DECIDING[option],
        )
    assert (idle in str(caught.value)) == (option in IDLE[precision])
    assert ("no such model: no such file" in str(caught.value)) == (option not in IDLE[precision])
    assert listing(tmp_path) == []


@pytest.mark.parametrize("option", ["--calibration-images", "--rounding", "--effort"])
@pytest.mark.parametrize("precision", ["w8", "dynamic"])
def test_weights_are_rounded_on_images_that_are_given(tmp_path, precision, option):
    with pytest.raises(UsageError, match=f"{option} to decide in {precision}: add --calibration"):
        convert("no such model", tmp_path / "out", precision=precision, **DECIDING[option])


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_images_that_set_nothing_are_told(tiny_models, tmp_path, texture_folder, precision):
    lines: list[str] = []
    quick(
        *(tiny_models["lite"], tmp_path / "out"),
        precision=precision,
        calibration=texture_folder,
        report=lines.append,
    )
    assert f"{precision} needs no --calibration: take --int8 to calibrate on it" in lines


def test_nor_in_the_precision_that_a_target_chooses(tiny_models, tmp_path):
    with pytest.raises(UsageError, match="nothing for --without to decide in w8a16"):
        quick(tiny_models["b"], tmp_path / "out", target="qualcomm:SM8650", without=["silu"])
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    "limit", [{"max_drop": 0.5}, {"min_r2": 0.9, "task": "regression"}], ids=["drop", "r2"]
)
def test_images_that_set_all_ranges_are_none_to_judge_by(texture_folder, tmp_path, limit):
    def refusal(images: int, **options: Any) -> str:
        options |= {"precision": "int8", "calibration_images": images, **limit}
        with pytest.raises(UsageError) as caught:
            convert("no such model", tmp_path / "out", **options)
        return str(caught.value)

    option = "--max-drop" if "max_drop" in limit else "--min-r2"
    assert refusal(5) == (
        f"{option} is judged on images that set no ranges, and of 5 images none is left for that: "
        "take 6 or more, as in --calibration-images 128, or add --evaluate DIR"
    )
    assert "of 1 image none is left" in refusal(1)
    assert "no such file" in refusal(6)
    assert "no such file" in refusal(5, evaluate=texture_folder)


@pytest.mark.parametrize("option", ["calibration", "evaluate"])
def test_a_folder_of_images_is_looked_for_before_the_model_is_loaded(tmp_path, option):
    lines: list[str] = []
    options: dict[str, Any] = {option: tmp_path / "nowhere", "report": lines.append}
    with pytest.raises(UsageError, match=r"no such folder of images: .*nowhere"):
        convert("lite0", tmp_path / "out", precision="int8", **options)
    assert lines == []


def test_damaged_images_are_skipped_of_a_folder_alone(tmp_path):
    with pytest.raises(UsageError, match=r"^--skip-damaged is for photos of a folder: add --cal"):
        convert("lite0", tmp_path / "out", skip_damaged=True)
