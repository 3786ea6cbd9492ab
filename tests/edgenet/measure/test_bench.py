"""`edgenet.bench`: what the command does, as a function."""

from __future__ import annotations

import json

import numpy as np
import pytest

import edgenet
from edgenet.bundle import Bundle
from edgenet.cli.main import main
from edgenet.errors import UsageError

QUICK = {"runs": 2, "min_time": 0.0}


def test_the_function_measures_what_the_command_prints(capsys, tiny_bundle, tiny_float_bundle):
    paths, options = (tiny_bundle, tiny_float_bundle), {"threads": 1, "streams": np.int64(1)}
    document = edgenet.bench(*paths, **options, runs=10, min_time=0)
    asked = ["bench", *map(str, paths), "--threads", "1", "--streams", "1"]
    assert main([*asked, "--runs", "10", "--min-time", "0", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert list(document) == list(printed)
    assert document == json.loads(json.dumps(document))
    assert None not in [each["interval"] for each in document["comparisons"]]
    for result, other in zip(document["results"], printed["results"], strict=True):
        assert list(result) == list(other)
        for same in ("bundle", "format", "threads", "batch", "bytes", "verified"):
            assert result[same] == other[same]


def test_one_or_several_are_taken(tiny_bundle, tiny_float_bundle):
    document = edgenet.bench(
        Bundle.open(tiny_float_bundle), tiny_bundle, formats="onnx", batch=(1, 2), **QUICK
    )
    named = [(each["bundle"], each["format"], each["batch"]) for each in document["results"]]
    paths = (str(tiny_float_bundle), str(tiny_bundle))
    assert named == [(path, "onnx", batch) for path in paths for batch in (1, 2)]
    assert [each["base"] for each in document["comparisons"]] == 2 * [str(tiny_float_bundle)]


def test_it_tells_how_far_it_is(tiny_bundle):
    told = []
    edgenet.bench(
        tiny_bundle, formats=["onnx"], **QUICK, progress=lambda *steps: told.append(steps)
    )
    assert told[-1] == ("loading in fresh processes", 1, 1, "files")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"runs": 0}, "at least one run"),
        ({"min_time": float("nan")}, "a number of seconds"),
        ({"percentile": 42}, "p50, p90, p95 and p99"),
        ({"end_to_end": True}, "begins with a photo"),
        ({"streams": 0}, "ask for 1 to"),
        ({"formats": "tfl"}, "holds no tfl file"),
    ],
)
def test_what_cannot_be_is_refused(tiny_bundle, options, message):
    with pytest.raises(UsageError, match=message):
        edgenet.bench(tiny_bundle, **options)


def test_there_must_be_a_bundle():
    with pytest.raises(UsageError, match="name one or more bundles"):
        edgenet.bench()
