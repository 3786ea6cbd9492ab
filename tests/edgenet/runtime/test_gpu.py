"""The GPU by every engine that reaches one: it is the device used, whole, or it is an error."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters.pipeline import convert
from converters.scheme.recipe import CALIBRATED
from edgenet.cli.main import main
from edgenet.errors import DeviceError
from edgenet.images import ImageFolder
from edgenet.measure import parity
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.limits import Limits
from edgenet.runtime import Session, load
from edgenet.runtime.children import environment, run_python
from edgenet.runtime.delegates import Delegate
from edgenet.runtime.placement import PartialError
from edgenet.runtime.probing import examine
from tests.devices import GPUS, format_of, name_of, require
from tests.networks import Textures
from tests.published import Published

PRECISIONS = ("fp32", "fp16", "int8", "w8a16")
# What the drivers refuse of the tiny network: ONNX Runtime's WebGPU has no kernel that quantizes,
# LiteRT's takes no 16-bit integers.
REFUSED = {("onnx", "int8"), ("onnx", "w8a16"), ("tflite", "w8a16")}


# A software driver takes seconds for a photo.
_PHOTOS = 2
# In dB, of the logits: what Lite0 and B0 keep of fp32 on the CPU, and some to spare.
_BESIDE_REFERENCE = {"fp32": 80.0, "fp16": 40.0, "int8": 10.0}
# Each thread keeps one session and opens, runs and closes others beside it, or lets them go.
TWO_AT_ONCE = """
import sys
from concurrent.futures import ThreadPoolExecutor
import numpy as np
import edgenet

images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)

def session():
    return edgenet.load(sys.argv[1], sys.argv[2], "gpu", delegate=sys.argv[3])

def often(_):
    kept, alike = session(), True
    first = kept.run(images)
    for closes in (True, False):
        alike &= np.allclose(kept.run(images), first)
        other = session()
        alike &= np.allclose(other.run(images), first)
        if closes:
            other.close()
    return alike

with ThreadPoolExecutor(2) as pool:
    print(*pool.map(often, range(2)))
