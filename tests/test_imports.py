"""What importing costs: nothing heavy before it is used, on the device and in `--help`."""

from __future__ import annotations

import json
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import edgenet
from edgenet.cli.main import COMMANDS

ROOT = Path(__file__).resolve().parent.parent
HEAVY = (
    "PIL",
    "ai_edge_litert",
    "h5py",
    "keras",
    "onnx",
    "onnxruntime",
    "openvino",
    "skimage",
    "tensorflow",
    "tflite_runtime",
)
# What no device has.
HOST = ("flatbuffers", "h5py", "keras", "onnx", "tensorflow")
# Layers and models cannot be defined without Keras; nothing on a device imports these.
KERAS = {"edgenet.models.blocks", "edgenet.models.efficientnet", "edgenet.models.keras_summary"}
EACH_ALONE = f"""
import importlib, json, multiprocessing, sys, traceback

def loaded(module):
    try:
        importlib.import_module(module)
    except BaseException:
        return traceback.format_exc()
    return " ".join({{*sys.modules}} & {{*{HEAVY!r}}})

with multiprocessing.get_context("fork").Pool(1, maxtasksperchild=1) as pool:
    print(json.dumps(pool.map(loaded, sys.argv[1:], chunksize=1)))
"""


def modules() -> list[str]:
    walked = pkgutil.walk_packages(edgenet.__path__, "edgenet.")
    return ["edgenet", *(module.name for module in walked if module.name != "edgenet.__main__")]


def python(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    """The heavy packages that a fresh process has loaded after a statement."""
    report = f"import sys; print('\\n', *({{*sys.modules}} & {{*{HEAVY!r}}}))"
    return set(python("-c", f"{statement}\n{report}").splitlines()[-1].split())


def test_edgenet_alone_does_not_even_import_numpy() -> None:
    out = python("-c", "import edgenet, sys; print({'numpy', 'json'} & {*sys.modules})")
    assert out.strip() == "set()"


@pytest.mark.parametrize(
    "name", ["bundle.Bundle", "errors.EdgenetError", "models.build", "load", "Session"]
)
def test_what_the_readme_calls_by_its_full_name_is_there(name: str) -> None:
    assert name.rpartition(".")[2] in python("-c", f"import edgenet; print(edgenet.{name})")


def test_a_device_without_the_host_half_is_told_so_by_convert_alone() -> None:
    out = python(
        "-c",
        f"import sys; sys.modules.update(dict.fromkeys({HOST!r}))\n"
        "import pydoc; from edgenet import *; import edgenet; pydoc.render_doc(edgenet)\n"
        "try: edgenet.convert('lite0')\n"
        "except edgenet.errors.MissingExtraError as error: print(load.__name__, error)",
    )
    assert out.startswith("load converting (")
    assert "pip install 'edgenet[all]'" in out


@pytest.mark.parametrize("package", ["onnx", "threadpoolctl"])
@pytest.mark.parametrize("way", ["edgenet.convert('lite0')", "main(['convert', 'lite0'])"])
def test_a_host_without_one_package_is_told_of_that_one(package: str, way: str) -> None:
    out = python(
        "-c",
        f"import sys; sys.modules[{package!r}] = None\n"
        "import edgenet; from edgenet.cli.main import main; sys.stderr = sys.stdout\n"
        f"try: {way}\n"
        "except edgenet.errors.MissingExtraError as error: print(error)",
    )
    told = f"converting ({package}) needs a package that is not here: pip install {package}"
    assert out.strip().removeprefix("edgenet: error: ") == told


def loaded_by_each(names: list[str], slow: str) -> dict[str, str]:
    """What is heavy and loaded by each module in a process of its own, or how it fails.

    The process is copied from one that has imported what most of them need, which is `slow`.
    """
    out = python("-c", f"import {slow}\n{EACH_ALONE}", *names)
    return dict(zip(names, json.loads(out), strict=True))


@pytest.fixture(scope="module")
def loaded_alone() -> dict[str, str]:
    return loaded_by_each([name for name in modules() if name not in KERAS], slow="numpy")


@pytest.mark.parametrize("module", [name for name in modules() if name not in KERAS])
def test_every_module_imports_alone_and_light(loaded_alone: dict[str, str], module: str) -> None:
    assert loaded_alone[module] == ""


@pytest.mark.slow
def test_modules_that_need_keras_import_alone() -> None:
    found = loaded_by_each(sorted(KERAS), slow="keras")
    assert {name: text for name, text in found.items() if not {*text.split()} <= {*HEAVY}} == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_help_imports_nothing_heavy(command: str) -> None:
    statement = (
        "import contextlib; from edgenet.cli.main import main\n"
        f"with contextlib.suppress(SystemExit): main([{command!r}, '--help'])"
    )
    assert loaded_by(statement) == set()


def test_the_list_of_commands_imports_no_command() -> None:
    statement = "from edgenet.cli.main import main; main([])"
    found = python("-c", f"{statement}\nimport sys; print('\\n', *sys.modules)").splitlines()[-1]
    assert {f"edgenet.cli.{name}" for name in COMMANDS}.isdisjoint(found.split())


@pytest.mark.parametrize(
    ("format", "engine"),
    [("tflite", "ai_edge_litert"), ("onnx", "onnxruntime"), ("openvino", "openvino")],
)
def test_a_bundle_loads_its_one_engine(tiny_bundle: Path, format: str, engine: str) -> None:
    statement = f"import edgenet; edgenet.load({str(tiny_bundle)!r}, {format!r})"
    assert loaded_by(statement) == {engine}


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_an_engine_keeps_nothing_in_the_users_home_and_starts_no_process(
    tiny_bundle: Path, format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("CI", "ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    out = python(
        "-c",
        "import os; forks = []; os.register_at_fork(before=lambda: forks.append(os.getpid()))\n"
        f"import edgenet; edgenet.load({str(tiny_bundle)!r}, {format!r}).close()\n"
        "print(len(forks))",
    )
    assert out.strip() == "0"
    assert not [*tmp_path.iterdir()]
