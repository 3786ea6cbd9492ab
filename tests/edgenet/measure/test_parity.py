"""Files are compared with the reference on real engines, batch by batch."""

from __future__ import annotations

import numpy as np
import pytest

from edgenet.errors import AccuracyError, UsageError
from edgenet.images import Batch
from edgenet.measure import accuracy, parity
from edgenet.measure.limits import Limits
from edgenet.runtime import SessionInfo, load

SEED = 5


def batches(session, sizes=(3, 3, 1), labels=None):
    """Smooth random photos, so that classes are not ties."""
    shape = session.info.input_shape[1:]
    rng, start = np.random.default_rng(SEED), 0
    for size in sizes:
        images = rng.integers(0, 256, (size, *shape), np.uint8)
        chosen = None if labels is None else tuple(labels[start : start + size])
        yield Batch(images, names=(), labels=chosen)
        start += size


@pytest.fixture
def reference(tiny_float_bundle):
    with load(tiny_float_bundle, "tflite", threads=1) as session:
        yield session


@pytest.fixture
def onnx(tiny_float_bundle):
    with load(tiny_float_bundle, "onnx", threads=1) as session:
        yield session


def test_a_file_against_itself_is_equal_to_the_bit(reference):
    found = parity.compare(reference, [reference], batches(reference))
    (result,) = found.results
    assert found.images == 7
    assert found.passed
    assert result.fidelity.agreement == 1.0
    assert result.fidelity.sqnr_db is None
    assert result.fidelity.max_error == 0.0
    assert result.per_image.energy.tolist() == [0.0] * 7
    assert result.p50_ms > 0


def test_another_engine_answers_nearly_the_same(reference, onnx):
    found = parity.compare(reference, [reference, onnx], batches(reference))
    assert found.passed
    assert found.results[1].fidelity.max_error < 1e-3
    assert [pair.formats for pair in found.cross_agreement] == [("tflite", "onnx")]
    assert found.cross_agreement[0].agreement == 1.0


def test_without_labels_top1_and_drop_are_none(reference, onnx):
    found = parity.compare(reference, [onnx], batches(reference))
    assert found.reference_top1 is None
    assert found.results[0].fidelity.top1 is None
    assert found.results[0].fidelity.drop_points is None


def test_with_labels_the_references_own_answers_score_one(reference, onnx):
    answers, truth = parity.collect([reference], batches(reference))
    labels = answers[0].logits.argmax(axis=1).tolist()
    found = parity.compare(reference, [onnx], batches(reference, labels=labels))
    assert (truth.labels, truth.values) == (None, None)
    assert (found.reference_top1, found.doubt) == (1.0, None)
    assert found.results[0].fidelity.drop_points == 0.0


@pytest.mark.parametrize(("known", "told"), [(0, "0.0%"), (1, "14.3%"), (2, None)])
def test_a_reference_that_is_right_by_chance_is_doubted(reference, onnx, known, told):
    """Of ten classes chance meets one in ten, give or take 5 %."""
    answers, _ = parity.collect([reference], batches(reference))
    right = answers[0].logits.argmax(axis=1).tolist()
    labels = right[:known] + [(label + 1) % 10 for label in right[known:]]
    doubt = parity.compare(reference, [onnx], batches(reference, labels=labels)).doubt
    expected = told and f"fp32 itself is right on {told} of the images, as by chance"
    assert (doubt and doubt.partition(":")[0]) == expected


def test_answers_do_not_depend_on_how_images_are_batched(reference):
    images = next(batches(reference, (7,))).images
    pairs = (Batch(images[start : start + 2], (), None) for start in range(0, 7, 2))
    (split,), _ = parity.collect([reference], pairs)
    (whole,), _ = parity.collect([reference], [Batch(images, (), None)])
    assert np.array_equal(split.logits, whole.logits)
    assert np.array_equal(whole.logits, reference.run(images))


def test_limits_decide_what_passes(reference, onnx):
    strict = parity.compare(
        reference, [onnx], batches(reference), limits=lambda info: Limits(min_sqnr=1000)
    )
    exact = parity.compare(
        reference, [reference], batches(reference), limits=lambda info: Limits(min_sqnr=1000)
    )
    assert exact.passed
    assert strict.passed == (strict.results[0].fidelity.sqnr_db is None)


