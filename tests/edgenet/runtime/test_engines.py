from __future__ import annotations

from importlib import import_module
from itertools import permutations

import pytest

from edgenet.bundle import FORMATS
from edgenet.errors import MissingExtraError, UsageError
from edgenet.runtime.engines import ENGINES, Engine, choose
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
    with pytest.raises(MissingExtraError, match=r"pip install 'edgenet\[tflite-runtime\]'"):
        choose(("tflite",), "tflite-runtime")
