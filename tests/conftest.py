"""What all tests share: the data folder, hypothesis' profile, and that CI leaves no test unrun."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from PIL import Image

from tests.networks import CLASSES, VALUES, Textures, regression_network, tiny_network
from tests.published import Published
from tests.sharing import once

ROOT = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}

settings.register_profile("local", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("local"), derandomize=True)
settings.load_profile("ci" if IN_CI else "local")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder that holds `data/` and `weights/`: `EDGENET_DATA`, else `../shared`."""
    folder = Path(os.environ.get("EDGENET_DATA", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no data/ in {folder}: set EDGENET_DATA to the folder that holds it")
    return folder


@pytest.fixture(scope="session")
def together(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all workers."""
    home = tmp_path_factory.getbasetemp()
    return (home.parent if hasattr(request.config, "workerinput") else home) / "together"


@pytest.fixture(scope="session")
def texture_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A hundred labelled textures as a folder of PNG files with a labels.csv."""
    folder = tmp_path_factory.mktemp("textures")
    data = Textures.make(100, seed=3)
    rows = ["file,class_index"]
    for index, (pixels, label) in enumerate(zip(data.images, data.labels, strict=True)):
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
        rows.append(f"{index:03}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="session")
def tiny_models(together: Path) -> dict[str, Path]:
    """The tiny networks as .keras files, by family: "b" and "lite"."""
    return {
        "b": once(together / "tiny-b.keras", lambda path: tiny_network("b").save(path)),
        "lite": once(together / "tiny-lite.keras", lambda path: tiny_network("lite").save(path)),
    }


@pytest.fixture(scope="session")
def tiny_labels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The textures' class names, one a line."""
    path = tmp_path_factory.mktemp("labels") / "labels.txt"
    path.write_text("\n".join(f"stripes {index}" for index in range(CLASSES)) + "\n")
    return path


@pytest.fixture(scope="session")
def tiny_bundle(
    together: Path, tiny_models: dict[str, Path], tiny_labels: Path, texture_folder: Path
) -> Path:
    """The tiny SiLU network in int8, all formats."""
    return _converted(together, tiny_models["b"], "int8", tiny_labels, texture_folder)


@pytest.fixture(scope="session")
def tiny_regression(together: Path, tiny_models: dict[str, Path]) -> Path:
    """The tiny SiLU network as a .keras file that tells values."""
    import keras

    def make(path: Path) -> None:
        regression_network(keras.saving.load_model(tiny_models["b"], compile=False)).save(path)

    return once(together / "tiny-regression.keras", make)


@pytest.fixture(scope="session")
def regression_bundle(together: Path, tiny_regression: Path, texture_folder: Path) -> Path:
    """The regression in int8, all formats."""
    names = together / "values.txt"
    once(names, lambda path: path.write_text("\n".join(VALUES) + "\n"))
    options = {"task": "regression", "name": "tiny-regression"}
    return _converted(together, tiny_regression, "int8", names, texture_folder, **options)


@pytest.fixture(scope="session")
def tiny_float_bundle(
    together: Path, tiny_models: dict[str, Path], tiny_labels: Path, texture_folder: Path
) -> Path:
    """The tiny SiLU network in fp32, all formats."""
    return _converted(together, tiny_models["b"], "fp32", tiny_labels, texture_folder)


@pytest.fixture(scope="session")
def published(together: Path, shared: Path) -> Published:
    """Lite0 and B0 with their weights."""
    return Published(together, shared)


@pytest.fixture(scope="module")
def ethos_u() -> Iterator[str]:
    """A target that is all of `ETHOS_U`: one network, compiled for each."""
    from converters import targets
    from tests.devices import ETHOS_U

    every = replace(targets.target_named(ETHOS_U[0]), name="ethos-u", devices=ETHOS_U)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(targets, "TARGETS", {**targets.TARGETS, every.name: every})
        yield every.name


@pytest.fixture
def without_xnnpack(monkeypatch: pytest.MonkeyPatch) -> None:
    """LiteRT runs int8 as tflite-runtime's wheels for x86 do."""
    from ai_edge_litert.interpreter import OpResolverType

    from edgenet.runtime.tflite import TfliteSession

    make = TfliteSession._interpreter
    plain = {"experimental_op_resolver_type": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    monkeypatch.setattr(
        TfliteSession, "_interpreter", lambda self, **options: make(self, **options, **plain)
    )


def _converted(
    folder: Path,
    model: Path,
    precision: str,
    labels: Path,
    images: Path,
    name: str = "tiny-b",
    **options: Any,
) -> Path:
    from converters.pipeline import convert

    options |= {"labels": labels, "calibration": images}
    if precision == "int8":
        options["calibration_images"] = 40
    return once(
        folder / f"{name}-{precision}",
        lambda path: convert(model, path, precision=precision, **options),
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_NothingUnrun(), "nothing-unrun")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Workers get the files with slow tests first, so that none ends long after the other."""
    if hasattr(config, "workerinput"):
        slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
        items.sort(key=lambda item: -slow[item.path])


class _NothingUnrun:
    """In CI a test skipped or marked to fail fails the session: it would prove nothing."""

    def __init__(self) -> None:
        self._unrun: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped or hasattr(report, "wasxfail"):
            self._unrun.append(report.nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._unrun.append(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if IN_CI and self._unrun and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if IN_CI and self._unrun:
            terminalreporter.section("CI runs every test; these were skipped or expected to fail")
            terminalreporter.write_line("\n".join(self._unrun))
