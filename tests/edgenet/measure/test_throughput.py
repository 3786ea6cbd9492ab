"""Streams run at once, by the engine's queue or in a session each, and files take turns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from time import perf_counter

import numpy as np
import pytest

from edgenet.errors import EdgenetError
from edgenet.measure import throughput
from edgenet.measure.async_queue import AsyncQueue
from edgenet.measure.candidates import Request, open_all
from edgenet.runtime.processors import cpu_threads


def opened(stack, bundle, **options):
    return open_all(stack, Request((str(bundle),), threads=(1,), **options))


@pytest.mark.parametrize("count", [1, 5])
def test_each_file_gets_its_speed_interval_and_method(monkeypatch, tiny_bundle, count):
    monkeypatch.setattr(throughput, "_SECONDS", 0.01)
    with ExitStack() as stack:
        candidates = opened(stack, tiny_bundle, batches=(None, 3))
        images = [candidate.input(None) for candidate in candidates]
        found = throughput.measure(candidates, images, count)
    formats = [candidate.session.info.format for candidate in candidates]
    assert formats == ["tflite", "onnx", "openvino"] * 2
    for format, streams in zip(formats, found, strict=True):
        low, high = streams.interval
        assert streams.method == ("AsyncInferQueue" if format == "openvino" else "threads")
        most = cpu_threads(None) if format == "openvino" else count
        assert streams.count == min(count, most)
        assert 0 < low <= streams.images_per_s <= high


def test_a_round_counts_the_images_of_all_sessions():
    class Counter:
        runs = 0

        def run(self, images):
            self.runs += 1

    sessions = [Counter(), Counter()]
    started = perf_counter()
    with ThreadPoolExecutor(2) as pool:
        serve = partial(throughput._serve, pool, sessions)
        speed = throughput._round(serve, np.zeros((4, 1, 1, 3), np.uint8))
    seconds = perf_counter() - started
    assert min(counter.runs for counter in sessions) > 0
    assert speed * seconds >= 4 * sum(counter.runs for counter in sessions)


@pytest.mark.parametrize("batch", [None, 3])
def test_a_queue_answers_as_the_session_does(tiny_bundle, batch):
    read = []
    with ExitStack() as stack:
        (candidate,) = opened(stack, tiny_bundle, formats=("openvino",), batches=(batch,))
        images = candidate.input(None)
        queue = AsyncQueue(candidate, 2)
        queue._queue.set_callback(lambda *args: read.append(queue._read(*args)))
        runs = queue.serve(images, perf_counter() + 0.05)
        assert runs == len(read) > 0
        np.testing.assert_array_equal(queue.answer, candidate.session.run(images))


def test_what_the_engine_raises_is_one_line_of_ours(tiny_bundle):
    with ExitStack() as stack:
        (candidate,) = opened(stack, tiny_bundle, formats=("openvino",))
        with pytest.raises(EdgenetError, match=r"^openvino opens no queue of requests: .+$"):
            AsyncQueue(candidate, 3_000_000_000)
        queue = AsyncQueue(candidate, 1)
        with pytest.raises(EdgenetError, match=r"^openvino fails in a queue of requests: .+$"):
            queue.serve(candidate.input(None)[:, 1:], perf_counter() + 0.05)
