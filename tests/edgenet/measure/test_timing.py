"""Files that are compared take their turns in succession, and each gets its own times."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from functools import partial

import pytest
from PIL import Image

from edgenet.errors import EdgenetError
from edgenet.measure import candidates as candidates_of_bench
from edgenet.measure import latency, sweep, throughput, timing
from edgenet.measure.candidates import Request, names, open_all, turns
from edgenet.measure.footprint import Footprint
from edgenet.measure.profiling import run
from edgenet.report.html.bench import page as whole_page
from edgenet.runtime import delegates, devices
from edgenet.runtime.delegates import DELEGATES, Delegate
from edgenet.runtime.loading import Reach, load_artifact
from edgenet.runtime.probing import Finding
from edgenet.runtime.processors import cpu_threads


def test_files_that_are_compared_are_neighbours_and_keep_their_own_times(
    monkeypatch, tiny_float_bundle, tiny_bundle
):
    request = Request(
        (str(tiny_float_bundle), str(tiny_bundle)),
        ("tflite", "onnx"),
        threads=(1, 2),
        runs=2,
        min_time=0.0,
    )
    taken = []

    def sample(calls, **effort):
        found = take(calls, **effort)
        taken.extend(zip((call.func.__self__ for call in calls), found, strict=True))
        return found

    take = latency.sample
    monkeypatch.setattr(latency, "sample", sample)
    with ExitStack() as stack:
        candidates = open_all(stack, request)
        order = [candidates[index] for index in turns(candidates)]
        document = timing.measure(request, candidates, lambda *_: None)
    assert [(one.path, one.setting[0], one.setting[2]) for one in order] == [
        (path, format, threads)
        for threads in (1, 2)
        for format in ("tflite", "onnx")
        for path in request.bundles
    ]
    # Those that it opened first, and has closed since.
    assert [session for session, _ in taken] == [one.session for one in order]
    times = {session: samples.medians().tolist() for session, samples in taken}
    for candidate, result in zip(candidates, document["results"], strict=True):
        assert (result["bundle"], result["threads"]) == (candidate.path, candidate.setting[2])
        assert result["rounds_p50_ms"] == times[candidate.session]


@pytest.mark.parametrize(("bundles", "openings"), [(1, 1), (2, 3)])
def test_bundles_that_are_compared_are_opened_anew_in_the_opposite_order(
    monkeypatch, tmp_path, tiny_float_bundle, tiny_bundle, bundles, openings
):
    """After each of three rounds; what is timed on its own stays as it is."""
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 40)).save(photo)
    monkeypatch.setattr(timing, "footprint", lambda *arguments, **options: Footprint())
    request = Request(
        tuple(map(str, (tiny_float_bundle, tiny_bundle)))[:bundles],
        ("tflite", "onnx"),
        threads=(1,),
        runs=3,
        min_time=0.0,
        image=str(photo),
        end_to_end=True,
    )
    seen = []
    monkeypatch.setattr(
        candidates_of_bench,
        "load_artifact",
        lambda bundle, artifact, *rest, **more: (
            seen.append((str(bundle.path), artifact.format))
            or load_artifact(bundle, artifact, *rest, **more)
        ),
    )
    with ExitStack() as stack:
        candidates = open_all(stack, request)
        first = [(candidates[i].path, candidates[i].setting[0]) for i in turns(candidates)]
        document = timing.measure(request, candidates, lambda *_: None)
        still_open = [candidate.session._handle is not None for candidate in candidates]
    assert seen == [*first[::-1], *first][: (openings - 1) * len(first)]
    assert set(still_open) == {openings == 1}
    # By the sessions that are open now.
    assert all(result["end_to_end"]["run_ms"] > 0 for result in document["results"])


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        (["/a/old", "/a/new/"], ["old", "new"]),
        (["/a/old/l", "/a/new/l", "/a/m"], ["old/l", "new/l", "m"]),
        (["/old/x/l", "/new/x/l", "/new/y/l"], ["old/x/l", "new/x/l", "y/l"]),
        (["/l", "/x/l"], ["/l", "x/l"]),
        (["/a/l", "/a/b/../l", "/b/l"], ["a/l", "a/l", "b/l"]),
    ],
)
def test_bundles_of_one_name_are_told_apart_by_the_folders_above(paths, expected):
    assert list(names(paths).values()) == expected


def test_results_have_those_names(tiny_bundle, tmp_path):
    bundles = [shutil.copytree(tiny_bundle, tmp_path / when / "l") for when in ("old", "new")]
    request = Request(tuple(map(str, bundles)), ("onnx",), threads=(1,), runs=2, min_time=0.0)
    with ExitStack() as stack:
        document = timing.measure(request, open_all(stack, request), lambda *_: None)
    assert [result["name"] for result in document["results"]] == ["old/l", "new/l"]
    page = whole_page(document)
    assert "<title>Latency of old/l, new/l</title>" in page
    assert "new/l, onnx, 1 thread" in page


def test_times_outlive_what_fails_beside_them(monkeypatch, tiny_bundle):
    """A stream more takes a session more, for which there may be no memory."""

    def refuse(*arguments, **options):
        raise EdgenetError("memory ran out")

    def break_down(*arguments):
        raise RuntimeError("Exception from src/x.cpp:\nno such node")

    monkeypatch.setattr(throughput, "load", refuse)
    monkeypatch.setitem(run._PROFILERS, "litert", break_down)
    request = Request(
        (str(tiny_bundle),), ("tflite",), runs=2, min_time=0.0, streams=2, profile=True
    )
    with ExitStack() as stack:
        document = timing.measure(request, open_all(stack, request), lambda *step: None)
    (result,) = document["results"]
    assert result["p50_ms"] > 0
    assert "no streams: memory ran out" in result["warnings"]
    told = "no profile: litert cannot profile it: Exception from src/x.cpp: no such node"
    assert told in result["warnings"]
    assert "streams" not in document


def test_what_an_engine_runs_as_before_is_measured_once(tiny_bundle):
    cores, told = cpu_threads(None), []
    request = Request((str(tiny_bundle),), ("tflite", "openvino"), threads=(cores, 64))
    with ExitStack() as stack:
        found = open_all(stack, request, told.append)
    settings = [candidate.setting for candidate in found]
    assert [(format, threads) for format, _, threads, *_ in settings] == [
        *(("tflite", cores), ("openvino", cores), ("tflite", 64))
    ]
    assert told == [f"openvino takes {cores} threads at most: measured once"]


@pytest.mark.parametrize(("megabytes", "told"), [(None, 1), (90.0, 0)])
def test_memory_that_the_system_does_not_tell_is_said_to_be_unknown(
    monkeypatch, tiny_bundle, megabytes, told
):
    found = Footprint(load_ms=5.0, rss_mb=megabytes)
    monkeypatch.setattr(timing, "footprint", lambda *arguments, **options: found)
    request = Request((str(tiny_bundle),), ("tflite",), runs=2, min_time=0.0)
    with ExitStack() as stack:
        document = timing.measure(request, open_all(stack, request), lambda *step: None)
    (result,) = document["results"]
    assert (result["load_ms"], result["rss_mb"]) == (5.0, megabytes)
    assert result["warnings"].count("no peak memory: this system does not tell it") == told


@pytest.fixture
def npu(monkeypatch):
    """One that ONNX Runtime reaches and that counts as hardware."""
    cpus = (delegate for delegate in DELEGATES if delegate.device == "cpu")
    name, session = "CPUExecutionProvider", "edgenet.runtime.onnx:OnnxSession"
    table = (*cpus, Delegate("onnxruntime", "npu", name, session=session))
    monkeypatch.setattr(delegates, "DELEGATES", table)
    monkeypatch.setattr(devices, "examine", lambda *_: Finding(True, "hardware", name))


@pytest.mark.usefixtures("npu")
@pytest.mark.parametrize(
    ("file", "chosen"), [("tflite", ("cpu", None)), ("onnx", ("npu", "CPUExecutionProvider"))]
)
def test_a_fresh_process_loads_where_auto_has_loaded(monkeypatch, tiny_float_bundle, file, chosen):
    """It would choose by what it finds itself, and load first what refuses the model."""
    asked = []

    def note(path, format, device, threads, *, reach, **options):
        asked.append((device, reach.delegate))
        assert reach.allow_fallback
        return Footprint()

    monkeypatch.setattr(timing, "footprint", note)
    reach = Reach(allow_fallback=True)
    request = Request((str(tiny_float_bundle),), (file,), "auto", reach, runs=2, min_time=0.0)
    with ExitStack() as stack:
        (result,) = timing.measure(request, open_all(stack, request), lambda *_: None)["results"]
    assert (result["device"], asked) == ("auto", [chosen])


@pytest.mark.usefixtures("npu")
def test_what_ran_on_another_device_is_not_compared(tiny_float_bundle, tiny_bundle):
    """As --device auto may have it: of two bundles, or two batches, the NPU took but one."""
    plain, small = str(tiny_float_bundle), str(tiny_bundle)
    asked = [(plain, "npu", None), (plain, "cpu", 3), (small, "cpu", None), (small, "npu", None)]
    with ExitStack() as stack:
        candidates = [
            candidate
            for path, device, batch in asked
            for candidate in open_all(stack, Request((path,), ("onnx",), device, batches=(batch,)))
        ]
        calls = [partial(one.session.run, one.input(None)) for one in candidates]
        samples = latency.sample(calls, runs=2, min_time=0.0)
    assert turns(candidates) == [0, 3, 1, 2]
    assert timing._comparisons(candidates[:3], samples[:3]) == []
    assert [pair["other"] for pair in timing._comparisons(candidates, samples)] == [small]
    assert sweep.batches(candidates, samples) == []
