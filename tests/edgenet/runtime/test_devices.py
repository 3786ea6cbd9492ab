from __future__ import annotations

import os

import pytest

from edgenet.errors import UsageError
from edgenet.runtime.delegates import DELEGATES
from edgenet.runtime.devices import (
    _model_name,
    cpu_name,
    cpu_threads,
    physical_cores,
    probe,
    resolve,
)
from edgenet.runtime.engines import ENGINES, by_name


def test_every_delegate_has_a_row_that_is_usable_or_says_why() -> None:
    rows = probe()
    assert [(row.engine, row.device, row.delegate) for row in rows] == [
        (delegate.engine, delegate.device, delegate.name) for delegate in DELEGATES
    ]
    for row in rows:
        assert (row.reason is None, row.fix is None) == (row.usable, row.usable)
        assert not row.usable or row.version
        assert row.kind in ("hardware", "software", "emulator", "compiler")


def test_a_cpu_is_usable_where_its_engine_is_installed() -> None:
    for engine in ENGINES:
        (row,) = (r for r in probe() if (r.engine, r.device) == (engine.name, "cpu"))
        assert row.usable == engine.installed
        if row.usable:
            assert (row.kind, row.name) == ("hardware", cpu_name())
        else:
            assert (row.reason, row.fix) == ("not installed", engine.install_line)


def test_there_are_no_more_cores_than_processors() -> None:
    assert 1 <= physical_cores() <= (os.cpu_count() or 1)
    assert cpu_threads(None) == physical_cores()
    assert cpu_threads(7) == 7


@pytest.mark.parametrize("asked", [0, -1, 10_000])
def test_threads_that_no_engine_should_start_are_refused(asked: int) -> None:
    with pytest.raises(UsageError, match="ask for 1 to"):
        cpu_threads(asked)


def test_auto_with_a_delegate_of_any_device_looks_for_hardware() -> None:
    """Its own device's refusal is no other's, and options reach the library that needs them."""
    onnx, litert = by_name("onnxruntime"), by_name("litert")
    assert onnx is not None
    assert litert is not None
    for name in ("WebGpuExecutionProvider", "QNNExecutionProvider"):
        assert resolve("auto", (onnx,), name).name in (name, "CPUExecutionProvider")
    with pytest.raises(UsageError, match="no delegate 'Abacus'"):
        resolve("auto", (onnx, litert), "Abacus")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("processor\t: 0\nmodel name\t: Intel(R) Xeon(R)\n", "Intel(R) Xeon(R)"),
        ("processor\t: 0\nModel\t\t: Raspberry Pi 5 Model B\n", "Raspberry Pi 5 Model B"),
        ("processor\t: 0\nBogoMIPS\t: 48.00\n", None),
    ],
)
def test_the_processors_name_is_found(text: str, name: str | None) -> None:
    assert _model_name(text.splitlines()) == name
