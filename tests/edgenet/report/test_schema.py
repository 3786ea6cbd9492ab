"""The published schemas describe what the commands write."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest

from edgenet.cli.main import main
from tests.documents import (
    bench_document,
    check_document,
    emulated,
    end_to_end,
    profile,
    regression_document,
    sweep,
)


def validator(command: str) -> jsonschema.Draft202012Validator:
    text = (files("edgenet.report") / "schema" / f"{command}.schema.json").read_text("utf-8")
    schema = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def printed(capsys, *arguments: Any) -> dict[str, Any]:
    main([str(argument) for argument in arguments])
    return json.loads(capsys.readouterr().out)


def test_bench_keeps_its_schema(
    capsys, monkeypatch, tiny_float_bundle, tiny_bundle, texture_folder
):
    monkeypatch.setattr("edgenet.measure.throughput._SECONDS", 0.01)
    validator("bench").validate(
        printed(
            capsys,
            *("bench", tiny_float_bundle, tiny_bundle, "--runs", 20, "--min-time", 0),
            *("--threads", 1, "--image", texture_folder / "000.png", "--end-to-end"),
            *("--streams", 2, "--profile", "--json"),
        )
    )


def test_a_sweep_keeps_the_schema(capsys, tiny_bundle):
    asked = ("--format", "tflite", "--batch", "1,3", "--runs", 3, "--min-time", 0, "--json")
    validator("bench").validate(printed(capsys, "bench", tiny_bundle, *asked))


def test_bench_of_a_regression_keeps_its_schema_and_writes_its_reports(
    capsys, regression_bundle, tmp_path
):
    asked = ("--format", "tflite,onnx", "--threads", 1, "--runs", 3, "--min-time", 0, "--json")
    reports = ("--html", tmp_path / "bench.html", "--markdown", tmp_path / "bench.md")
    document = printed(capsys, "bench", regression_bundle, *asked, *reports)
    assert [result["verified"]["agreement"] for result in document["results"]] == [None, None]
    validator("bench").validate(document)
    assert "fastest" in (tmp_path / "bench.html").read_text()
    assert "| onnx |" in (tmp_path / "bench.md").read_text()


@pytest.mark.parametrize("labelled", [False, True])
def test_check_keeps_its_schema(capsys, tiny_bundle, texture_folder, labelled, tmp_path):
    folder = texture_folder
    if not labelled:
        folder = tmp_path
        for name in ("000.png", "001.png"):
            (folder / name).write_bytes((texture_folder / name).read_bytes())
    arguments = ["check", tiny_bundle, "--evaluate", folder, "--json"]
    main([str(argument) for argument in arguments])
    baseline = tmp_path / "baseline.json"
    baseline.write_text(capsys.readouterr().out)
    document = printed(capsys, *arguments, "--baseline", baseline)
    assert document["baseline"]["paired"] is True
    validator("check").validate(json.loads(baseline.read_text()))
    validator("check").validate(document)


def test_check_of_a_regression_keeps_its_schema(capsys, regression_bundle, texture_folder):
    arguments = ["check", regression_bundle, "--evaluate", texture_folder, "--images", 8, "--json"]
    document = printed(capsys, *arguments)
    assert (document["task"], document["labels"]) == ("regression", None)
    validator("check").validate(document)


@pytest.mark.parametrize("bundle", ["tiny_bundle", "regression_bundle"])
def test_bisect_keeps_its_schema(capsys, request, texture_folder, bundle):
    asked = ("--format", "onnx", "--images", texture_folder, "--count", 4, "--json")
    document = printed(capsys, "bisect", request.getfixturevalue(bundle), *asked)
    assert sum(entry["worst"] for entry in document["operators"]) == 5
    validator("bisect").validate(document)


def test_the_made_up_documents_of_other_tests_are_true_to_life():
    document = bench_document()
    document["results"][0].update(profile=profile(), end_to_end=end_to_end())
    document["batches"] = sweep()
    validator("bench").validate(document)
    document["results"][0].update(load_ms=None, import_ms=None, compile_ms=None, first_ms=None)
    document["results"][0].update(rss_mb=None, steady_mb=None)
    document["results"][1] = emulated(document["results"][1])
    validator("bench").validate(document)
    validator("check").validate(check_document())
    void = check_document()
    void["reference"]["top5"] = void["results"][0]["top5"] = None
    void["results"][0]["answers"][0] = None
    void["doubt"] = "no drop means anything"
    void["results"][0]["damage"]["worst"][0]["ours"].update(index=None, probability=None)
    validator("check").validate(void)
    validator("check").validate(regression_document())


def test_a_schema_refuses_what_is_missing_or_out_of_range():
    document = bench_document()
    del document["results"][0]["p50_ms"]
    document["results"][1]["delegated_fraction"] = 1.5
    assert len(list(validator("bench").iter_errors(document))) == 2
