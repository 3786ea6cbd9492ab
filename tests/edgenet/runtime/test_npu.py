"""NPUs by the engines that reach one: an emulator and a plugin's CPU prove where a model runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from converters.pipeline import convert
from converters.scheme.recipe import CALIBRATED
from edgenet.bundle import Bundle
from edgenet.cli.main import main
from edgenet.errors import DeviceError
from edgenet.images import ImageFolder
from edgenet.measure import parity
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.limits import Limits
from edgenet.runtime import Session, load
from edgenet.runtime.children import environment
from edgenet.runtime.delegates import DELEGATES, Delegate, UnusableError
from edgenet.runtime.placement import PartialError
from edgenet.runtime.probing import examine
from tests.devices import ETHOS_U, format_of, name_of, require
from tests.networks import Textures

QNN, INTEL, VELA = (
    next(d for d in DELEGATES if d.name == name)
    for name in ("QNNExecutionProvider", "IntelOpenVINO", "Ethos-U")
)
NPUS = (QNN, INTEL)
TARGETS = {QNN: "qualcomm:SM8650", INTEL: "intel-npu"}
# The emulator takes seconds for a photo.
_PHOTOS = 2


@pytest.fixture(params=NPUS, ids=name_of)
def npu(request: pytest.FixtureRequest) -> Delegate:
    delegate: Delegate = request.param
    require(delegate)
    return delegate


@pytest.fixture(scope="module")
def bundles(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path], texture_folder: Path
) -> Callable[[str, str, str], Path]:
    """The tiny networks by family, target and precision, each converted once."""
    folder = tmp_path_factory.mktemp("npu")

    @cache
    def made(family: str, target: str, precision: str) -> Path:
        return convert(
            tiny_models[family],
            folder / f"{family}-{target}-{precision}",
            target=target or None,
            precision=precision,
            calibration=texture_folder,
            **({"calibration_images": 40, "effort": "fast"} if precision in CALIBRATED else {}),
        ).path

    return made


def on(npu: Delegate, bundle: Path, **options: bool) -> Session:
    return load(bundle, format_of(npu), "npu", engine=npu.engine, delegate=npu.name, **options)


@pytest.mark.parametrize("family", ["b", "lite"])
@pytest.mark.parametrize(
    ("delegate", "precision"),
    [(QNN, "int8"), (QNN, "w8a16"), (INTEL, "int8"), (INTEL, "fp32")],
    ids=lambda value: value if isinstance(value, str) else name_of(value),
)
def test_all_of_a_model_for_the_target_runs_there(bundles, family, delegate, precision) -> None:
    require(delegate)
    bundle = bundles(family, TARGETS[delegate], precision)
    images = Textures.make(4, seed=8).images
    with on(delegate, bundle) as session, load(bundle, format_of(delegate)) as cpu:
        info = session.info
        assert (info.device, info.device_used, info.delegate) == ("npu", "npu", delegate.name)
        assert (info.delegated_fraction, info.elsewhere) == (1.0, ())
        assert info.kind in ("hardware", "emulator", "software")
        assert (info.kind, info.device_name) == (examine(delegate).kind, examine(delegate).name)
        beside = Fidelity.of(cpu.run(images), session.run(images))
    wanted = {"int8": 20, "w8a16": 35, "fp32": 30}[precision]
    assert Limits(min_sqnr=wanted).failures(beside) == ()


def test_a_file_for_the_cpu_is_refused_with_its_operators(bundles) -> None:
    require(QNN)
    bundle = bundles("b", "", "int8")
    told = r"does not run \d+ of \d+ operators: .*Flatten"
    with pytest.raises(PartialError, match=told) as caught:
        on(QNN, bundle)
    assert {p.operator for p in caught.value.placements if p.device == "cpu"} >= {"Gemm", "Flatten"}
    assert any(p.operator == "Conv" and p.device == "npu" for p in caught.value.placements)
    with on(QNN, bundle, allow_fallback=True) as session:
        assert 0 < session.info.delegated_fraction < 1
        assert session.info.elsewhere


@pytest.mark.parametrize(
    ("delegate", "precision", "told"),
    [
        (QNN, "fp32", "computes in integers, and this file is fp32: .*--target qualcomm"),
        (INTEL, "w8a16", "misreads w8a16 TFLite files: .*--target intel-npu"),
    ],
)
def test_what_would_be_answered_with_nonsense_is_refused(bundles, delegate, precision, told):
    """Both providers take these files whole, and what comes out is another network's."""
    require(delegate)
    with pytest.raises(DeviceError, match=told):
        on(delegate, bundles("b", "", precision))


