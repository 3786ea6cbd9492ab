"""Each engine's profile names Keras layers and counts the same products."""

from __future__ import annotations

import json
import platform
from importlib import metadata
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import numpy as np
import pytest

from converters.formats import lower
from converters.freeze import freeze
from converters.pipeline import convert
from converters.quantization import silu
from edgenet.cli.main import main
from edgenet.errors import EdgenetError
from edgenet.measure.profiling import onnx, openvino, tflite
from edgenet.measure.profiling.operators import Profile
from tests.drivers import LEAVE, shared_library

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
    assert all(profile.complete for profile in floats.values())
    assert {"stem_conv", "block1a_dwconv", "block1a_se_reduce", "predictions"} <= set(counted[0])


def test_the_head_has_the_models_own_name(floats, tiny_models, tmp_path):
    import keras

    tiny = keras.saving.load_model(tiny_models["b"], compile=False)
    head = keras.layers.Dense(4, activation="softmax", name="dense")
    keras.Model(tiny.input, head(tiny.get_layer("avg_pool").output)).save(tmp_path / "own.keras")
    bundle = convert(tmp_path / "own.keras", tmp_path / "bundle", precision="fp32").path
    for format, profile in profiles(bundle, "fp32").items():
        counted = macs(profile)
        assert profile.complete, format
        assert "predictions" not in counted, format
        assert counted["dense"] * 10 == macs(floats[format])["predictions"] * 4, format


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_a_hidden_layer_is_known_with_its_activation(tiny_models, tmp_path, activation):
    """ONNX Runtime has one operator for a Gemm and most activations, and names it "fused ..."."""
    import keras

    tiny = keras.saving.load_model(tiny_models["b"], compile=False)
    pooled = tiny.get_layer("avg_pool").output
    hidden = keras.layers.Dense(6, activation=activation, name="hidden")(pooled)
    head = keras.layers.Dense(4, activation="softmax", name="dense")(hidden)
    graph = freeze(keras.Model(tiny.input, head))
    model = lower(graph, "onnx", "fp32", None, tmp_path)[0]
    found = onnx.profile(model, 1, RUNS)
    assert found.complete
    assert macs(found)["hidden"] == pooled.shape[-1] * 6


def test_a_factor_that_runs_as_a_convolution_is_no_product(floats, tiny_models, tmp_path):
    """ONNX Runtime makes one of a multiplication by channel, as a mixed file has in float."""
    import keras

    graph = freeze(keras.saving.load_model(tiny_models["b"], compile=False))
    sites = silu.candidates(graph)
    gains = {site: np.full(graph.shapes[site][-1], 2, np.float32) for site in sites}
    model = lower(silu.merged(silu.scaled(graph, gains)), "onnx", "fp32", None, tmp_path)[0]
    found = onnx.profile(model, 1, RUNS)
    convolutions = [op for op in found.operators if "Conv" in op.kernel]
    assert len(convolutions) > len([op for op in convolutions if op.macs])
    assert found.complete
    assert macs(found) == macs(floats["onnx"])


@pytest.mark.parametrize("precision", ["fp16", "w8"])
def test_narrower_weights_are_no_operators_of_a_run(floats, tiny_models, tmp_path, precision):
    """Such a file widens them in operators of its own, which the engine computes once."""
    convert(tiny_models["b"], tmp_path / "bundle", precision=precision, formats=("tflite",))
    found = tflite.profile(tmp_path / "bundle" / "model.tflite", 1, RUNS)
    assert macs(found) == macs(floats["tflite"])
    layers = [[op.layer for op in one.operators] for one in (found, floats["tflite"])]
    assert layers[0] == layers[1]


def test_the_first_convolutions_products_are_counted_right(floats, tiny_models):
    """A 3×3 stem of stride 2: height/2 · width/2 · 9 · 3 · channels."""
    import keras

    stem = keras.saving.load_model(tiny_models["b"], compile=False).get_layer("stem_conv")
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


def test_a_litert_of_another_package_is_refused_too(monkeypatch, tiny_bundle):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(EdgenetError, match=r"LiteRT of no known version is .*ai-edge-litert==2"):
        tflite.profile(tiny_bundle / "model.tflite", 1, RUNS)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the library is of x86-64 code")
def test_a_library_that_ends_its_process_without_a_word_is_told(monkeypatch, tiny_bundle, tmp_path):
    (tmp_path / "ai_edge_litert").mkdir()
    (tmp_path / "ai_edge_litert" / "__init__.py").touch()
    shared_library(tmp_path / "ai_edge_litert" / "libLiteRt.so", LEAVE)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(EdgenetError, match=r"failed on .*model\.tflite: it said nothing$"):
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