"""


@pytest.fixture(params=GPUS, ids=name_of)
def gpu(request: pytest.FixtureRequest) -> Delegate:
    delegate: Delegate = request.param
    require(delegate)
    return delegate


@pytest.fixture(scope="module")
def bundles(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path], texture_folder: Path
) -> dict[tuple[str, str], Path]:
    """The tiny networks by family and precision."""
    folder = tmp_path_factory.mktemp("gpu")
    return {
        (family, precision): convert(
            model,
            folder / family / precision,
            precision=precision,
            formats=["tflite", "onnx"],
            calibration=texture_folder,
            **({"calibration_images": 40, "effort": "fast"} if precision in CALIBRATED else {}),
        ).path
        for family, model in tiny_models.items()
        for precision in PRECISIONS
    }


def on(gpu: Delegate, bundle: Path, **options: bool) -> Session:
    return load(bundle, format_of(gpu), "gpu", engine=gpu.engine, delegate=gpu.name, **options)


@pytest.mark.parametrize("family", ["b", "lite"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_model_runs_there_whole_or_is_refused(
    gpu: Delegate, bundles: dict[tuple[str, str], Path], family: str, precision: str
) -> None:
    bundle, images = bundles[family, precision], Textures.make(3, seed=8).images
    if (format_of(gpu), precision) in REFUSED:
        with pytest.raises(PartialError, match=r"does not run \d+ of \d+ operators: ") as caught:
            on(gpu, bundle)
        assert any(p.device == "cpu" for p in caught.value.placements)
        return
    with on(gpu, bundle) as session, load(bundle, format_of(gpu)) as cpu:
        info = session.info
        assert (info.device, info.device_used, info.delegate) == ("gpu", "gpu", gpu.name)
        assert (info.delegated_fraction, info.elsewhere) == (1.0, ())
        assert (info.kind, info.device_name) == (examine(gpu).kind, examine(gpu).name)
        assert (info.tells_speed, cpu.info.tells_speed) == (info.kind == "hardware", True)
        beside = Fidelity.of(cpu.run(images), session.run(images))
    assert Limits.beside_cpu(precision, "gpu").failures(beside) == ()


@pytest.mark.parametrize(("format", "precision"), sorted(REFUSED))
def test_fallback_is_allowed_and_told(
    bundles: dict[tuple[str, str], Path], format: str, precision: str
) -> None:
    gpu = next(delegate for delegate in GPUS if format_of(delegate) == format)
    require(gpu)
    images = Textures.make(2, seed=8).images
    bundle = bundles["b", precision]
    with on(gpu, bundle, allow_fallback=True) as session, load(bundle, format) as cpu:
        assert session.info.delegated_fraction is not None
        assert 0 < session.info.delegated_fraction < 1
        assert session.info.elsewhere
        assert all(placement.device == "cpu" for placement in session.info.elsewhere)
        spent = session.info.time_elsewhere
        assert spent is None if format == "tflite" else 0 < spent < 1
        beside = Fidelity.of(cpu.run(images), session.run(images))
    assert Limits.beside_cpu(precision, "gpu").failures(beside) == ()


def test_a_refusal_is_exit_4_with_a_table(
    bundles: dict[tuple[str, str], Path], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    require(GPUS[1])
    arguments = ["check", str(bundles["b", "int8"]), "--device", "gpu", "--format", "onnx"]
    assert main([*arguments, "--reference", str(bundles["b", "fp32"])]) == DeviceError.exit_code
    *table, error = capsys.readouterr().err.strip().splitlines()
    assert any(line.split()[:3:2] == ["QuantizeLinear", "cpu"] for line in table)
    assert any(line.split()[:3:2] == ["Conv", "gpu"] for line in table)
    assert "QuantizeLinear" in error
    assert "--allow-fallback" in error


def test_a_process_ends_well_with_a_session_left_open(gpu: Delegate, bundles) -> None:
    """ONNX Runtime aborts where a plugin goes before the sessions that use it."""
    bundle = str(bundles["lite", "fp32"])
    script = f"import edgenet; session = edgenet.load({bundle!r}, {format_of(gpu)!r}, 'gpu')"
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_sessions_run_open_and_close_in_threads_of_their_own(gpu: Delegate, bundles) -> None:
    """ONNX Runtime's share a GPU context, and crash where each has a lock of its own only."""
    arguments = (str(bundles["lite", "fp32"]), format_of(gpu), gpu.name)
    assert run_python(["-c", TWO_AT_ONCE, *arguments], 300).split()[-2:] == ["True", "True"]


def test_nothing_but_the_answer_is_on_stdout(
    gpu: Delegate, bundles: dict[tuple[str, str], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    with on(gpu, bundles["lite", "fp32"]) as session:
        session.run(np.zeros((64, 64, 3), np.uint8))
    assert capfd.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["lite0", "b0"])
@pytest.mark.parametrize(
    ("delegate", "precision"),
    [
        pytest.param(delegate, precision, id=f"{name_of(delegate)}-{precision}")
        for delegate in GPUS
        for precision in PRECISIONS
        if (format_of(delegate), precision) not in REFUSED
    ],
)
def test_published_weights_answer_as_on_the_cpu(
    published: Published,
    shared: Path,
    variant: str,
    delegate: Delegate,
    precision: str,
) -> None:
    require(delegate)
    bundle, format = published.bundle(variant, precision), format_of(delegate)
    whole = ImageFolder.open(shared / "data" / "val-1300")
    photos = whole.only(whole.names[:: len(whole) // _PHOTOS])
    with on(delegate, bundle.path) as session, load(bundle, format) as cpu:
        found = parity.compare(
            load(bundle, reference=bundle.manifest.reference is not None),
            [session],
            photos.batches(bundle.manifest.input, _PHOTOS),
            limits=lambda _: Limits(min_sqnr=_BESIDE_REFERENCE[precision]),
            on_cpu=[cpu],
        )
    assert found.passed, found.results
