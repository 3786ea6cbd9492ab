"""What is measured beside latency is told for each file, or why it is not."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from edgenet.measure import extras, throughput
from edgenet.measure.candidates import Request, open_all
from tests.devices import GPUS, require


def test_streams_are_of_the_cpu_and_told_round_by_round(monkeypatch, tiny_float_bundle):
    require(GPUS[0])
    monkeypatch.setattr(throughput, "_SECONDS", 0.01)
    document: dict[str, Any] = {"results": [{"warnings": []}, {"warnings": []}]}
    told: list[tuple[str, int, int, str]] = []
    with ExitStack() as stack:
        candidates = [
            *open_all(stack, Request((str(tiny_float_bundle),), ("tflite",), device="gpu")),
            *open_all(stack, Request((str(tiny_float_bundle),), ("tflite",))),
        ]
        extras.add_streams(document, 1, None, candidates, lambda *step: told.append(step))
    on_gpu, on_cpu = (result["warnings"] for result in document["results"])
    assert on_gpu == ["streams are measured on the cpu only, and this ran on the gpu"]
    assert on_cpu == []
    assert [found["format"] for found in document["streams"]] == ["tflite"]
    assert told == [("timing streams", done, 10, "rounds") for done in range(11)]