def test_the_plugin_is_off_with_another_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgenet.runtime import litert_npu

    monkeypatch.setattr(litert_npu, "_OPENVINO", "2026.4.1")
    with pytest.raises(UnusableError, match=r"needs openvino 2026\.4\.1 and found") as caught:
        INTEL.load().probe(INTEL, {})
    assert "edgenet[npu-intel]" in caught.value.fix


def test_a_compiler_runs_nothing(bundles) -> None:
    require(VELA)
    found = examine(VELA)
    assert (found.usable, found.kind) == (True, "compiler")
    assert "Vela" in found.name


def test_check_judges_the_npu_beside_reference_and_cpu(bundles, capsys, texture_folder) -> None:
    require(QNN)
    bundle = bundles("lite", TARGETS[QNN], "int8")
    command = ["check", str(bundle), "--device", "npu", "--evaluate", str(texture_folder)]
    assert main([*command, "--crop-fraction", "1.0"]) == 0
    assert "emulator: Qualcomm HTP emulator (SM8650)" in capsys.readouterr().out


def test_a_process_ends_well_with_a_session_left_open(npu: Delegate, bundles) -> None:
    bundle = str(bundles("lite", TARGETS[npu], "int8"))
    script = f"import edgenet; session = edgenet.load({bundle!r}, {format_of(npu)!r}, 'npu')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_nothing_but_the_answer_is_on_stdout(npu: Delegate, bundles, capfd) -> None:
    with on(npu, bundles("lite", TARGETS[npu], "int8")) as session:
        session.run(np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr().out == ""


@pytest.fixture(scope="module")
def published(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Path]:
    """Lite0 and B0 with their weights, by variant and target, each converted once."""
    folder = tmp_path_factory.mktemp("published")
    weights = {"b0": str(shared / "weights" / "efficientnetb0.weights.h5")}

    @cache
    def made(variant: str, target: str) -> Path:
        return convert(
            variant,
            folder / f"{variant}-{target}",
            target=target,
            weights=weights.get(variant),
            calibration=shared / "data" / "calib-1000",
            calibration_images=16,
            effort="fast",
        ).path

    return made


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lite0", "b0"])
@pytest.mark.parametrize("delegate", NPUS, ids=name_of)
def test_published_weights_answer_as_on_the_cpu(published, shared, variant, delegate) -> None:
    require(delegate)
    bundle = Bundle.open(published(variant, TARGETS[delegate]))
    whole = ImageFolder.open(shared / "data" / "val-1300")
    photos = whole.only(whole.names[:: len(whole) // _PHOTOS])
    with on(delegate, bundle.path) as session, load(bundle, format_of(delegate)) as cpu:
        found = parity.compare(
            load(bundle, reference=True),
            [session],
            photos.batches(bundle.manifest.input, _PHOTOS),
            limits=lambda _: Limits(min_sqnr=10.0),
            on_cpu=[cpu],
        )
    assert found.passed, found.results


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lite0", "b0"])
@pytest.mark.parametrize("target", ETHOS_U)
def test_published_weights_compile_whole(published, ethos_u, variant, target) -> None:
    bundle = Bundle.open(published(variant, ethos_u))
    (compiled,) = (one for one in bundle.manifest.compiled if one.device == target)
    assert compiled.report["operators"]["cpu"] == 0
    # A quarter more than the weights: what is compressed well on one NPU is not on another.
    assert bundle.compiled_path(target).stat().st_size < 1.25 * bundle.manifest.artifacts[0].bytes
    assert compiled.report["estimated_by_compiler"]["latency_ms"] < 100
