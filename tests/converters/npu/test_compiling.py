"""`convert` with a target: its compiler takes the file whole, and the manifest has the rest."""

from __future__ import annotations

import json
from pathlib import Path

import onnxruntime
import pytest

from converters.npu import ethosu
from converters.npu.job import Job
from converters.pipeline import convert
from edgenet.bundle import Bundle
from edgenet.cli.main import main
from edgenet.errors import BundleError, EdgenetError
from edgenet.runtime import load
from tests.devices import ETHOS_U
from tests.networks import Textures


def made_for(target: str, model: Path, output: Path, images: Path, **more: object) -> Bundle:
    return convert(
        model,
        output,
        target=target,
        calibration=images,
        crop_fraction=1.0,
        **({} if target == "gpu" else {"calibration_images": 24, "effort": "fast"}),
        **more,
    )


@pytest.fixture(scope="module")
def for_ethos_u(tmp_path_factory, ethos_u, tiny_models, texture_folder) -> dict[str, Bundle]:
    """For all of Arm's NPUs, by family."""
    folder = tmp_path_factory.mktemp("ethos-u")
    return {
        family: made_for(ethos_u, model, folder / family, texture_folder)
        for family, model in tiny_models.items()
    }


@pytest.fixture(scope="module")
def qualcomm(tmp_path_factory, tiny_models, texture_folder) -> dict[str, Bundle]:
    """For all SoCs, by family."""
    folder = tmp_path_factory.mktemp("qualcomm")
    return {
        family: made_for("qualcomm", model, folder / family, texture_folder)
        for family, model in tiny_models.items()
    }


@pytest.mark.parametrize("family", ["b", "lite"])
@pytest.mark.parametrize("target", ETHOS_U)
def test_ethos_u_runs_every_operator(for_ethos_u, family, target):
    bundle = for_ethos_u[family]
    (compiled,) = (one for one in bundle.manifest.compiled if one.device == target)
    assert (compiled.kind, compiled.format) == ("compiled", "tflite")
    assert compiled.compiler.startswith("ethos-u-vela ")
    assert compiled.report["operators"]["cpu"] == 0
    assert compiled.report["operators"]["npu"] > 10
    estimated = compiled.report["estimated_by_compiler"]
    assert 0 < estimated["latency_ms"] < 100
    assert estimated["latency_ms"] == pytest.approx(
        estimated["cycles"] / estimated["clock_hz"] * 1e3
    )
    assert estimated["sram_bytes"] > 10_000
    assert bundle.manifest.precision == "int8"
    assert bundle.manifest.artifacts[0].verified.sqnr_db > 20
    assert b"ethos-u" in bundle.compiled_path(target).read_bytes()


@pytest.mark.parametrize(("family", "precision"), [("b", "w8a16"), ("lite", "int8")])
def test_every_soc_gets_a_context_of_all_operators(qualcomm, family, precision):
    bundle = qualcomm[family]
    assert bundle.manifest.precision == precision
    assert bundle.manifest.target["name"] == "qualcomm"
    socs = [compiled.device for compiled in bundle.manifest.compiled]
    assert socs == ["SM8450", "SM8550", "SM8650", "SM8750"]
    for compiled in bundle.manifest.compiled:
        assert compiled.report["operators"]["cpu"] == 0
        assert compiled.report["operators"]["npu"] > 10
    contents = {bundle.compiled_path(soc).read_bytes() for soc in socs}
    assert len(contents) == len(socs)


@pytest.mark.parametrize("family", ["b", "lite"])
def test_a_context_answers_as_its_source_does(qualcomm, family):
    """Both in the emulator: the compiled network is the verified one, to the bit."""
    from edgenet.runtime.onnx_plugin import register
    from edgenet.runtime.qnn import EMULATED, MODULE, PROVIDER, provider_options

    bundle, images = qualcomm[family], Textures.make(2, seed=5).images
    options = onnxruntime.SessionOptions()
    options.add_provider_for_devices(
        register(onnxruntime, PROVIDER, MODULE)[:1], provider_options(EMULATED)
    )
    context = onnxruntime.InferenceSession(bundle.compiled_path(EMULATED), options)
    with load(bundle, device="npu") as session:
        for image in images:
            (logits,) = context.run(["logits"], {"image": image[None]})
            assert (logits == session.run(image)).all()
    del context


