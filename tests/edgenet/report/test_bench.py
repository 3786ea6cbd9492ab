"""A table shows no more digits than are worth it, and says what spoils them."""

from __future__ import annotations

import pytest

from edgenet.report import bench, markdown
from edgenet.report.cells import with_interval
from tests.documents import bench_document, emulated, sweep


@pytest.mark.parametrize(
    ("value", "interval", "shown"),
    [
        (5.1234, (5.11, 5.15), "5.12 ± 0.02"),
        (5.1234, (4.0, 6.4), "5 ± 1"),
        (105.6, (80.0, 120.0), "106 ± 20"),
        (5.1234, (5.1234, 5.1234), "5.123 ± 0.000"),
        (5.1234, None, "5.12"),
        (None, None, "–"),
    ],
)
def test_digits_follow_the_interval(value, interval, shown):
    assert with_interval(value, interval) == shown


def test_a_spoiled_result_is_marked_and_its_reason_told():
    document = bench_document()
    assert "! " not in bench.text(document)
    document["results"][1]["warnings"] = ["64 threads share 2 cores"]
    rows = bench.text(document).splitlines()
    assert ["! " in row for row in rows[3:5]] == [False, True]
    assert any("! b onnx, threads 2: 64 threads share 2 cores" in row for row in rows)


def test_who_computed_is_named_where_it_is_not_the_cpu():
    document = bench_document()
    document["results"][1].update(device_used="gpu", device_name="SwiftShader Device")
    document["results"][1] = emulated(document["results"][1])
    text = bench.text(document)
    assert "gpu (SwiftShader Device)" in text
    assert "Some CPU)" not in text


@pytest.mark.parametrize(
    ("images", "shown"), [(None, "–"), (0.46, "0.5"), (9.96, "10.0"), (76.4, "76")]
)
def test_few_images_a_second_are_not_none(images, shown):
    assert bench.per_second(images) == shown


def test_what_spoils_all_marks_all():
    document = bench_document()
    document["interference"]["warnings"] = ["other processes took 50% of the processors"]
    rows = bench.text(document).splitlines()
    assert all("! " in row for row in rows[3:5])
    assert "! while timing, other processes took 50% of the processors" in rows


@pytest.mark.parametrize(
    ("ratio", "differs", "words"),
    [
        (0.5, True, "faster"),
        (2.0, True, "slower"),
        (1.01, False, "no difference shown"),
        (1.0, None, "too few rounds to tell"),
    ],
)
def test_a_comparison_ends_in_a_verdict(ratio, differs, words):
    assert bench.verdict({"ratio": ratio, "differs": differs}) == words


def test_a_percentile_has_a_column_where_some_result_has_it():
    document = bench_document()
    assert [name for name in ("p90 ms", "p95 ms", "p99 ms") if name in bench.text(document)] == [
        *("p90 ms", "p95 ms")
    ]
    document["results"][1]["p99_ms"] = 7.5
    first, second = bench.text(document).splitlines()[3:5]
    assert "–" in first.split()
    assert "7.50" in second.split()
    for result in document["results"]:
        result.update(p90_ms=None, p95_ms=None)
    assert "p9" not in bench.text(document).replace("p99 ms", "")


def test_markdown_is_a_table_that_a_name_cannot_break():
    document = bench_document()
    document["results"][0]["bundle"] = "a|b_c"
    lines = bench.markdown(document).splitlines()
    header = next(line for line in lines if line.startswith("| bundle"))
    rows = [line for line in lines if line.startswith("| ")]
    # All columns but that of p99.
    assert header.count("|") == len(bench.COLUMNS)
    assert "a\\|b\\_c" in rows[2]
    assert all(row.replace("\\|", "").count("|") == header.count("|") for row in rows)


def test_markdown_escapes_tags():
    assert markdown.bullets(["<img src=x>"]) == "- \\<img src=x>"


def test_what_is_no_hardware_has_a_table_of_its_own():
    document = bench_document()
    document["results"][1] = emulated(document["results"][1])
    hardware, other = bench.text(document).split(bench.EMULATED)
    assert [line.split()[0] for line in hardware.splitlines()[3:] if line] == ["a"]
    assert [line.split()[0] for line in other.splitlines()[3:4]] == ["b"]
    assert "2.00 ± 0.02" in other


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("threads", "a session each, called from threads"),
        ("AsyncInferQueue", "the engine's AsyncInferQueue"),
    ],
)
def test_streams_are_told_with_their_interval_and_method(method, words):
    document = bench_document()
    speed = {"count": 2, "method": method, "images_per_s": 500.0, "interval": [490, 510]}
    document["streams"] = [{"bundle": "b", "format": "onnx", "batch": 1, **speed}]
    told = f"b onnx: 500 ± 10 images/s in 2 streams of one thread ({words})"
    assert told in bench.text(document)
    assert f"- {told}" in bench.markdown(document)


def test_batches_have_a_table_and_are_named_where_they_are_not_one():
    document = bench_document()
    assert bench.BATCHES not in bench.text(document)
    document["batches"] = sweep()
    document["results"][1].update(batch=8, warnings=["64 threads share 2 cores"])
    document["comparisons"][0]["batch"] = 8
    text = bench.text(document)
    (row,) = [line.split() for line in text.splitlines() if "1.33 ± 0.02" in line]
    assert row[4:8] == ["8", "30.00", "3.75", "266"]
    assert any(line.split()[4:] == ["1", "5.00", "5.00", "200", "1"] for line in text.splitlines())
    assert "! b onnx, threads 2, batch 8: 64 threads" in text
    assert "tflite, threads 2, batch 8: b takes" in text
    assert f"{bench.BATCHES}\n\n| file |" in bench.markdown(document)
