from __future__ import annotations

from pathlib import Path

import pytest

from edgenet.errors import DeviceError, UsageError
from edgenet.runtime import load
from edgenet.runtime.delegates import DELEGATES, DEVICES, Delegate, delegates, named
from edgenet.runtime.engines import ENGINES
from edgenet.runtime.probing import examine
from tests.devices import OTHERS, format_of, name_of
from tests.drivers import shared_library
from tests.networks import Textures

EVERY = pytest.mark.parametrize("delegate", DELEGATES, ids=name_of)


@EVERY
def test_every_entry_has_a_class_that_probes(delegate: Delegate) -> None:
    assert delegate.device in DEVICES
    assert callable(delegate.load().probe)


@EVERY
def test_every_entry_says_how_to_get_it(delegate: Delegate) -> None:
    assert delegate.device == "cpu" or delegate.driver or delegate.install
    assert not delegate.module or delegate.install


def test_every_engine_reaches_the_cpu_first() -> None:
    for engine in ENGINES:
        assert delegates(engine.name)[0].device == "cpu"
    assert len({(d.engine, d.device, d.name) for d in DELEGATES}) == len(DELEGATES)


def test_a_name_is_found_in_any_case() -> None:
    assert named("litert", "gpu", "webgpu").name == "WebGPU"
    with pytest.raises(UsageError, match="choose one of WebGPU, or give the path"):
        named("litert", "gpu", "vulkan")


@pytest.mark.parametrize("delegate", OTHERS, ids=name_of)
def test_a_gpu_that_needs_hardware_runs_or_is_refused(
    tiny_float_bundle: Path, delegate: Delegate
) -> None:
    def answer() -> None:
        with load(
            tiny_float_bundle,
            format_of(delegate),
            "gpu",
            engine=delegate.engine,
            delegate=delegate.name,
        ) as session:
            session.run(Textures.make(1, seed=0).images)
            assert (session.info.device_used, session.info.kind) == ("gpu", "hardware")

    found = examine(delegate)
    if found.usable:
        answer()
        return
    with pytest.raises(DeviceError) as caught:
        answer()
    assert found.reason in str(caught.value)
    assert found.fix in str(caught.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot open shared object file"),
        ("this is no library", "invalid ELF header|file too short"),
        ("", "file too short|invalid ELF header"),
    ],
    ids=["missing", "text", "empty"],
)
def test_a_delegate_that_is_no_library_is_refused(
    tiny_bundle: Path, tmp_path: Path, content: str | None, told: str
) -> None:
    library = tmp_path / "libdelegate.so"
    if content is not None:
        library.write_text(content)
    with pytest.raises(DeviceError, match=f"does not load as a TFLite delegate .*({told})"):
        load(tiny_bundle, "tflite", "npu", delegate=str(library))


def test_a_library_that_is_no_delegate_is_refused(tiny_bundle: Path, tmp_path: Path) -> None:
    library = shared_library(tmp_path / "libother.so")
    with pytest.raises(DeviceError, match="undefined symbol: tflite_plugin_create_delegate"):
        load(tiny_bundle, "tflite", "npu", delegate=str(library), delegate_options={"a": "b"})


@pytest.mark.parametrize(
    ("format", "device", "told"),
    [
        ("onnx", "npu", "onnxruntime takes no delegate library"),
        ("tflite", "cpu", "say what ./lib.so is for with --device gpu or npu"),
    ],
)
def test_a_delegate_library_fits_its_engine_and_device(
    tiny_bundle: Path, format: str, device: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        load(tiny_bundle, format, device, delegate="./lib.so")