def test_the_cpu_is_compared_on_the_same_images(reference, onnx):
    found = parity.compare(
        reference, [reference, onnx], batches(reference), on_cpu=[None, reference]
    )
    alone, beside = found.results
    assert alone.beside_cpu is None
    assert beside.beside_cpu == beside.fidelity
    assert [pair.formats for pair in found.cross_agreement] == [("tflite", "onnx")]


def test_a_device_far_from_the_cpu_fails(reference, onnx, tiny_bundle):
    def lenient(info: SessionInfo) -> Limits:
        return Limits()

    with load(tiny_bundle, "tflite", threads=1) as other:
        found = parity.compare(reference, [onnx], batches(reference), lenient, on_cpu=[other])
    (failure,) = found.results[0].failures
    assert failure.startswith("beside the cpu, the SQNR is ")


def test_a_label_beyond_the_classes_is_refused(reference, onnx):
    with pytest.raises(UsageError, match="class index 10, but the model's end at 9"):
        parity.compare(reference, [onnx], batches(reference, labels=[10] * 7))


def test_progress_tells_the_images_done(reference):
    told: list[int] = []
    parity.compare(reference, [reference], batches(reference), progress=told.append)
    assert told == [3, 6, 7]


def test_a_classifier_is_not_judged_by_a_regression(reference, regression_bundle):
    with load(regression_bundle, "tflite") as regression:
        with pytest.raises(UsageError, match="64×64 images and knows 2 values"):
            parity.compare(reference, [regression], [])
        found = parity.compare(regression, [regression], batches(regression))
    (result,) = found.results
    assert (result.fidelity.r2, result.fidelity.mean_error, result.passed) == (1.0, 0.0, True)
    assert found.worst_value in (0, 1)
    assert found.worst_value_name(None) == str(found.worst_value)
    assert found.worst_value_name(["a", "b"]) == "ab"[found.worst_value]
    assert (found.cross_agreement, result.per_image.answers, found.doubt) == ((), None, None)


def test_images_without_an_answer_are_told():
    logits = np.array([[1.0, 2.0], [np.nan, 1.0], [np.inf, 0.0]], np.float32)
    answers = parity.Answers.of(logits, [3_000_000, 9_000_000, 4_000_000])
    assert answers.p50_ms == 4.0
    assert answers.failures == ("2 of 3 images answered with NaN or infinity",)
    assert parity.Answers.of(logits[:1], [1]).failures == ()


class Overflowing:
    """A session some of whose answers overflow, as half floats do."""

    def __init__(self, session, every: int) -> None:
        self.info, self._session, self._every, self._seen = session.info, session, every, 0

    def run(self, images):
        logits = self._session.run(images)
        places = np.arange(self._seen, self._seen + len(images))
        logits[places % self._every == 0, 0] = np.inf
        self._seen += len(images)
        return logits


def test_a_file_that_overflows_fails_and_the_others_are_still_told(reference, onnx):
    found = parity.compare(reference, [Overflowing(onnx, 3), onnx], batches(reference))
    broken, sound = found.results
    assert broken.failures[0] == "3 of 7 images answered with NaN or infinity"
    assert np.isfinite(broken.fidelity.sqnr_db)
    assert np.isfinite(broken.per_image.energy).all()
    assert broken.per_image.answers[[0, 3, 6]].tolist() == [-1, -1, -1]
    assert broken.fidelity.agreement == sound.fidelity.agreement - 3 / 7
    assert found.cross_agreement[0].agreement == broken.fidelity.agreement
    assert sound.passed
    assert not found.passed


def test_a_file_that_never_answers_is_never_right(reference, onnx):
    """Class 0 is the label of all, and the first of the classes where all are equal."""
    never = Overflowing(onnx, 1)
    (result,) = parity.compare(reference, [never], batches(reference, labels=[0] * 7)).results
    assert (result.fidelity.top1, result.fidelity.top5) == (0, 0)
    assert result.fidelity.agreement == 0
    assert result.damage.changed == 7


def test_divergences_are_computed_once_a_file(monkeypatch, reference, onnx):
    computed = []
    compute = accuracy.divergences

    def counted(*logits):
        computed.append(1)
        return compute(*logits)

    monkeypatch.setattr(accuracy, "divergences", counted)
    parity.compare(reference, [reference, onnx], batches(reference))
    assert len(computed) == 2


def test_a_reference_that_overflows_is_nothing_to_compare_with(reference, onnx):
    with pytest.raises(AccuracyError, match="the fp32 reference has 3 of 7 images answered"):
        parity.compare(Overflowing(reference, 3), [onnx], batches(reference))
