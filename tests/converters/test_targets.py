"""The targets: a table that holds together, and refusals that name the way out."""

from __future__ import annotations

from importlib import import_module

import pytest

from converters.formats import LOWERINGS, require_formats
from converters.graph import Graph
from converters.npu.compiling import prepared, require_compiler_of
from converters.targets import TARGETS, Target, target_named
from edgenet.bundle import PRECISIONS
from edgenet.errors import MissingExtraError, UnsupportedModelError, UsageError
from edgenet.runtime.qnn import SOCS
from tests.converters.graphs import Chain

EVERY = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


def network(function: str) -> Graph:
    return Chain(8, 8).normalize().convolution(4, (3, 3)).activation(function).head()


@EVERY
def test_what_a_target_chooses_it_also_takes(target: Target) -> None:
    for function in ("relu6", "silu"):
        precision = target.precision_for(network(function))
        target.require_precision(precision)
        formats = target.formats_for(precision)
        assert formats
        target.require_formats(formats)
        require_formats(precision, formats)


@EVERY
def test_what_a_target_names_is_there(target: Target) -> None:
    assert {*target.formats} <= {*LOWERINGS}
    assert {*target.precisions} <= {*PRECISIONS}
    assert {*target.lowerings} <= {*target.formats}
    for module in target.lowerings.values():
        assert callable(import_module(module).lower)
    require_compiler_of(target)
    assert bool(target.compiler) == bool(target.devices)


def test_targets_that_run_integers_alone_take_no_float() -> None:
    for target in TARGETS.values():
        if target.integers:
            assert {*target.precisions} <= {"int8", "w8a16"}


def test_every_soc_that_the_plugin_knows_is_a_target() -> None:
    assert {f"qualcomm:{soc}" for soc in SOCS} <= {*TARGETS}
    assert TARGETS["qualcomm"].devices == tuple(SOCS)


def test_networks_with_silu_get_wide_activations_where_there_are_kernels() -> None:
    assert target_named("qualcomm:sm8650").precision_for(network("silu")) == "w8a16"
    assert target_named("qualcomm:SM8650").precision_for(network("relu6")) == "int8"
    assert target_named("ethos-u55-128").precision_for(network("silu")) == "int8"


def test_refusals_name_what_is_possible() -> None:
    with pytest.raises(UsageError, match="no target is called 'tpu': take one of cpu-x86, "):
        target_named("tpu")
    with pytest.raises(UsageError, match=r"does not run fp16: .* take --precision int8 or w8a16"):
        target_named("qualcomm").require_precision("fp16")
    with pytest.raises(UsageError, match=r"runs no onnx, openvino file: .* take --to tflite"):
        target_named("ethos-u85-256").require_formats(("onnx", "tflite", "openvino"))


def test_a_compiler_that_is_not_here_is_refused_before_the_work(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("converters.npu.child.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgenet\[npu-arm\]'"):
        require_compiler_of(target_named("ethos-u55-128"))
    with pytest.raises(MissingExtraError, match=r"pip install 'edgenet\[npu-qualcomm\]'"):
        require_compiler_of(target_named("qualcomm"))


def test_pixels_that_no_convolution_reads_first_are_refused() -> None:
    graph = Chain(8, 8).affine([1, 1, 1], [-1, -2, -3]).activation("silu").head()
    assert prepared(graph, target_named("cpu-arm")) is graph
    with pytest.raises(UnsupportedModelError, match="convert without --target"):
        prepared(graph, target_named("ethos-u55-128"))
