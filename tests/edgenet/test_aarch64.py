"""A device with an Arm CPU, emulated: the engines' own kernels for aarch64 answer as x86's do."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks._emulated import CPUS, Device, device, missing
from benchmarks.aarch64 import answers
from edgenet.errors import EdgenetError
from edgenet.measure.accuracy import agreement, sqnr_db
from edgenet.runtime import load
from tests.networks import Textures

FORMATS = ("tflite", "onnx", "openvino")
LACKING = ("cortex-a72", "openvino")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def arm() -> Device:
    """Unpacked once, into a folder that stays."""
    if lacking := missing():
        pytest.skip(lacking)
    return device()


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return Textures.make(12, seed=11).images


@pytest.mark.parametrize(
    ("cpu", "format"), [pair for pair in product(CPUS, FORMATS) if pair != LACKING]
)
def test_int8_answers_as_here(arm: Device, tiny_bundle: Path, images, cpu: str, format: str):
    with load(tiny_bundle, format) as session:
        here = session.run(images)
    with load(tiny_bundle, reference=True) as session:
        reference = session.run(images)
    there = answers(arm, cpu, tiny_bundle, format, images)
    lost = [sqnr_db(reference, found) for found in (here, there)]
    assert abs(lost[0] - lost[1]) < 1
    assert agreement(here, there) >= 1 - 1 / len(images)


def test_a_file_that_an_engine_refuses_there_is_told(arm: Device, tiny_bundle: Path, images):
    """OpenVINO 2026.3 wants dot products for int8: NNCF's Lite0 does not open there either."""
    cpu, format = LACKING
    with pytest.raises(EdgenetError, match=r"cannot open .*model\.xml: object is not initialized"):
        answers(arm, cpu, tiny_bundle, format, images)


@pytest.mark.parametrize("format", FORMATS)
def test_float_answers_as_here(arm: Device, tiny_float_bundle: Path, images, format: str):
    with load(tiny_float_bundle, format) as session:
        here = session.run(images)
    there = answers(arm, "cortex-a76", tiny_float_bundle, format, images)
    assert np.abs(here - there).max() < 1e-3


def test_the_command_runs_there(arm: Device, tiny_bundle: Path, tmp_path: Path):
    photo = tmp_path / "photo.png"
    Image.fromarray(Textures.make(1, seed=2).images[0]).save(photo)
    out = arm.python(
        *("cortex-a76", "-m", "edgenet", "run", str(tiny_bundle), str(photo)),
        *("--format", "tflite", "--json"),
    )
    found = json.loads(out)
    with load(tiny_bundle, "tflite") as session:
        (guess,) = session.classify(photo, top=1)
    assert found["results"][0]["top"][0]["index"] == guess.index


@pytest.mark.parametrize(
    ("cpu", "dots"), [("cortex-a72", []), ("cortex-a76", ["asimddp"]), ("cortex-a710", ["i8mm"])]
)
def test_reports_know_the_processor(arm: Device, cpu: str, dots: list[str]):
    script = "import edgenet.measure.machine as m, json; print(json.dumps(m.describe()))"
    isa = json.loads(arm.python(cpu, "-c", script))["isa"]
    assert "asimd" in isa
    assert set(dots) <= set(isa)
    assert ("asimddp" in isa) is bool(dots)
