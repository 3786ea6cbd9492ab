"""OpenVINO's own queue of requests: streams of one thread each that share one compiled model.

Several sessions of one thread are no stand-in for it: the plugin pins the threads of each model
that it compiles to the first cores, so that such sessions share a core while the others idle.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter
from typing import Any

import numpy as np

from edgenet.bundle import ANSWERS
from edgenet.errors import EdgenetError
from edgenet.images import Pixels
from edgenet.measure.candidates import Candidate
from edgenet.runtime.openvino import cpu_properties
from edgenet.runtime.session import Floats

NAME = "AsyncInferQueue"

# One request a stream computes while another waits: no stream then waits for Python.
_REQUESTS_A_STREAM = 2


@contextmanager
def _telling(what: str) -> Iterator[None]:
    """Makes one error of ours of whatever the engine raises, RuntimeError and others."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise EdgenetError(f"openvino {what}: {reason}") from error


class AsyncQueue:
    """A file in so many streams; `answer` is the batch of logits or values that was read back last.

    `count` is how many streams the engine took: no more than there are cores.

    Raises:
        EdgenetError: The engine refuses the file in so many streams.
    """

    answer: Floats | None = None

    @_telling("opens no queue of requests")
    def __init__(self, candidate: Candidate, count: int) -> None:
        info = candidate.session.info
        library = import_module("openvino")
        properties = {**cpu_properties(info.precision, count), "NUM_STREAMS": count}
        core = library.Core()
        model = core.read_model(str(candidate.model))
        if candidate.resized:
            model.reshape(list(info.input_shape))
        compiled = core.compile_model(model, "CPU", properties)
        self._output = ANSWERS[info.task]
        self.count: int = compiled.get_property("NUM_STREAMS")
        self._queue = library.AsyncInferQueue(compiled, self.count * _REQUESTS_A_STREAM)
        self._queue.set_callback(self._read)
        self._inputs = [request.get_input_tensor(0).data for request in self._queue]

    @_telling("fails in a queue of requests")
    def serve(self, images: Pixels, ends: float) -> int:
        """Starts batches until `ends`, on `perf_counter`'s clock; returns how many were answered.

        Raises:
            EdgenetError: The engine fails.
        """
        runs = 0
        while perf_counter() < ends:
            np.copyto(self._inputs[self._queue.get_idle_request_id()], images)
            # Takes the request that was idle first, which is the one just filled.
            self._queue.start_async()
            runs += 1
        self._queue.wait_all()
        return runs

    def _read(self, request: Any, _: None) -> None:
        self.answer = request.get_tensor(self._output).data.copy()
