from __future__ import annotations

from dataclasses import replace
from importlib import import_module, invalidate_caches
from itertools import permutations
from pathlib import Path

import pytest

from edgenet.bundle import FORMATS
from edgenet.errors import MissingExtraError, UsageError
from edgenet.runtime.engines import ENGINES, Engine, choose, known, newer
from edgenet.runtime.session import Session


def absent(name: str) -> Engine:
    return next(engine for engine in ENGINES if engine.name == name and not engine.installed)


def test_every_format_has_an_engine_and_a_session() -> None:
    assert {engine.format for engine in ENGINES} == set(FORMATS)
    for format in FORMATS:
        module = import_module(f"edgenet.runtime.{format}")
        assert issubclass(getattr(module, f"{format.capitalize()}Session"), Session)


@pytest.mark.parametrize("formats", list(permutations(FORMATS)))
def test_the_first_format_that_can_run_is_taken(formats: tuple[str, ...]) -> None:
    assert choose(formats).format == formats[0]


def test_the_engine_named_is_taken() -> None:
    assert choose(FORMATS, "openvino").name == "openvino"


def test_an_engine_of_another_format_is_refused() -> None:
    with pytest.raises(UsageError, match="onnxruntime runs onnx files, not tflite"):
        choose(("tflite",), "onnxruntime")


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(UsageError, match=r"no engine 'ncnn': choose one of litert, "):
        choose(FORMATS, "ncnn")


def test_an_engine_that_is_not_installed_names_its_extra() -> None:
    engine = absent("tflite-runtime")
    assert engine.version is None
    with pytest.raises(
        MissingExtraError, match=r"pip install 'edgenet\[tflite-runtime\]' \(it"
    ) as e:
        choose(("tflite",), "tflite-runtime")
    assert str(e.value).endswith("(it needs Python 3.10 or 3.11)")


def test_the_version_is_that_of_the_distribution_that_brings_the_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nightlies and builds for a GPU have names of their own."""
    (tmp_path / "some_runtime").mkdir()
    (tmp_path / "some_runtime" / "__init__.py").touch()
    described = tmp_path / "some_runtime_nightly-2.5.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Name: some-runtime-nightly\nVersion: 2.5\n")
    (described / "top_level.txt").write_text("some_runtime\n")
    monkeypatch.syspath_prepend(tmp_path)
    invalidate_caches()
    engine = Engine("some", "onnx", "some-runtime", "some_runtime.interpreter", "onnx")
    assert engine.version == "2.5"
    assert replace(engine, module="no_runtime").version is None
    assert known("onnxruntime").version == import_module("onnxruntime").__version__


@pytest.mark.parametrize(
    ("version", "than", "later"),
    [
        ("1.10.0", "1.9.2", True),
        ("2.3.1", "2.3.1", False),
        ("2.3", "2.3.1", False),
        ("2.4.0.dev20260101", "2.3.0", True),
        ("1.24.0+cu12", "1.24.0", False),
        ("unknown", "1.0", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, than: str, later: bool) -> None:
    assert newer(version, than) is later
