"""Streams run at once, each in a session of its own, and files take turns."""

from __future__ import annotations

import numpy as np

from edgenet.bundle import Bundle
from edgenet.measure import throughput


def test_each_file_gets_its_speed_and_interval(monkeypatch, tiny_bundle):
    monkeypatch.setattr(throughput, "_SECONDS", 0.01)
    bundle = Bundle.open(tiny_bundle)
    files = [(bundle, "tflite", "litert"), (bundle, "openvino", "openvino")]
    image = np.zeros(bundle.manifest.input.shape, np.uint8)
    found = throughput.measure(files, [image, image], 2)
    assert [streams.count for streams in found] == [2, 2]
    for streams in found:
        low, high = streams.interval
        assert 0 < low <= streams.images_per_s <= high


def test_a_round_counts_the_images_of_all_sessions():
    class Counter:
        runs = 0

        def run(self, images):
            self.runs += 1

    from concurrent.futures import ThreadPoolExecutor
    from time import perf_counter

    sessions = [Counter(), Counter()]
    started = perf_counter()
    with ThreadPoolExecutor(2) as pool:
        speed = throughput._round(pool, sessions, np.zeros((4, 1, 1, 3), np.uint8))
    seconds = perf_counter() - started
    assert min(counter.runs for counter in sessions) > 0
    assert speed * seconds >= 4 * sum(counter.runs for counter in sessions)
