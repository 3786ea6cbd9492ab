"""Each engine's profile names Keras layers and counts the same products."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from converters.pipeline import convert
from edgenet.cli.main import main
from edgenet.errors import EdgenetError
from edgenet.measure.profiling import onnx, openvino, tflite
from edgenet.measure.profiling.operators import Profile

RUNS = 5


def profiles(bundle: Path, precision: str) -> dict[str, Profile]:
    return {
        "tflite": tflite.profile(bundle / "model.tflite", 1, RUNS),
        "onnx": onnx.profile(bundle / "model.onnx", 1, RUNS),
        "openvino": openvino.profile(bundle / "model.xml", 1, RUNS, precision),
    }


@pytest.fixture(scope="module")
def floats(tiny_float_bundle) -> dict[str, Profile]:
    return profiles(tiny_float_bundle, "fp32")


@pytest.fixture(scope="module")
def integers(tiny_bundle) -> dict[str, Profile]:
    return profiles(tiny_bundle, "int8")


def macs(profile: Profile) -> dict[str, int]:
    return {op.layer: op.macs for op in profile.operators if op.macs}


def test_the_engines_agree_on_the_products_of_each_layer(floats):
    counted = [macs(profile) for profile in floats.values()]
    assert counted[0] == counted[1] == counted[2]
    assert {"stem_conv", "block1a_dwconv", "block1a_se_reduce", "predictions"} <= set(counted[0])


@pytest.mark.parametrize("precision", ["fp16", "w8"])
def test_narrower_weights_are_no_operators_of_a_run(floats, tiny_models, tmp_path, precision):
    """Such a file widens them in operators of its own, which the engine computes once."""
    convert(tiny_models["b"], tmp_path / "bundle", precision=precision, formats=("tflite",))
    found = tflite.profile(tmp_path / "bundle" / "model.tflite", 1, RUNS)
    assert macs(found) == macs(floats["tflite"])
    layers = [[op.layer for op in one.operators] for one in (found, floats["tflite"])]
    assert layers[0] == layers[1]


def test_the_first_convolutions_products_are_counted_right(floats):
    """A 3×3 stem of stride 2: height/2 · width/2 · 9 · 3 · channels."""
    from tests.networks import tiny_network

    stem = tiny_network("b").get_layer("stem_conv")
    _, height, width, channels = stem.output.shape
    assert macs(floats["onnx"])["stem_conv"] == height * width * 27 * channels


def test_int8_computes_its_products_in_integers_and_fp32_none(floats, integers):
    for format, profile in integers.items():
        assert all(op.integer for op in profile.operators if op.macs), format
        assert not any(op.integer for op in floats[format].operators if op.macs), format


def test_every_operator_took_time_and_shares_add_up(integers):
    for profile in integers.values():
        document = profile.document()
        times = [op["ms"] for op in document["operators"]]
        assert times == sorted(times, reverse=True)
        assert sum(op["share"] for op in document["operators"]) == pytest.approx(1)
        assert document["total_ms"] == pytest.approx(sum(times))


def test_another_litert_is_refused_rather_than_guessed_at(monkeypatch, tiny_bundle):
    monkeypatch.setattr(tflite, "VERSION", "1.0")
    with pytest.raises(EdgenetError, match=r"pip install ai-edge-litert==1\.0"):
        tflite.profile(tiny_bundle / "model.tflite", 1, RUNS)


def test_a_file_that_litert_refuses_is_told_in_one_line(tmp_path):
    broken = tmp_path / "model.tflite"
    broken.write_bytes(b"no flatbuffer")
    with pytest.raises(EdgenetError, match=r"LiteRT's profiler failed on .*model\.tflite"):
        tflite.profile(broken, 1, RUNS)


def test_the_command_prints_the_profile_and_what_it_means(capsys, tiny_bundle):
    asked = ["bench", str(tiny_bundle), "--runs", "3", "--min-time", "0", "--threads", "1"]
    assert main([*asked, "--profile", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {peak["engine"] for peak in document["peaks"]} == {"openvino", "onnxruntime"}
    for result in document["results"]:
        profile = result["profile"]
        assert profile["macs"] > 0
        assert profile["peak_gmacs_per_s"] > profile["gmacs_per_s"] > 0
        assert any("GMAC/s over all" in finding for finding in profile["findings"])
