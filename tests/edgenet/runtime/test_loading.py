from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import edgenet
from edgenet.bundle import FORMATS, MANIFEST, Bundle, record_of
from edgenet.errors import BundleError, DeviceError, EdgenetError, UsageError
from edgenet.runtime import delegates, devices, load, load_artifact
from edgenet.runtime.delegates import DELEGATES, Delegate
from edgenet.runtime.loading import FixedBatchError
from edgenet.runtime.probing import Finding
from edgenet.runtime.processors import physical_cores
from tests.devices import GPUS, require
from tests.networks import Textures


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def gray(bundle: Path) -> np.ndarray:
    return np.full(Bundle.open(bundle).manifest.input.shape, 128, np.uint8)


def test_the_first_format_is_the_default(tiny_bundle: Path) -> None:
    with edgenet.load(tiny_bundle) as session:
        assert session.info.format == Bundle.open(tiny_bundle).formats[0]


def test_files_that_were_left_behind_are_passed_over(copy: Path) -> None:
    (copy / "model.tflite").unlink()
    (copy / "model.bin").unlink()
    with load(copy) as session:
        assert session.info.format == "onnx"
    with pytest.raises(BundleError, match=r"model\.bin cannot be read"):
        load(copy, "openvino")
    with pytest.raises(BundleError, match=r"model\.tflite cannot be read"):
        load(copy, engine="litert")
    (copy / "model.onnx").unlink()
    with pytest.raises(BundleError, match=r"model\.tflite cannot be read"):
        load(copy)


def test_an_open_bundle_and_a_text_path_load_too(tiny_bundle: Path) -> None:
    for bundle in (str(tiny_bundle), Bundle.open(tiny_bundle)):
        load(bundle, "onnx").close()


def test_auto_says_what_it_chose(tiny_bundle: Path) -> None:
    with load(tiny_bundle, device="auto") as session:
        assert (session.info.device, session.info.device_used) == ("auto", "cpu")


def test_a_device_that_is_not_here_is_an_error(tiny_bundle: Path) -> None:
    with pytest.raises(DeviceError, match=r"openvino cannot use the gpu \(GPU\): .*; .*; or use"):
        load(tiny_bundle, device="gpu", engine="openvino")


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU that runs none of a model, at the file's own batch, and an NPU that runs all of it."""
    table = (
        *(d for d in DELEGATES if d.device == "cpu"),
        Delegate(
            "onnxruntime",
            "gpu",
            "AzureExecutionProvider",
            session="edgenet.runtime.onnx_accelerated:BuiltinSession",
        ),
        Delegate(
            "onnxruntime",
            "npu",
            "CPUExecutionProvider",
            session="edgenet.runtime.onnx:OnnxSession",
        ),
    )
    monkeypatch.setattr(delegates, "DELEGATES", table)
    monkeypatch.setattr(
        devices, "examine", lambda delegate, options: Finding(True, "hardware", delegate.name)
    )


