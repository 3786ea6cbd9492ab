"""What is opened for a measurement, and what is said where it cannot be."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from dataclasses import replace

import pytest

from edgenet.bundle import Bundle
from edgenet.errors import DeviceError, UsageError
from edgenet.measure.opening import open_formats, open_reference
from edgenet.runtime.loading import Reach
from edgenet.runtime.placement import PartialError
from tests.devices import GPUS, require


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def without_reference(bundle: Bundle) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, reference=None))


def test_all_formats_open_by_default(stack, tiny_bundle):
    bundle = Bundle.open(tiny_bundle)
    assert [s.info.format for s in open_formats(stack, bundle)] == list(bundle.formats)


def test_formats_asked_for_open_once_each_in_order(stack, tiny_bundle):
    sessions = open_formats(stack, Bundle.open(tiny_bundle), ["onnx", "tflite", "onnx"])
    assert [s.info.format for s in sessions] == ["onnx", "tflite"]


def test_an_unknown_format_is_refused(stack, tiny_bundle):
    with pytest.raises(UsageError, match="caffe"):
        open_formats(stack, Bundle.open(tiny_bundle), ["caffe"])


def test_a_format_that_does_not_reach_the_device_is_left_out_or_refused(stack, tiny_float_bundle):
    require(GPUS[0])
    bundle, told = Bundle.open(tiny_float_bundle), []
    opened = open_formats(stack, bundle, device="gpu", on_missing=told.append)
    found = [session.info.format for session in opened]
    assert "tflite" in found
    assert len(found) + len(told) == len(bundle.formats)
    absent = [format for format in bundle.formats if format not in found]
    for format, line in zip(absent, told, strict=True):
        assert line.startswith(f"{format} is left out: ")
        with pytest.raises(DeviceError):
            open_formats(stack, bundle, [format], device="gpu")


def test_a_file_that_the_device_runs_in_part_is_never_left_out(stack, tiny_bundle):
    require(GPUS[1])
    with pytest.raises(PartialError, match="QuantizeLinear"):
        open_formats(stack, Bundle.open(tiny_bundle), device="gpu")


def test_the_cpu_may_help_where_that_is_allowed(stack, tiny_bundle):
    require(GPUS[1])
    reach = Reach(allow_fallback=True)
    (session,) = open_formats(stack, Bundle.open(tiny_bundle), ["onnx"], "gpu", reach=reach)
    assert 0 < session.info.delegated_fraction < 1


def test_the_reference_is_fp32(stack, tiny_bundle):
    assert open_reference(stack, Bundle.open(tiny_bundle)).info.precision == "fp32"


def test_another_fp32_bundle_can_give_the_reference(stack, tiny_bundle, tiny_float_bundle):
    bundle = without_reference(Bundle.open(tiny_bundle))
    session = open_reference(stack, bundle, str(tiny_float_bundle))
    assert session.info.precision == "fp32"


def test_an_fp32_bundle_without_reference_is_its_own(stack, tiny_float_bundle):
    session = open_reference(stack, without_reference(Bundle.open(tiny_float_bundle)))
    assert session.info.precision == "fp32"


def test_an_int8_bundle_without_reference_asks_for_one(stack, tiny_bundle):
    with pytest.raises(UsageError, match=r"holds no fp32 reference.*--reference BUNDLE"):
        open_reference(stack, without_reference(Bundle.open(tiny_bundle)))


def test_a_reference_left_off_the_device_asks_for_one(stack, tiny_bundle, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(tiny_bundle, copy)
    shutil.rmtree(copy / "reference")
    with pytest.raises(UsageError, match=r"has no reference/.* here.*--reference BUNDLE"):
        open_reference(stack, Bundle.open(copy))
