"""A device: an environment that holds only numpy below 2, Pillow and tflite-runtime 2.14."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from edgenet.runtime import load
from tests.published import Published

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("numpy<2", "pillow", "tflite-runtime==2.14.0")
# The last Python for which tflite-runtime has wheels is 3.11.
PYTHON = ">=3.10,<3.12"
ENGINES = {"ai_edge_litert", "keras", "onnx", "onnxruntime", "openvino", "tensorflow"}

SCRIPT = """
import json, os, signal, sys
import numpy as np
import edgenet

session = edgenet.load(sys.argv[1])
images = np.load(sys.argv[2])
logits = session.run(images)
child = os.fork()
if not child:
    signal.alarm(60)
    sys.exit(int(not np.array_equal(session.run(images), logits)))
answer = {
    "forked": os.waitpid(child, 0)[1],
    "engine": session.info.engine,
    "numpy": np.__version__,
    "logits": logits.tolist(),
    "top": session.classify(images[0], top=1)[0].index,
    "features": session.embed(images[0]).tolist(),
    "modules": sorted({name.partition(".")[0] for name in sys.modules}),
}
print(json.dumps(answer))
"""

# 20 dB: tflite-runtime has int8 kernels of its own, which round otherwise than LiteRT's XNNPACK.
LIMIT = 0.01

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The device's Python."""
    folder = tmp_path_factory.mktemp("device") / "venv"
    python = folder / "bin" / "python"
    uv = [sys.executable, "-m", "uv"]
    for command in (
        [*uv, "venv", "--quiet", "--python", PYTHON, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(python), *PACKAGES],
    ):
        subprocess.run(command, check=True, env=environment())
    return python


@pytest.fixture(scope="module")
def lite0(published: Published) -> Path:
    """Lite0 with its published weights, in int8."""
    return published.bundle("lite0", "int8").path


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "UV_PYTHON_DOWNLOADS": "never"}


def photos(bundle: Path, count: int = 4) -> npt.NDArray[np.uint8]:
    coarse = np.random.default_rng(5).integers(0, 256, (count, 6, 6, 3), np.uint8)
    with load(bundle, "tflite") as session:
        return np.stack([session.prepare(image) for image in coarse])


def energy_lost(reference: npt.ArrayLike, other: npt.ArrayLike) -> float:
    wanted, found = np.asarray(reference, np.float64), np.asarray(other, np.float64)
    return float(((found - wanted) ** 2).sum() / (wanted**2).sum())


def answer_on(device: Path, bundle: Path, images: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(device), "-c", SCRIPT, str(bundle), str(images)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize("name", ["tiny_bundle", "lite0"])
def test_the_device_answers_as_litert(
    device: Path, name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(name)
    images = photos(bundle)
    np.save(tmp_path / "images.npy", images)
    answer = answer_on(device, bundle, tmp_path / "images.npy")
    assert answer["engine"] == "tflite-runtime"
    assert answer["forked"] == 0
    assert answer["numpy"].startswith("1.")
    assert not ENGINES & {*answer["modules"]}
    with load(bundle, "tflite", engine="litert") as session:
        logits, features = session.run(images), session.embed(images[0])
        assert answer["top"] == session.classify(images[0], top=1)[0].index
    assert energy_lost(logits, answer["logits"]) < LIMIT
    assert energy_lost(features, answer["features"]) < LIMIT
