"""Which file of a bundle is taken, by what is installed, and what to install where nothing is."""

from __future__ import annotations

import shutil
import sys

import pytest

from converters.bisection.onnx import OnnxNetwork
from converters.bisection.opening import open_bundle, open_files
from edgenet.bundle import Bundle
from edgenet.errors import BundleError, MissingExtraError


@pytest.fixture
def without(monkeypatch):
    """Makes packages be not installed, as far as imports can tell."""

    def hide(*modules: str) -> None:
        for module in modules:
            monkeypatch.setitem(sys.modules, module, None)

    return hide


def test_the_first_file_is_taken_where_its_packages_are_here(tiny_bundle):
    pair = open_bundle(Bundle.open(tiny_bundle), None, None)
    assert (pair.format, pair.passed_over) == ("tflite", ())


def test_another_file_is_taken_where_the_first_lacks_a_package(
    tiny_bundle, tiny_float_bundle, without
):
    without("ai_edge_litert")
    reference = str(tiny_float_bundle / "model.onnx")
    pair = open_bundle(Bundle.open(tiny_bundle), None, reference)
    assert (pair.format, pair.passed_over) == ("onnx", ("tflite",))


def test_another_file_is_taken_where_the_first_was_left_behind(
    tiny_bundle, tiny_float_bundle, tmp_path
):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    (bundle / "model.tflite").unlink()
    reference = str(tiny_float_bundle / "model.onnx")
    pair = open_bundle(Bundle.open(bundle), None, reference)
    assert (pair.format, pair.passed_over) == ("onnx", ())
    with pytest.raises(BundleError, match=r"model\.tflite"):
        open_bundle(Bundle.open(bundle), "tflite", reference)


def test_a_bundle_whose_int8_files_were_all_left_behind_names_the_first(tiny_bundle, tmp_path):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle, bundle)
    for artifact in Bundle.open(bundle).manifest.artifacts:
        for file in artifact.files:
            (bundle / file.path).unlink()
    with pytest.raises(BundleError, match=r"model\.tflite"):
        open_bundle(Bundle.open(bundle), None, None)


def test_of_an_fp32_bundle_the_file_for_an_engine_that_is_here_is_the_reference(
    tiny_bundle, tiny_float_bundle, without
):
    without("ai_edge_litert")
    pair = open_bundle(Bundle.open(tiny_bundle), None, str(tiny_float_bundle))
    assert isinstance(pair.reference, OnnxNetwork)


def test_of_an_fp32_bundle_a_file_that_was_left_behind_is_passed_over(
    tiny_bundle, tiny_float_bundle, tmp_path
):
    reference = tmp_path / "reference"
    shutil.copytree(tiny_float_bundle, reference)
    (reference / "model.tflite").unlink()
    pair = open_bundle(Bundle.open(tiny_bundle), None, str(reference))
    assert isinstance(pair.reference, OnnxNetwork)


def test_an_fp32_bundle_that_no_engine_here_runs_names_what_is_missing(
    tiny_bundle, tiny_float_bundle, without
):
    without("ai_edge_litert", "onnx", "openvino")
    told = r"bisecting TFLite files.*model\.tflite.*edgenet\[tflite\]"
    with pytest.raises(MissingExtraError, match=told):
        open_bundle(Bundle.open(tiny_bundle), "onnx", str(tiny_float_bundle))


def test_a_reference_that_lacks_a_package_is_named(tiny_bundle, without):
    without("ai_edge_litert")
    with pytest.raises(MissingExtraError, match=r"reference/model\.tflite.*edgenet\[tflite\]"):
        open_bundle(Bundle.open(tiny_bundle), None, None)


@pytest.mark.parametrize(
    ("format", "missing", "line"),
    [
        ("tflite", ("ai_edge_litert",), "'edgenet[tflite]'"),
        ("onnx", ("onnxruntime",), "'edgenet[onnx]'"),
        # Its engine's extra does not bring what edits an ONNX file.
        ("onnx", ("onnx",), "onnx"),
        ("onnx", ("onnx", "onnxruntime"), "'edgenet[onnx]' onnx"),
        ("openvino", ("openvino",), "'edgenet[openvino]'"),
    ],
)
def test_the_format_asked_for_is_taken_or_what_it_lacks_named(
    tiny_bundle, tiny_float_bundle, without, format, missing, line
):
    reference = tiny_float_bundle / ("model.tflite" if format == "onnx" else "model.onnx")
    without(*missing)
    with pytest.raises(MissingExtraError) as caught:
        open_bundle(Bundle.open(tiny_bundle), format, str(reference))
    names = {"tflite": "TFLite files", "onnx": "ONNX files", "openvino": "OpenVINO files"}
    assert names[format] in str(caught.value)
    assert " and ".join(sorted(missing, reverse=True)) in str(caught.value)
    assert str(caught.value).endswith(f"a package that is not here: pip install {line}")


def test_with_no_package_at_all_the_first_file_names_its_extra(
    tiny_bundle, tiny_float_bundle, without
):
    without("ai_edge_litert", "onnx", "openvino")
    with pytest.raises(MissingExtraError, match=r"edgenet\[tflite\]"):
        open_bundle(Bundle.open(tiny_bundle), None, None)


def test_two_files_name_the_extra_of_the_one_that_lacks_it(tiny_bundle, without):
    without("onnxruntime")
    with pytest.raises(MissingExtraError, match=r"model\.onnx, by onnxruntime.*edgenet\[onnx\]"):
        open_files(
            tiny_bundle / "model.onnx", str(tiny_bundle / "reference" / "model.tflite"), None
        )
