"""What `convert` judges its result on: labelled images, and which of them are refused or told."""

from __future__ import annotations

import pytest
from PIL import Image

from converters.pipeline import convert
from edgenet.errors import UsageError
from tests.converters.test_pipeline import listing, quick
from tests.networks import SIZE


def test_evaluation_reports_every_format_and_passes_the_gate(tiny_models, place, texture_folder):
    lines: list[str] = []
    convert(
        *(tiny_models["b"], place / "out"),
        precision="int8",
        calibration=texture_folder,
        calibration_images=40,
        evaluate=texture_folder,
        max_drop=5.0,
        report=lines.append,
    )
    for format in ("tflite", "onnx", "openvino"):
        assert any(line.startswith(f"{format}: agreement") and "drop" in line for line in lines)
    told = f"40 of 100 images of {texture_folder} also calibrate: figures measured on them are "
    assert lines.count(f"{told}optimistic") == 1


@pytest.mark.parametrize("precision", ["fp32", "w8"])
def test_of_images_that_set_nothing_nothing_is_told(tiny_models, place, texture_folder, precision):
    """fp32's do not; nor does w8 see those that it is judged on here, but for one."""
    (place / "others").mkdir()
    Image.new("RGB", (SIZE, SIZE)).save(place / "others" / "1.png")
    first = texture_folder / "000.png"
    (place / "others" / "2.png").write_bytes(first.read_bytes())
    lines: list[str] = []
    quick(
        *(tiny_models["lite"], place / "out"),
        precision=precision,
        calibration=texture_folder,
        evaluate=place / "others",
        report=lines.append,
    )
    told = [line for line in lines if "optimistic" in line]
    assert [line.partition(" images")[0] for line in told] == ["1 of 2"] * (precision == "w8")


def test_a_label_beyond_the_classes_is_refused_before_the_work(tiny_models, place, tmp_path):
    folder = tmp_path / "labelled"
    folder.mkdir()
    Image.new("RGB", (SIZE, SIZE)).save(folder / "a.png")
    (folder / "labels.csv").write_text("file,class_index\na.png,10\n")
    lines: list[str] = []
    with pytest.raises(UsageError, match=r"a\.png in .* has the class index 10, .* 0, to 9"):
        quick(tiny_models["lite"], place / "out", evaluate=folder, report=lines.append)
    assert [line.split()[0] for line in lines] == ["loading"]
    assert listing(place) == []