@pytest.mark.usefixtures("accelerators")
@pytest.mark.parametrize(
    ("batch", "refusal"), [(None, DeviceError), (3, FixedBatchError)], ids=["operators", "batch"]
)
def test_auto_goes_on_to_the_next_hardware_and_then_to_the_cpu(
    tiny_float_bundle: Path,
    batch: int | None,
    refusal: type[EdgenetError],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(refusal):
        load(tiny_float_bundle, "onnx", "gpu", batch=batch)
    with load(tiny_float_bundle, "onnx", "auto", batch=batch) as session:
        assert (session.info.device, session.info.device_used) == ("auto", "npu")
    monkeypatch.setattr(delegates, "DELEGATES", delegates.DELEGATES[:-1])
    with load(tiny_float_bundle, "onnx", "auto", batch=batch) as session:
        assert (session.info.device, session.info.device_used) == ("auto", "cpu")


@pytest.mark.usefixtures("accelerators")
@pytest.mark.parametrize(
    ("batch", "refusal"), [(None, DeviceError), (3, FixedBatchError)], ids=["operators", "batch"]
)
def test_auto_with_a_delegate_that_refuses_the_model_is_its_refusal(
    tiny_float_bundle: Path, batch: int | None, refusal: type[EdgenetError]
) -> None:
    for device in ("gpu", "auto"):
        with pytest.raises(refusal, match="the gpu"):
            load(tiny_float_bundle, "onnx", device, delegate="AzureExecutionProvider", batch=batch)


@pytest.mark.parametrize("options", [{}, {"device": "usb"}])
def test_auto_with_a_library_that_is_not_there_is_no_cpu(
    tiny_bundle: Path, options: dict[str, str]
) -> None:
    told = (
        r"^litert cannot use the gpu or npu \(/no/such\.so\): .*; or use --device cpu without --d"
    )
    with pytest.raises(DeviceError, match=told):
        load(tiny_bundle, "tflite", "auto", delegate="/no/such.so", delegate_options=options)


@pytest.mark.usefixtures("accelerators")
@pytest.mark.parametrize("kind", ["software", "emulator"])
def test_auto_with_a_delegate_that_is_no_hardware_says_how_to_take_it(
    tiny_float_bundle: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(devices, "examine", lambda *_: Finding(True, kind, "SwiftShader"))
    told = rf"no hardware here \({kind}: SwiftShader\), .* nothing else: add --device gpu, or"
    with pytest.raises(DeviceError, match=told):
        load(tiny_float_bundle, "onnx", "auto", delegate="AzureExecutionProvider")
    with load(tiny_float_bundle, "onnx", "auto") as session:
        assert session.info.device_used == "cpu"


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_a_file_brought_to_another_batch_answers_as_before(
    tiny_bundle: Path, tiny_float_bundle: Path, format: str, precision: str
) -> None:
    bundle = tiny_bundle if precision == "int8" else tiny_float_bundle
    images = Textures.make(5, 0).images
    with load(bundle, format) as own, load(bundle, format, batch=3) as other:
        assert (own.info.batch, other.info.batch) == (1, 3)
        np.testing.assert_allclose(other.run(images), own.run(images), rtol=1e-5, atol=1e-5)


def test_a_device_that_keeps_the_files_batch_is_told(tiny_float_bundle: Path) -> None:
    require(GPUS[0])
    load(tiny_float_bundle, "tflite", "gpu", batch=1).close()
    with pytest.raises(FixedBatchError, match=r"own batch of 1 only: edgenet convert --batch 8"):
        load(tiny_float_bundle, "tflite", "gpu", batch=8)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "ncnn"}, "no format 'ncnn'"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"threads": 0}, "0 threads"),
        ({"threads": 1.5}, r"threads=1\.5: an integer is needed"),
        ({"threads": "2"}, "threads='2': an integer is needed"),
        ({"batch": 0}, "1 image or more, not 0"),
        ({"batch": 2.0}, r"batch=2\.0: an integer is needed"),
        ({"batch": "2"}, "batch='2': an integer is needed"),
        ({"engine": "ncnn"}, "no engine 'ncnn'"),
    ],
)
def test_unfit_options_are_refused(
    tiny_bundle: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        load(tiny_bundle, **options)


@pytest.mark.parametrize("format", FORMATS)
def test_numpys_integers_are_integers(tiny_bundle: Path, format: str) -> None:
    options = {"threads": np.int64(1), "batch": np.int64(2)}
    with load(tiny_bundle, format, **options) as session:
        info = session.info
        assert [type(value) for value in (info.threads, info.batch)] == [int, int]
        assert (info.threads, info.batch) == (1, 2)


def test_threads_default_to_the_cores(tiny_bundle: Path) -> None:
    with load(tiny_bundle) as session, load(tiny_bundle, threads=1) as single:
        assert (session.info.threads, single.info.threads) == (physical_cores(), 1)


def test_the_reference_is_fp32(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    assert bundle.manifest.reference is not None
    with (
        load(bundle, reference=True) as session,
        load_artifact(bundle, bundle.manifest.reference) as same,
    ):
        assert session.info.precision == "fp32"
        np.testing.assert_array_equal(session.run(gray(tiny_bundle)), same.run(gray(tiny_bundle)))


def test_a_reference_in_another_format_is_refused(tiny_bundle: Path) -> None:
    other = next(f for f in FORMATS if f != Bundle.open(tiny_bundle).manifest.reference.format)
    with pytest.raises(UsageError, match=f"not {other}"):
        load(tiny_bundle, other, reference=True)


def test_a_bundle_without_reference_says_so(tiny_bundle: Path) -> None:
    bundle = Bundle.open(tiny_bundle)
    bare = replace(bundle, manifest=replace(bundle.manifest, reference=None))
    with pytest.raises(BundleError, match="no fp32 reference"):
        load(bare, reference=True)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=10, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_is_refused(copy: Path, format: str, data: st.DataObject) -> None:
    bundle = Bundle.open(copy)
    path = copy / data.draw(st.sampled_from(bundle.artifact(format).files)).path
    content = path.read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    try:
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(BundleError, match="sha256 differs"):
            load(copy, format)
    finally:
        path.write_bytes(content)


def vouch_for(bundle: Path, format: str) -> Bundle:
    """Takes what now lies in the bundle as what was written."""
    opened = Bundle.open(bundle)
    artifact = opened.artifact(format)
    files = tuple(record_of(bundle, bundle / file.path) for file in artifact.files)
    manifest = replace(opened.manifest, artifacts=(replace(artifact, files=files),))
    (bundle / MANIFEST).write_text(manifest.to_json())
    return Bundle.open(bundle)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_that_the_engine_cannot_read_is_one_error(copy: Path, format: str) -> None:
    first = Bundle.open(copy).artifact(format).files[0]
    (copy / first.path).write_bytes(b"this is no model at all")
    with pytest.raises(EdgenetError, match="cannot open") as caught:
        load(vouch_for(copy, format))
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("accelerators")
def test_a_file_that_a_device_cannot_read_is_exit_4(copy: Path) -> None:
    (copy / "model.onnx").write_bytes(b"this is no model at all")
    bundle = vouch_for(copy, "onnx")
    with pytest.raises(DeviceError, match=r"cannot open .*model\.onnx on the npu \(CPUExecution"):
        load(bundle, device="npu")
    with pytest.raises(EdgenetError, match="cannot open") as caught:
        load(bundle, device="auto")
    assert caught.value.exit_code == EdgenetError.exit_code


def test_a_file_of_a_newer_engine_says_so(copy: Path) -> None:
    (copy / "model.onnx").write_bytes(b"this is no model at all")
    bundle = vouch_for(copy, "onnx")
    versions = {**bundle.manifest.versions, "onnxruntime": "99.1"}
    newer = replace(bundle, manifest=replace(bundle.manifest, versions=versions))
    told = r"made with onnxruntime 99\.1 and here is .*: pip install 'edgenet\[onnx\]'"
    with pytest.raises(EdgenetError, match=told):
        load(newer)
    with pytest.raises(EdgenetError) as caught:
        load(bundle)
    assert "made with" not in str(caught.value)


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_with_another_input_is_refused(copy: Path, format: str) -> None:
    bundle = vouch_for(copy, format)
    taller = replace(bundle.manifest.input, shape=(1, 64, 32, 3))
    with pytest.raises(BundleError, match="its manifest says 1×64×32×3"):
        load(replace(bundle, manifest=replace(bundle.manifest, input=taller)))


@pytest.mark.parametrize("format", FORMATS)
def test_a_file_without_an_output_is_refused(copy: Path, format: str) -> None:
    bundle = vouch_for(copy, format)
    outputs = tuple(
        replace(o, name="logit" if o.name == "features" else o.name)
        for o in bundle.manifest.outputs
    )
    with pytest.raises(BundleError, match="lacks the outputs logit"):
        load(replace(bundle, manifest=replace(bundle.manifest, outputs=outputs)))


def test_an_engine_that_fails_to_import_is_one_error(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tflite_runtime").mkdir()
    (tmp_path / "tflite_runtime" / "__init__.py").touch()
    (tmp_path / "tflite_runtime" / "interpreter.py").write_text("raise OSError('broken.so')")
    monkeypatch.syspath_prepend(tmp_path)
    again = r"pip install --force-reinstall 'edgenet\[tflite-runtime\]'"
    try:
        with pytest.raises(EdgenetError, match=rf"fails to start \(broken\.so\): {again}$"):
            load(tiny_bundle, engine="tflite-runtime")
    finally:
        sys.modules.pop("tflite_runtime", None)


def test_options_for_no_library_are_refused(tiny_float_bundle: Path) -> None:
    with pytest.raises(UsageError, match="delegate options are for a delegate library"):
        load(tiny_float_bundle, "tflite", "gpu", delegate="webgpu", delegate_options={"a": "b"})
