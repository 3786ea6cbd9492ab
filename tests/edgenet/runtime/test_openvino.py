"""OpenVINO's own ways: bf16 is computed in bf16, or refused; only operators have a place."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest

from edgenet.bundle import Bundle
from edgenet.errors import DeviceError
from edgenet.measure.accuracy import sqnr_db
from edgenet.runtime import Session, load, load_artifact
from edgenet.runtime.openvino import placed, require_bf16
from edgenet.runtime.placement import Placement
from edgenet.runtime.processors import cpu_threads
from tests.networks import Textures

ROOT = Path(__file__).resolve().parents[3]
OPEN = """
import sys
from tests.edgenet.runtime.test_openvino import opened
from edgenet.errors import DeviceError
try:
    opened(sys.argv[1], "bf16")
except DeviceError as error:
    print(error)
"""


def opened(bundle: str | os.PathLike[str], precision: str) -> Session:
    """A bundle's OpenVINO file, opened as if it were of another precision."""
    found = Bundle.open(bundle)
    return load_artifact(found, replace(found.artifact("openvino"), precision=precision))


def has_bf16() -> bool:
    return "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def test_bf16_rounds_what_float32_does_not(tiny_float_bundle):
    if not has_bf16():
        with pytest.raises(DeviceError, match="has no bf16"):
            opened(tiny_float_bundle, "bf16")
        return
    images = Textures.make(20, seed=11).images
    with opened(tiny_float_bundle, "fp32") as exact, opened(tiny_float_bundle, "bf16") as rounded:
        kept = sqnr_db(exact.run(images), rounded.run(images))
        assert rounded.info.precision == "bf16"
    # Eight binary digits in every product are worth some 30 dB after a few layers.
    assert kept is not None
    assert 20 < kept < 50


def test_a_cpu_without_bf16_refuses(tiny_float_bundle):
    run = subprocess.run(
        [sys.executable, "-c", OPEN, str(tiny_float_bundle)],
        env=os.environ | {"PYTHONPATH": str(ROOT), "ONEDNN_MAX_CPU_ISA": "AVX2"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "has no bf16" in run.stdout


def test_the_refusal_names_the_next_command():
    require_bf16(["FP32", "BF16"])
    with pytest.raises(DeviceError, match="convert with --precision fp16 or int8 instead"):
        require_bf16(["FP32", "INT8"])


def test_the_other_precisions_are_computed_in_float32(tiny_float_bundle):
    """By itself the plugin would take bf16 where the CPU has it."""
    images = Textures.make(4, seed=11).images
    answers = []
    for precision in ("fp32", "fp16", "w8"):
        with opened(tiny_float_bundle, precision) as session:
            answers.append(session.run(images))
    assert np.array_equal(answers[0], answers[1])
    assert np.array_equal(answers[0], answers[2])


def test_what_computes_nothing_is_no_operator(tiny_bundle):
    """So that a share of them can be compared with those of other engines."""
    model = openvino.Core().read_model(tiny_bundle / "model.xml")
    convolutions = [op for op in model.get_ops() if op.get_type_name() == "Convolution"]
    placements = placed(model, {op.get_friendly_name() for op in convolutions}, "gpu")
    assert Placement("Convolution", "gpu", len(convolutions)) in placements
    assert {p.operator for p in placements if p.device == "cpu"} >= {"FakeQuantize", "Add"}
    assert not {"Constant", "Parameter", "Result"} & {p.operator for p in placements}


def test_a_session_tells_the_threads_that_the_engine_took(tiny_bundle: Path) -> None:
    cores = cpu_threads(None)
    for asked in (1, 64):
        with load(tiny_bundle, "openvino", threads=asked) as session:
            assert session.info.threads == min(asked, cores)
