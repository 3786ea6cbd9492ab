"""What a check reports is said truly: whose limit was missed, how many answers changed."""

from __future__ import annotations

from typing import Any

import pytest

from edgenet.measure.accuracy import PairedDrop
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.limits import Limits
from edgenet.report import check
from tests.documents import check_document

FOUND = Fidelity(0.8, None, PairedDrop(1.5, (-0.5, 3.5), 0.2), 0.9496, 17.0, 0.4, 0.99, 0.01)


def damaged(changed: int, kept: int) -> dict[str, Any]:
    """The document with so many changed answers among the images worst hit."""
    document = check_document()
    damage = document["results"][0]["damage"]
    (image,) = damage["worst"]
    damage["changed"] = changed
    damage["worst"] = [{**image, "image": f"{number}.jpg"} for number in range(changed)][:12]
    same = {**image, "image": "same.jpg", "ours": image["reference"]}
    damage["worst"] += [same] * kept
    document["results"][1]["damage"]["changed"] = 0
    return document


@pytest.mark.parametrize(
    ("limits", "missed"),
    [
        (Limits(max_drop=1.0), {"top-1 drop"}),
        (Limits(min_agreement=0.95), {"agreement"}),
        (Limits(max_drop=1.0, min_agreement=0.95), {"top-1 drop", "agreement"}),
        (Limits(min_sqnr=20.0), set()),
    ],
)
def test_each_figure_is_held_to_its_own_limit(limits, missed):
    result = {"failures": list(limits.failures(FOUND))}
    assert {name for name in ("top-1 drop", "agreement") if check.missed(result, name)} == missed


def test_a_failure_beside_the_cpu_is_none_of_the_reference():
    (failure,) = Limits(min_agreement=0.95).failures(FOUND)
    assert not check.missed({"failures": [f"beside the cpu, {failure}"]}, "agreement")


@pytest.mark.parametrize(
    ("changed", "kept", "heading", "listed"),
    [
        (1, 4, "1 answer changed<", 1),
        (5, 7, "5 answers changed<", 5),
        (30, 0, "30 answers changed, the 5 worst of them<", 5),
    ],
)
def test_only_answers_that_changed_are_listed(changed, kept, heading, listed):
    text = check.markdown(damaged(changed, kept))
    assert f"<summary>tflite: {heading}" in text
    assert text.count(" became ") == listed
    assert "same.jpg" not in text


def test_an_image_without_an_answer_and_a_top5_that_says_nothing_are_told_so():
    document = check_document()
    document["reference"]["top5"] = None
    for result in document["results"]:
        result["top5"] = None
        void = {"index": None, "probability": None, "name": "no answer"}
        result["damage"]["worst"][0]["ours"] = void
    assert "one.jpg: a (50 %) became no answer\n" in check.markdown(document)
    assert " 75.0 %      – " in check.text(document)


def test_a_doubt_stands_by_the_verdict():
    document = check_document()
    assert "! " not in check.text(document)
    document["doubt"] = "no drop means anything"
    *_, last_row, doubt, pairs = check.text(document).splitlines()
    assert last_row.startswith("onnx")
    assert doubt == "! no drop means anything"
    assert pairs.startswith("agreement between formats")
    verdict, _, doubt = check.markdown(document).split("\n\n")[:3]
    assert verdict.endswith(": passed")
    assert doubt == "- no drop means anything"


def test_one_image_is_not_several():
    assert check.title({"images": 1, "images_source": "photos"}) == "1 image of photos"
    assert check.title({"images": 2, "images_source": "photos"}) == "2 images of photos"


@pytest.mark.parametrize(
    ("ours", "label", "worsened"),
    [("cat", "dog", True), ("cat", None, True), ("cat", "cat", False), ("dog", "cat", False)],
)
def test_an_answer_that_the_label_says_is_no_worse(ours, label, worsened):
    named = {"dog": 0, "cat": 1}
    answers = {
        of: {"index": named[name], "name": name}
        for of, name in {"reference": "dog", "ours": ours}.items()
    }
    assert check.worsened({**answers, "label": label}) == worsened
