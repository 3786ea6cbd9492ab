"""What is opened for a measurement, and what is said where it cannot be."""

from __future__ import annotations

import shutil
import sys
from contextlib import ExitStack
from dataclasses import replace

import pytest

from edgenet.bundle import Bundle
from edgenet.errors import BundleError, DeviceError, MissingExtraError, UsageError
from edgenet.measure.candidates import Request, open_all
from edgenet.measure.opening import open_formats, open_reference
from edgenet.runtime import probing
from edgenet.runtime.loading import FixedBatchError, Reach
from edgenet.runtime.onnx import OnnxSession
from edgenet.runtime.placement import PartialError, RefusedError
from tests.devices import GPUS, require


@pytest.fixture
def stack():
    with ExitStack() as stack:
        yield stack


def without_reference(bundle: Bundle) -> Bundle:
    return replace(bundle, manifest=replace(bundle.manifest, reference=None))


def holding(bundle: Bundle, *formats: str) -> Bundle:
    artifacts = tuple(map(bundle.artifact, formats))
    return replace(bundle, manifest=replace(bundle.manifest, artifacts=artifacts))


@pytest.fixture
def no_driver(monkeypatch):
    """No Vulkan driver, whatever is installed."""
    monkeypatch.setenv("VK_DRIVER_FILES", "/nowhere/driver.json")
    probing._examine.cache_clear()
    yield
    probing._examine.cache_clear()


@pytest.fixture
def no_litert(monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert", None)


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


def test_a_file_that_the_device_refuses_whole_is_never_left_out(
    stack, tiny_float_bundle, monkeypatch
):
    """As where a driver's compiler fails on it."""
    require(GPUS[0])

    def fails(self):
        raise RuntimeError("no memory")

    monkeypatch.setattr("edgenet.runtime.litert.GpuSession._load", fails)
    with pytest.raises(RefusedError, match=r"on the gpu .*: no memory"):
        open_formats(stack, Bundle.open(tiny_float_bundle), device="gpu")


@pytest.mark.usefixtures("no_driver", "no_litert")
def test_a_device_that_an_engine_cannot_use_is_told_before_an_engine_that_is_missing(
    stack, tiny_float_bundle
):
    bundle, told = holding(Bundle.open(tiny_float_bundle), "tflite", "onnx"), []
    reach = Reach("WebGpuExecutionProvider")
    with pytest.raises(DeviceError, match=r"onnxruntime cannot use the gpu .*: no Vulkan driver"):
        open_formats(stack, bundle, device="gpu", on_missing=told.append, reach=reach)
    assert [line.partition(":")[0] for line in told] == ["tflite is left out", "onnx is left out"]


@pytest.mark.usefixtures("no_litert")
def test_a_batch_that_a_file_cannot_have_is_told_before_an_engine_that_is_missing(
    stack, tiny_float_bundle, monkeypatch
):
    monkeypatch.setattr(OnnxSession, "resizes", False)
    bundle = holding(Bundle.open(tiny_float_bundle), "tflite", "onnx")
    with pytest.raises(FixedBatchError, match="edgenet convert --batch 3"):
        open_formats(stack, bundle, batch=3)
    with pytest.raises(MissingExtraError, match="running tflite files"):
        open_formats(stack, holding(bundle, "tflite"), batch=3)


def test_a_sweep_goes_on_where_another_format_does_not_reach_the_device(
    stack, tiny_float_bundle, tmp_path
):
    """That one keeps its batch is no reason to end what its own batch has begun."""
    require(GPUS[0])
    copy = tmp_path / "copy"
    shutil.copytree(tiny_float_bundle, copy)
    manifest = holding(Bundle.open(copy), "openvino", "tflite").manifest
    (copy / "manifest.json").write_text(manifest.to_json())
    found = open_all(stack, Request((str(copy),), device="gpu", batches=(1, 2)))
    assert ("tflite", 1) in [(one.session.info.format, one.session.info.batch) for one in found]


def test_the_cpu_may_help_where_that_is_allowed(stack, tiny_bundle):
    require(GPUS[1])
    reach = Reach(allow_fallback=True)
    (session,) = open_formats(stack, Bundle.open(tiny_bundle), ["onnx"], "gpu", reach=reach)
    assert 0 < session.info.delegated_fraction < 1


def test_the_reference_is_fp32(stack, tiny_bundle):
    assert open_reference(stack, Bundle.open(tiny_bundle)).info.precision == "fp32"


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


@pytest.mark.usefixtures("no_litert")
def test_a_reference_that_no_engine_runs_names_one_for_the_engine_that_is_here(stack, tiny_bundle):
    with pytest.raises(MissingExtraError) as caught:
        open_reference(stack, Bundle.open(tiny_bundle))
    assert str(caught.value) == (
        f"running the fp32 reference of {tiny_bundle} needs a package that is not here: "
        "pip install 'edgenet[tflite]', or name with --reference BUNDLE what this makes: "
        "edgenet convert MODEL --precision fp32 --to onnx"
    )


@pytest.mark.usefixtures("no_litert")
def test_an_fp32_bundle_for_the_engine_that_is_here_gives_the_reference(stack, tiny_float_bundle):
    session = open_reference(stack, Bundle.open(tiny_float_bundle))
    assert (session.info.engine, session.info.precision) == ("onnxruntime", "fp32")


def test_files_that_were_left_behind_are_told_of(stack, tiny_bundle, tmp_path):
    copy = shutil.copytree(tiny_bundle, tmp_path / "copy")
    (copy / "model.tflite").unlink()
    (copy / "model.bin").unlink()
    told: list[str] = []
    (session,) = open_formats(stack, Bundle.open(copy), None, on_missing=told.append)
    assert session.info.format == "onnx"
    assert told == [
        f"{name} is left out: its files are not here" for name in ("tflite", "openvino")
    ]
    with pytest.raises(BundleError, match=r"model\.tflite cannot be read"):
        open_formats(stack, Bundle.open(copy), ("tflite",))
