"""A provider of ONNX Runtime's own build that takes no operator: Azure's, which calls a server."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from edgenet.bundle import Bundle
from edgenet.errors import DeviceError
from edgenet.runtime import load
from edgenet.runtime.delegates import DELEGATES, Delegate, UnusableError
from edgenet.runtime.engines import known
from edgenet.runtime.onnx_accelerated import BuiltinSession
from edgenet.runtime.placement import PartialError
from edgenet.runtime.records import Plan
from tests.networks import Textures

CUDA = next(d for d in DELEGATES if d.name == "CUDAExecutionProvider")
IDLE = replace(CUDA, name="AzureExecutionProvider")


def plan(bundle: Path, delegate: Delegate, allow_fallback: bool = False) -> Plan:
    opened = Bundle.open(bundle)
    return Plan(
        model=opened.model_path(opened.artifact("onnx")),
        precision="fp32",
        engine=known("onnxruntime"),
        input=opened.manifest.input,
        outputs=opened.manifest.outputs,
        labels=None,
        device="gpu",
        delegate=delegate,
        threads=1,
        allow_fallback=allow_fallback,
    )


def test_a_provider_that_is_there_and_owns_no_operator_is_refused(tiny_float_bundle: Path) -> None:
    assert IDLE.name in onnxruntime.get_available_providers()
    with pytest.raises(PartialError) as caught:
        BuiltinSession(plan(tiny_float_bundle, IDLE))
    assert {p.device for p in caught.value.placements} == {"cpu"}
    assert "Conv" in {p.operator for p in caught.value.placements}


def test_where_fallback_is_allowed_nothing_is_claimed(tiny_float_bundle: Path) -> None:
    images = Textures.make(2, seed=1).images
    with (
        BuiltinSession(plan(tiny_float_bundle, IDLE, allow_fallback=True)) as session,
        load(tiny_float_bundle, "onnx") as cpu,
    ):
        assert session.info.delegated_fraction == 0.0
        assert session.info.time_elsewhere is not None
        assert session.info.time_elsewhere > 0.1
        np.testing.assert_allclose(session.run(images), cpu.run(images), atol=1e-4)


@pytest.mark.skipif(
    CUDA.name in onnxruntime.get_available_providers(), reason="this build has CUDA"
)
def test_a_provider_that_this_build_lacks_is_refused(tiny_float_bundle: Path) -> None:
    with pytest.raises(UnusableError, match="this build of onnxruntime does not have it"):
        BuiltinSession(plan(tiny_float_bundle, CUDA))
    with pytest.raises(DeviceError, match="pip install onnxruntime-gpu"):
        load(tiny_float_bundle, "onnx", "gpu", delegate="cudaexecutionprovider")
