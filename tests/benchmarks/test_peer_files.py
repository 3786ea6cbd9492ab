"""When the files of an earlier run may be used again, and what making them took."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import _peer_files
from benchmarks._peer_files import PACKAGES, STEPS, Made, Order
from edgenet.errors import UsageError

FORMATS = ("tflite", "onnx", "openvino")


@pytest.fixture
def order(tmp_path: Path, texture_folder: Path) -> Order:
    (tmp_path / "weights.h5").write_bytes(b"weights")
    weights = str(tmp_path / "weights.h5")
    return Order("b0", weights, str(texture_folder), tmp_path / "work", stripped=False)


def record(order: Order, **others: object) -> None:
    """What an earlier run left, with these of its sources otherwise."""
    order.work.mkdir()
    Made({**order.sources, **others}, {"ours": 1.0}).save(order.work)


def test_the_same_order_finds_what_was_made(order: Order) -> None:
    record(order)
    assert _peer_files._read(replace(order, max_drop=0.5)).seconds == {"ours": 1.0}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("model", {"model": "lite0"}),
        ("weights", {"weights": None}),
        ("stripped", {"stripped": True}),
        ("crop fraction", {"crop_fraction": 1.0}),
        ("interpolation", {"interpolation": "bicubic"}),
    ],
)
def test_another_order_is_refused(order: Order, name: str, options: dict[str, object]) -> None:
    record(order)
    with pytest.raises(UsageError, match=rf"made otherwise \({name}\): .* --work"):
        _peer_files._read(replace(order, **options))


def test_other_photos_are_another_order(order: Order, tmp_path: Path) -> None:
    (photo := tmp_path / "photos" / "0.png").parent.mkdir()
    photo.write_bytes((Path(order.calibration) / "000.png").read_bytes())
    others = replace(order, calibration=str(photo.parent))
    assert others.sources["calibration"] != order.sources["calibration"]


def test_a_file_that_changed_is_another_order(order: Order) -> None:
    before = order.sources["weights"]
    Path(str(order.weights)).write_bytes(b"others")
    assert replace(order).sources["weights"] != before


@pytest.mark.parametrize("package", ["edgenet", *PACKAGES])
def test_the_files_of_another_release_are_refused(order: Order, package: str) -> None:
    record(order, **{package: "0"})
    with pytest.raises(UsageError, match=rf"\({package}\)"):
        _peer_files._read(order)


def test_a_record_of_before_the_options_is_refused(order: Order) -> None:
    order.work.mkdir()
    (order.work / "made.json").write_text(json.dumps({"sources": ["b0", None, "photos"]}))
    with pytest.raises(UsageError, match="made otherwise"):
        _peer_files._read(order)


def test_a_step_that_several_files_need_counts_once(order: Order) -> None:
    seconds = {"body": 1.0, "float TFLite": 2.0, "TFLiteConverter": 4.0, "float ONNX": 8.0}
    seconds |= {"quantize_static": 16.0, "NNCF PERFORMANCE": 64.0, "NNCF MIXED": 32.0, "ours": 50.0}
    seconds |= {"keras.export": 6.0, "float TFLite, signed": 3.0, "litert-quantizer": 5.0}
    made = Made({}, seconds)
    assert made.total("ours") == 50
    assert made.total("TFLiteConverter") == 1 + 4
    assert made.total("keras.export") == 1 + 6
    assert made.total("litert-quantizer") == 1 + 3 + 5
    assert made.total("quantize_static") == 1 + 2 + 8 + 16
    names, total = made.cheapest(order.peers(format) for format in FORMATS)
    assert names == ("TFLiteConverter", "quantize_static", "NNCF MIXED")
    assert total == 1 + 2 + 4 + 8 + 16 + 32


def test_remedies_of_overflow_are_files_besides(order: Order) -> None:
    more = replace(order, remedies=True)
    assert more.sources == order.sources
    assert more.steps == {"body", *STEPS}
    assert more.steps - order.steps == {
        "quantize_static reduce_range",
        "NNCF PERFORMANCE overflow_fix",
        "NNCF MIXED overflow_fix",
    }
    assert len({step.file for step in STEPS.values()}) == len(STEPS)