@pytest.mark.parametrize("target", ["qualcomm", "ethos-u"])
def test_two_equal_runs_compile_to_the_same_bytes(
    qualcomm, for_ethos_u, tiny_models, texture_folder, tmp_path, target
):
    one = {"qualcomm": qualcomm, "ethos-u": for_ethos_u}[target]["lite"]
    output = tmp_path / "a" / "deeper" / "other"
    other = made_for(target, tiny_models["lite"], output, texture_folder)
    assert one.manifest == other.manifest


def test_a_damaged_context_is_not_handed_out(qualcomm, tmp_path):
    compiled = qualcomm["lite"].manifest.compiled[0]
    path = qualcomm["lite"].path / compiled.file.path
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(BundleError, match="its sha256 differs"):
            qualcomm["lite"].compiled_path(compiled.device)
    finally:
        path.write_bytes(content)


def test_operators_left_to_the_cpu_are_an_error_that_names_them(quantized, tmp_path, monkeypatch):
    """The plain file hands out floats, which Ethos-U does not."""
    from converters.formats.tflite import build

    made = quantized("lite", "int8", True)
    monkeypatch.setattr(ethosu, "integer_part", build)
    job = Job(tmp_path / "unused", made.of("tflite"), made.recipe, "int8", tmp_path)
    with pytest.raises(EdgenetError, match=r"ethos-u55-128 does not run all of .*DEQUANTIZE"):
        ethosu.compile_for(job, "ethos-u55-128")
    assert not list(tmp_path.iterdir())


def test_gpus_get_half_floats_and_float_pixels(tiny_models, texture_folder, tmp_path):
    bundle = made_for("gpu", tiny_models["b"], tmp_path / "b", texture_folder)
    assert (bundle.manifest.precision, bundle.formats) == ("fp16", ("tflite", "onnx"))
    assert bundle.manifest.input.dtype == "float32"
    assert bundle.manifest.compiled == ()
    for format in bundle.formats:
        assert bundle.artifact(format).verified.sqnr_db > 30
        with load(bundle, format) as session:
            assert session.run(Textures.make(2, seed=1).images).shape[0] == 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target", "ethos-u55-128", "--precision", "fp16"], "take --precision int8"),
        (["--target", "qualcomm", "--to", "tflite"], "take --to onnx"),
        (["--target", "qualcomm", "--int8", "--max-drop", "1"], "add --evaluate DIR"),
        (["--target", "nothing"], "take one of cpu-x86"),
    ],
)
def test_contradictions_are_exit_2_before_the_work(capsys, tmp_path, arguments, told):
    assert main(["convert", "lite0", *arguments, "-o", str(tmp_path / "out")]) == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert len(captured.err.strip().splitlines()) == 1


def test_the_precision_asked_for_wins_and_the_report_says_what_is_estimated(
    capsys, tiny_models, texture_folder, tmp_path
):
    arguments = ["--target", "qualcomm:SM8650", "--int8", "--effort", "fast", "--calibration"]
    model, output = str(tiny_models["b"]), str(tmp_path / "out")
    command = ["convert", model, *arguments, str(texture_folder), "--calibration-images", "16"]
    assert main([*command, "--json", "-o", output]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["precision"] == "int8"
    (compiled,) = document["compiled"]
    assert (compiled["kind"], compiled["device"]) == ("compiled", "SM8650")
    assert compiled["bytes"] == Path(compiled["file"]).stat().st_size
    assert main([*command[:2], "--target", "ethos-u55-128", *command[5:], "-o", output]) == 0
    out = capsys.readouterr().out
    assert "no one measured what is compiled" in out
    assert "ms (estimated)" in out
