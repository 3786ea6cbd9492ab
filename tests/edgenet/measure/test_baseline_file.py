"""What an earlier check wrote is read, and what is no such file is told by what is wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgenet.errors import UsageError
from edgenet.measure import baseline_file
from tests.documents import check_document, counted, of_old, regression_document, unlabelled


def test_the_baseline_of_a_regression_is_read(tmp_path):
    path = tmp_path / "check.json"
    path.write_text(json.dumps(regression_document()))
    assert baseline_file.read(str(path)) == regression_document()
    half = regression_document()
    half["results"][0]["answers"] = [1] * half["images"]
    path.write_text(json.dumps(half))
    with pytest.raises(UsageError, match=r"results\[0\].answers is .* rather than null"):
        baseline_file.read(str(path))


@pytest.mark.parametrize("key", ["r2", "drop_points"])
def test_what_limits_read_of_a_baseline_is_a_number_or_null(tmp_path, key):
    path, document = tmp_path / "check.json", check_document()
    for value in (None, -3.5):
        document["results"][0][key] = value
        path.write_text(json.dumps(document))
        assert baseline_file.read(str(path)) == document
    document["results"][0][key] = "0.9"
    path.write_text(json.dumps(document))
    with pytest.raises(UsageError, match=rf'results\[0\].{key} is "0.9" rather than a number or n'):
        baseline_file.read(str(path))


def broken(key: str) -> dict[str, Any]:
    document = check_document()
    if key == "short":
        document["results"][0]["noise"].pop()
    elif key == "labels":
        document["labels"] = [1]
    else:
        del document["results"][0][key]
    return document


@pytest.mark.parametrize("key", ["short", "labels", "answers", "agreement", "device_used"])
def test_a_file_that_lacks_something_is_no_baseline(key, tmp_path):
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(broken(key)))
    with pytest.raises(UsageError, match=r"is not a baseline: .* an earlier edgenet check"):
        baseline_file.read(str(file))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"top1": "0.9"}, 'results[0].top1 is "0.9" rather than a share 0..1 or null'),
        ({"top1": float("nan")}, "results[0].top1 is NaN rather than"),
        ({"top1": True}, "results[0].top1 is true rather than"),
        ({"agreement": float("nan")}, "results[0].agreement is NaN rather than a share 0..1"),
        ({"agreement": None}, "results[0].agreement is null rather than"),
        ({"agreement": 97}, "results[0].agreement is 97 rather than"),
        ({"sqnr_db": "x"}, 'results[0].sqnr_db is "x" rather than a number or null'),
        ({"sqnr_db": float("inf")}, "results[0].sqnr_db is Infinity rather than"),
        ({"format": ["onnx"]}, 'results[0].format is ["onnx"] rather than text'),
        ({"noise": ["x"]}, 'results[0].noise is ["x"] rather than a list of 100 sums'),
        ({"noise": [-1.0] * 100}, "results[0].noise is [-1.0, -1.0"),
        ({"answers": [0.5] * 100}, "rather than a list of 100 classes or null"),
    ],
)
def test_a_result_that_is_not_what_check_writes_is_named(change, message, tmp_path):
    document = check_document()
    document["results"][0].update(change)
    assert message in refused(json.dumps(document).encode(), tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"results": []}, "results is [] rather than a list with a result or more"),
        ({"results": [1]}, "results[0] is 1 rather than an object"),
        ({"results": None}, "results is null rather than"),
        ({"reference": [1]}, "reference is [1] rather than an object"),
        ({"images": 0}, "images is 0 rather than a number of images"),
        ({"images": "100"}, 'images is "100" rather than'),
        ({"images_sha256": 7}, "images_sha256 is 7 rather than text"),
        ({"labels": "x"}, 'labels is "x" rather than a list of 100 classes'),
    ],
)
def test_a_document_that_is_not_what_check_writes_is_named(change, message, tmp_path):
    document = {**check_document(), **change}
    assert message in refused(json.dumps(document).encode(), tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[]", "it is [] rather than an object"),
        (b"{}", "images is missing"),
        (b"{", "it is no JSON"),
        (b"\xff\xd8\xff\xe0 a photo", "it is no JSON"),
        (b"[" * 100_000, "it is no JSON"),
    ],
)
def test_what_is_no_such_document_is_refused(text, message, tmp_path):
    assert message in refused(text, tmp_path)


def refused(text: bytes, folder: Path) -> str:
    """What is said of a file with this text."""
    file = folder / "baseline.json"
    file.write_bytes(text)
    with pytest.raises(UsageError) as caught:
        baseline_file.read(str(file))
    return str(caught.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_shell_may_write_another_encoding(encoding, tmp_path):
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(check_document()), encoding=encoding)
    assert baseline_file.read(str(file)) == check_document()


def test_a_baseline_without_labels_is_read(tmp_path):
    document = unlabelled(check_document())
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(document))
    assert baseline_file.read(str(file)) == document


def test_a_baseline_of_an_older_edgenet_is_read(tmp_path):
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(of_old(check_document())))
    assert baseline_file.read(str(file))["images"] == 100


def test_an_image_without_an_answer_is_read(tmp_path):
    document = check_document()
    document["results"][0]["answers"][:20] = [None] * 20
    file = tmp_path / "baseline.json"
    file.write_text(json.dumps(counted(document)))
    assert baseline_file.read(str(file)) == document
