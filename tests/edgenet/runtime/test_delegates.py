from __future__ import annotations

from pathlib import Path

import pytest

from edgenet.errors import DeviceError, UsageError
from edgenet.runtime import load
from edgenet.runtime.delegates import DELEGATES, DEVICES, Delegate, delegates, named
from edgenet.runtime.engines import ENGINES
from edgenet.runtime.probing import examine
from tests.devices import OTHERS, format_of, name_of
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


@pytest.mark.parametrize(
    ("engine", "device", "name", "said"),
    [
        ("litert", "cpu", "webgpu", "WebGPU is for the gpu: add --device gpu$"),
        ("litert", "cpu", "vulkan", "choose one of XNNPACK$"),
        ("onnxruntime", "gpu", "vulkan", "choose one of .*, WebGpuExecutionProvider$"),
    ],
)
def test_no_fix_is_named_that_is_refused_in_the_next_step(
    engine: str, device: str, name: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        named(engine, device, name)


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
