"""A delegate that the user brings as a library: all operators go to it, or it is an error."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import pytest

from edgenet.errors import DeviceError, UsageError
from edgenet.runtime import load
from edgenet.runtime.placement import PartialError
from tests.drivers import idle_delegate, shared_library
from tests.networks import Textures

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the libraries are of x86-64 code"
)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot open shared object file"),
        ("this is no library", "invalid ELF header|file too short"),
        ("", "file too short|invalid ELF header"),
    ],
    ids=["missing", "text", "empty"],
)
def test_what_is_no_library_is_refused(
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
        load(tiny_bundle, "tflite", "npu", delegate=str(library))


def test_a_delegate_that_takes_nothing_is_refused_with_the_operators(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    library = idle_delegate(tmp_path / "libidle.so")
    with pytest.raises(PartialError, match=r"the npu \(.*libidle.so\) does not run") as caught:
        load(tiny_bundle, "tflite", "npu", delegate=str(library), delegate_options={"device": "0"})
    assert {p.operator for p in caught.value.placements} >= {"CONV_2D", "DEPTHWISE_CONV_2D"}
    assert {p.device for p in caught.value.placements} == {"cpu"}


def test_where_fallback_is_allowed_the_share_is_told(tiny_bundle: Path, tmp_path: Path) -> None:
    library = str(idle_delegate(tmp_path / "libidle.so"))
    images = Textures.make(2, seed=0).images
    with (
        load(tiny_bundle, "tflite", "gpu", delegate=library, allow_fallback=True) as session,
        load(tiny_bundle, "tflite") as cpu,
    ):
        info = session.info
        assert (info.device_used, info.delegate, info.delegated_fraction) == ("gpu", library, 0.0)
        assert sum(placement.count or 0 for placement in info.elsewhere) > 0
        np.testing.assert_array_equal(session.run(images), cpu.run(images))


@pytest.mark.parametrize(
    ("format", "device", "told"),
    [
        ("onnx", "npu", "onnxruntime takes no delegate library"),
        ("tflite", "cpu", "say what ./lib.so is for with --device gpu or npu"),
    ],
)
def test_a_library_fits_its_engine_and_device(
    tiny_bundle: Path, format: str, device: str, told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        load(tiny_bundle, format, device, delegate="./lib.so")
