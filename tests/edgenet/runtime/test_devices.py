from __future__ import annotations

import pytest

from edgenet.errors import UsageError
from edgenet.runtime import devices
from edgenet.runtime.delegates import DELEGATES, Delegate
from edgenet.runtime.devices import hardware, probe
from edgenet.runtime.engines import ENGINES, known
from edgenet.runtime.probing import Finding
from edgenet.runtime.processors import cpu_name


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
            assert (row.reason, row.fix) == ("not installed", engine.install)


def test_auto_with_a_delegate_of_any_device_looks_for_hardware() -> None:
    """Its own device's refusal is no other's, and options reach the library that needs them."""
    onnx, litert = known("onnxruntime"), known("litert")
    for name in ("WebGpuExecutionProvider", "QNNExecutionProvider"):
        assert {delegate.name for delegate in hardware((onnx,), name)} <= {name}
    with pytest.raises(UsageError, match="no delegate 'Abacus'"):
        next(hardware((onnx, litert), "Abacus"))


def test_hardware_is_tried_out_in_order_and_only_as_it_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def examine(delegate: Delegate, options: object) -> Finding:
        tried.append(delegate.name)
        software = delegate.name == "WebGpuExecutionProvider"
        return Finding(delegate.name[:3] != "Ten", "software" if software else "hardware", "any")

    monkeypatch.setattr(devices, "examine", examine)
    found = hardware((known("onnxruntime"), known("openvino")))
    assert tried == []
    assert next(found).name == "CUDAExecutionProvider"
    assert tried == ["CUDAExecutionProvider"]
    assert next(found).name == "DmlExecutionProvider"
    rest = [delegate.name for delegate in found]
    assert rest == ["GPU", "QNNExecutionProvider", "NPU"]
