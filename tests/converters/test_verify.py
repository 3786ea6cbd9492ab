"""A float file that is not the Keras model is refused; an int8 file is measured."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest

from converters.quantization.search import decibels
from converters.quantization.simulate import noise
from converters.verify import PrecisionError, judge, verify
from edgenet.bundle import Bundle, record_of
from edgenet.cli.main import main
from edgenet.errors import AccuracyError
from edgenet.images import ImageError
from edgenet.measure.accuracy import sqnr_db
from edgenet.measure.limits import NO_LIMITS, Limits
from edgenet.runtime import load
from tests.networks import CLASSES, Textures


@pytest.fixture
def images():
    return Textures.make(12, seed=8).images


def verified(bundle: Bundle, images, logits, *more):
    artifact = bundle.artifact("onnx")
    batches = [images[:5], images[5:]]
    named = (artifact.format, artifact.precision, artifact.files)
    return verify(bundle, *named, batches, logits, *more).verified


def test_a_faithful_file_is_measured(tiny_float_bundle, images):
    bundle = Bundle.open(tiny_float_bundle)
    with load(bundle, "tflite") as session:
        logits = session.run(images)
    found = verified(bundle, images, logits)
    assert found.images == 12
    assert found.agreement == 1.0
    assert found.max_error < 1e-3
    assert found.sqnr_db is None or found.sqnr_db > 80


@pytest.mark.parametrize("spoil", [lambda x: x + 0.1, lambda x: x[:, ::-1], lambda x: x * np.nan])
def test_a_float_file_with_other_answers_is_refused(tiny_float_bundle, images, spoil):
    bundle = Bundle.open(tiny_float_bundle)
    with load(bundle, "onnx") as session:
        logits = spoil(session.run(images))
    said = "the fp32 onnx file is not the Keras model: the SQNR"
    with pytest.raises(AccuracyError, match=said) as refused:
        verified(bundle, images, logits)
    # Another precision would not help.
    assert refused.type is AccuracyError


def test_an_int8_file_is_measured_whatever_it_lost(tiny_bundle, images):
    bundle = Bundle.open(tiny_bundle)
    with load(bundle, reference=True) as session:
        logits = session.run(images)
    assert verified(bundle, images, logits).sqnr_db > 10
    assert verified(bundle, images, np.ascontiguousarray(logits[:, ::-1])).agreement < 0.5


def test_a_file_that_answers_with_infinity_is_refused(tiny_float_bundle, images, tmp_path):
    bundle = Bundle.open(shutil.copytree(tiny_float_bundle, tmp_path / "overflown"))
    (file,) = bundle.artifact("onnx").files
    model = onnx.load(bundle.path / file.path)
    bias = next(b for b in model.graph.initializer if list(b.dims) == [CLASSES])
    bias.CopyFrom(onnx.numpy_helper.from_array(np.full(CLASSES, np.inf, np.float32), bias.name))
    onnx.save(model, bundle.path / file.path)
    files = (record_of(bundle.path, bundle.path / file.path),)
    with pytest.raises(PrecisionError, match=r"^the fp16 onnx file answers with nan or infinity"):
        verify(bundle, "onnx", "fp16", files, [images], np.ones((len(images), CLASSES)))


def test_a_file_keeps_the_limits_of_its_attempt(tiny_bundle, images):
    bundle = Bundle.open(tiny_bundle)
    with load(bundle, reference=True) as session:
        logits = session.run(images)
    with load(bundle, "onnx") as session:
        kept = decibels(noise(session.run(images), logits))
    assert verified(bundle, images, logits, None, Limits(min_sqnr=kept - 0.1))
    with pytest.raises(PrecisionError, match=r"^int8 in onnx: the SQNR is .* dB required$"):
        verified(bundle, images, logits, None, Limits(min_sqnr=kept + 0.1))


def test_int8_that_an_engine_computes_otherwise_than_it_is_defined_is_refused(tiny_bundle, images):
    bundle = Bundle.open(tiny_bundle)
    with load(bundle, reference=True) as reference, load(bundle, "onnx") as session:
        logits, own = reference.run(images), session.run(images)
    noise = own[:8] - logits[:8]
    for amplitude in (0.6, 1.0, 3.0):
        assert verified(bundle, images, logits, logits[:8] + amplitude * noise)
    for amplitude in (0.1, 0.4):
        with pytest.raises(AccuracyError, match=r"on this CPU \(.+\) onnxruntime .* out with --to"):
            verified(bundle, images, logits, logits[:8] + amplitude * noise)


def test_a_tie_that_one_image_amplifies_is_no_error_of_an_engine(tiny_bundle, images):
    bundle = Bundle.open(tiny_bundle)
    with load(bundle, reference=True) as reference, load(bundle, "onnx") as session:
        logits, own = reference.run(images), session.run(images)
    simulated = own[:8].copy()
    logits[3] = simulated[3] = own[3] + 10
    assert verified(bundle, images, logits, simulated)


def test_what_loses_the_answers_is_told(tiny_bundle, images):
    bundle, told = Bundle.open(tiny_bundle), list[str]()
    with load(bundle, "onnx") as session:
        own = session.run(images)
    named = (bundle, "onnx", "int8", bundle.artifact("onnx").files, [images])
    verify(*named, own + own.std() / 10, report=told.append)
    assert told == []
    offset = np.float32(10 * own.std())
    logits = own + offset + np.roll(own, 1, axis=0)
    verify(*named, logits, report=told.append)
    (line,) = told
    assert line.startswith("int8 in onnx keeps only -")
    assert line.endswith("of what tells images apart: with --max-drop operators return to float")


def test_the_order_of_sums_is_no_error_of_an_engine(tiny_float_bundle, images):
    """As of a mixed file that is nearly all in float."""
    bundle = Bundle.open(tiny_float_bundle)
    with load(bundle, "onnx") as session:
        own = session.run(images)
    logits = own + np.float32(1e-3) * np.sign(own)
    assert 50 < sqnr_db(logits, own) < 80
    simulated = (logits + np.float32(1e-6))[:8]
    artifact = bundle.artifact("onnx")
    named = ("onnx", "int8-mixed", artifact.files)
    assert verify(bundle, *named, [images], logits, simulated)


def test_the_judge_refuses_more_drop_than_allowed(tiny_bundle, texture_folder):
    bundle, lines = Bundle.open(tiny_bundle), []
    judge(bundle, texture_folder, Limits(max_drop=100), lines.append)
    assert lines[1].startswith("fp32 is right on ")
    assert [line.split(":")[0] for line in lines[2:]] == ["tflite", "onnx", "openvino"]
    with pytest.raises(PrecisionError, match=r"^int8 in tflite: the top-1 drop is .* allowed$"):
        judge(bundle, texture_folder, Limits(max_drop=-100), lines.append)


def test_the_judge_leaves_damaged_images_out_where_that_is_asked(
    tiny_float_bundle, texture_folder, tmp_path
):
    """What is left keeps its labels: the tiny network knows nearly all of them."""
    folder, skipped, lines = tmp_path / "damaged", [], []
    shutil.copytree(texture_folder, folder)
    for name in ("000.png", "003.png", "099.png"):
        (folder / name).write_bytes((folder / name).read_bytes()[:60])
    bundle = Bundle.open(tiny_float_bundle)
    with pytest.raises(ImageError, match=r"000\.png is a damaged image"):
        judge(bundle, folder, Limits(max_drop=0), lines.append)
    judge(bundle, folder, Limits(max_drop=0), lines.append, skipped.append)
    told = [line.split(":")[0] for line in skipped]
    assert told == ["left out 000.png", "left out 003.png", "left out 099.png"]
    assert [line for line in lines if "as by chance" in line] == []


def test_the_judge_tells_what_check_will_find(capsys, tiny_bundle, texture_folder):
    found = judge(Bundle.open(tiny_bundle), texture_folder, NO_LIMITS, lambda line: None)
    main(["check", str(tiny_bundle), "--evaluate", str(texture_folder), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert found["images"] == document["images"] == 100
    assert found["sha256"] == document["images_sha256"]
    assert found["reference_top1"] == document["reference"]["top1"]
    assert found["results"] == [
        {key: result[key] for key in found["results"][0]} for result in document["results"]
    ]


def test_without_labels_agreement_alone_is_told(tiny_bundle, texture_folder, tmp_path):
    for name in ("000.png", "001.png"):
        shutil.copy(texture_folder / name, tmp_path)
    found = judge(Bundle.open(tiny_bundle), tmp_path, NO_LIMITS, lambda line: None)
    assert (found["images"], found["reference_top1"]) == (2, None)
    for result in found["results"]:
        assert result["top1"] is result["drop_points"] is result["drop_interval"] is None
        assert 0 <= result["agreement"] <= 1
