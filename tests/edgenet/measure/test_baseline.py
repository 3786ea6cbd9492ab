"""A baseline fails what got worse, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from edgenet.errors import UsageError
from edgenet.measure import baseline
from edgenet.measure.check_document import judge
from edgenet.measure.limits import Limits
from tests.documents import (
    answer,
    check_document,
    counted,
    of_old,
    regression_document,
    unlabelled,
)


def worse(lost: int, noise: float = 1.0, first: int = 1) -> dict[str, Any]:
    """The document with the first file wrong on `lost` more images, and as noisy as told."""
    document = check_document()
    result = document["results"][0]
    result["noise"] = [noise] * document["images"]
    for image in range(first, first + lost):
        answer(result, image, result["answers"][image] + 1, noise)
    return counted(document)


def unpaired(document: dict[str, Any]) -> dict[str, Any]:
    return {**document, "images_sha256": "1" * 64}


def found(document: dict[str, Any], before: dict[str, Any] | None = None) -> baseline.Comparison:
    return baseline.compare(document, before or check_document())


def test_a_run_is_as_good_as_itself():
    same = found(check_document())
    assert (same.regressions, same.unsure, same.paired) == ([], [], True)
    assert [change.measure for change in same.changes] == ["top1", "agreement", "sqnr_db"] * 2


def test_of_a_regression_the_r2_is_compared():
    before, after = regression_document(), regression_document()
    assert [change.measure for change in found(after, before).changes] == ["r2"] * 2
    after["results"][0].update(noise=[9.0] * after["images"], r2=0.984)
    before["results"][0].update(noise=[1.0] * after["images"], r2=0.99)
    (line,) = found(after, before).regressions
    assert "R² fell from 0.9900 to 0.9840 (p = 0.0005)" in line
    after["results"][0]["r2"] = 0.986
    assert found(after, before).regressions == []
    after["results"][0]["r2"] = None
    comparison = found(after, before)
    assert [change.format for change in comparison.changes] == ["onnx"]
    (line,) = comparison.regressions
    assert line.startswith("tflite int8 cpu: R² was in the baseline and could not be compared: fp")


def test_a_limit_that_a_regressions_baseline_misses_does_not_hold():
    before = regression_document()
    assert baseline.missed(before, "tflite", "cpu", Limits.of("int8")) == set()
    before["results"][0]["r2"] = 0.94
    missed = baseline.missed(before, "tflite", "cpu", Limits.of("int8"))
    assert missed == {"r2"}
    assert Limits.of("int8").overridden_by(Limits()).min_r2 == 0.95
    assert Limits.of("int8").overridden_by(Limits(), missed).min_r2 is None
    assert Limits.of("int8").overridden_by(Limits(min_r2=0.9), missed).min_r2 == 0.9


@pytest.mark.parametrize(
    ("drop", "agreement", "missed"),
    [
        (1.0, 0.95, set()),
        (1.1, 0.95, {"top1"}),
        (None, 0.9, {"agreement"}),
        (2.0, 0.9, {"top1", "agreement"}),
    ],
)
def test_limits_that_the_baseline_misses_are_known(drop, agreement, missed):
    document, limits = check_document(), Limits(max_drop=1.0, min_agreement=0.95)
    document["results"][0] |= {"drop_points": drop, "agreement": agreement}
    assert baseline.missed(document, "tflite", "cpu", limits) == missed
    assert baseline.missed(document, "tflite", "cpu", Limits()) == set()
    assert baseline.missed(document, "tflite", "gpu", limits) == set()


def test_a_loss_that_is_no_chance_is_told_with_its_images():
    assert found(worse(8)).regressions == [
        "tflite int8 cpu: top-1 fell from 74.00% to 66.00% (8 lost, 0 gained, p = 0.0039)",
        "tflite int8 cpu: agreement fell from 0.9800 to 0.9000 (8 lost, 0 gained, p = 0.0039)",
    ]


def test_a_photo_is_no_alarm_but_is_told_where_it_is_more_than_may_be_lost():
    comparison = found(worse(1))
    assert comparison.regressions == []
    assert comparison.unsure == [
        "tflite int8 cpu: top-1 fell from 74.00% to 73.00% (1 lost, 0 gained, p = 0.5)",
        "tflite int8 cpu: agreement fell from 0.9800 to 0.9700 (1 lost, 0 gained, p = 0.5)",
    ]


@pytest.mark.parametrize(("lost", "verdict"), [(6, "unsure"), (7, "worse")])
def test_a_loss_is_told_from_chance_at_one_in_a_hundred(lost, verdict):
    """That a fair coin falls on one side each time has p = 1/64 and 1/128."""
    assert [change.verdict for change in found(worse(lost)).changes[:2]] == [verdict] * 2


def test_images_that_were_wrong_anyway_count_for_agreement_alone():
    (line,) = found(worse(8, first=80)).regressions
    assert "agreement fell" in line


@pytest.mark.parametrize(
    ("noise", "lost"), [(1.1, False), (1.25, False), (1.3, True), (0.5, False)]
)
def test_noise_is_held_to_a_decibel(noise, lost):
    lines = found(worse(0, noise)).regressions
    assert lines == (
        ["tflite int8 cpu: SQNR fell from 20.0 dB to 18.9 dB (p = 0.0005)"] if lost else []
    )


def test_a_loss_within_the_tolerance_passes_however_sure():
    before, after = check_document(), worse(0, 1.2)
    change = next(c for c in found(after, before).changes if c.measure == "sqnr_db")
    assert change.evidence.p < baseline.CHANCE
    assert change.verdict == "kept"


def test_a_file_equal_to_the_bit_that_no_longer_is_has_regressed():
    (line,) = found(check_document(), worse(0, 0.0)).regressions
    assert "SQNR fell from equal to the bit to 20.0 dB" in line
    assert found(worse(0, 1e-6), worse(0, 0.0)).regressions == []


def test_a_format_that_is_gone_has_regressed_and_a_new_one_has_not():
    fewer = check_document()
    del fewer["results"][1]
    (line,) = found(fewer).regressions
    assert line == "onnx int8 cpu was in the baseline and was not checked now"
    assert found(check_document(), fewer).regressions == []


def test_a_format_that_was_not_asked_for_is_passed_over():
    fewer = check_document()
    del fewer["results"][1]
    comparison = baseline.compare(fewer, check_document(), ["tflite"])
    assert comparison.gone == ()
    assert {change.format for change in comparison.changes} == {"tflite"}
    assert baseline.compare(fewer, check_document(), ["onnx"]).gone == ("onnx int8 cpu",)


def test_a_file_of_another_precision_is_the_same_file():
    after = worse(8)
    after["results"][0]["precision"] = "int8-mixed"
    comparison = found(after)
    assert comparison.gone == ()
    assert comparison.regressions[0].startswith("tflite int8 -> int8-mixed cpu: top-1 fell from")


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (unpaired(check_document()), "the baseline's 100 images are not the 100 of this check"),
        (of_old(check_document()), "the baseline is of an older edgenet"),
    ],
)
def test_without_pairs_the_tolerance_alone_decides_and_that_is_told(before, reason):
    comparison = found(worse(1), before)
    assert not comparison.paired
    assert comparison.rule.startswith(reason)
    assert comparison.rule.endswith(baseline.RULE_UNPAIRED)
    assert comparison.regressions == [
        "tflite int8 cpu: top-1 fell from 74.00% to 73.00%",
        "tflite int8 cpu: agreement fell from 0.9800 to 0.9700",
    ]
    assert comparison.unsure == []


def test_without_labels_agreement_and_noise_are_compared():
    comparison = found(unlabelled(worse(8)), unlabelled(check_document()))
    assert {change.measure for change in comparison.changes} == {"agreement", "sqnr_db"}
    assert (len(comparison.regressions), comparison.unknown) == (1, ())


@pytest.mark.parametrize("before", [check_document(), unpaired(check_document())])
def test_a_top1_that_can_no_longer_be_measured_has_regressed(before):
    after = unlabelled(check_document())
    after["results"][0]["precision"] = "int8-mixed"
    told = "top-1 was in the baseline and could not be compared: the images have no labels now"
    assert found(after, before).regressions == [
        f"tflite int8 -> int8-mixed cpu: {told}",
        f"onnx int8 cpu: {told}",
    ]
    assert found(before, after).unknown == ()


def relabelled(document: dict[str, Any], images: int) -> dict[str, Any]:
    """The document by labels of which some, of images that fp32 has right, are others."""
    document["labels"][:images] = [(index + 5) % 10 for index in range(images)]
    return counted(document)


def test_labels_that_changed_are_not_blamed_on_the_file():
    for before, after in (
        (check_document(), relabelled(check_document(), 18)),
        (relabelled(check_document(), 18), check_document()),
        (unlabelled(check_document()), check_document()),
    ):
        comparison = found(after, before)
        assert comparison.rule == f"{baseline.RULE}; {baseline.RELABELLED}"
        assert (comparison.regressions, comparison.unsure) == ([], [])
        top1 = [change for change in comparison.changes if change.measure == "top1"]
        now = [result["top1"] for result in after["results"]]
        assert [change.before for change in top1] == [change.after for change in top1] == now
        assert {change.evidence.p for change in top1} == {1.0}
    assert found(check_document()).rule == baseline.RULE


def test_labels_that_are_better_now_hide_no_loss():
    after = worse(8, first=40)
    assert after["results"][0]["top1"] > relabelled(check_document(), 18)["results"][0]["top1"]
    assert found(after, relabelled(check_document(), 18)).regressions == [
        "tflite int8 cpu: top-1 fell from 74.00% to 66.00% (8 lost, 0 gained, p = 0.0039)",
        "tflite int8 cpu: agreement fell from 0.9800 to 0.9000 (8 lost, 0 gained, p = 0.0039)",
    ]


def test_an_image_without_an_answer_is_wrong_by_any_labels():
    before = check_document()
    before["results"][0]["answers"][:20] = [None] * 20
    top1 = found(relabelled(check_document(), 10), before).changes[0]
    assert (top1.measure, top1.before, top1.after) == ("top1", 0.55, 0.65)


@pytest.mark.parametrize(
    ("task", "formats", "message"),
    [
        ("regression", None, "the baseline's task is classification and the bundle's regression"),
        ("classification", ["openvino"], r"no openvino file .* for what it has \(onnx, tflite\)"),
        ("classification", ["onnx", "openvino"], None),
        ("classification", None, None),
    ],
)
def test_a_baseline_has_something_in_common_with_the_check(task, formats, message):
    if message is None:
        baseline.require_comparable(check_document(), task, formats)
        return
    with pytest.raises(UsageError, match=message):
        baseline.require_comparable(check_document(), task, formats)


def test_a_regression_fails_the_check():
    document = worse(8)
    judge(document, check_document())
    assert document["passed"] is False
    assert document["regressions"] == found(worse(8)).regressions
    change = document["baseline"]["changes"][0]
    assert (change["measure"], change["verdict"], change["lost"]) == ("top1", "worse", 8)
    assert change["interval"][0] < -0.08 < change["interval"][1]
    document = worse(1)
    judge(document, check_document())
    assert (document["passed"], document["regressions"]) == (True, [])


def test_an_image_without_an_answer_is_an_image_lost():
    document = check_document()
    document["results"][0]["answers"][:20] = [None] * 20
    counted(document)
    (change,) = [
        change
        for change in found(document).changes
        if (change.format, change.measure) == ("tflite", "agreement")
    ]
    assert (change.verdict, change.evidence.gained) == ("worse", 0)
    assert change.evidence.lost == 19
