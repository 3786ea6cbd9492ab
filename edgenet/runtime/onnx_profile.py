"""How much of a run goes to the CPU, from the profile that ONNX Runtime itself writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

_CPU = "CPUExecutionProvider"


@contextmanager
def profiled(options: Any) -> Iterator[Callable[[Any], Path]]:
    """Makes a session that is opened with these options profile itself.

    Yields:
        A function that ends a session's profile and gives its file, which goes with the block.
    """
    with TemporaryDirectory() as folder:
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder) / "profile")
        yield lambda session: Path(session.end_profiling())


def time_on_cpu(profile: Path) -> float | None:
    """The share of the last run that operators on the CPU took, 0..1; None if no run is there.

    Only the CPU's operators and the whole run are told in true time: a GPU's operators end in the
    profile when they are queued, not when they are done.
    """
    events = json.loads(profile.read_text(encoding="utf-8"))
    runs = [event for event in events if event["name"] == "model_run"]
    if not runs:
        return None
    last = max(runs, key=lambda event: float(event["ts"]))
    spent = sum(
        event["dur"]
        for event in events
        if event["cat"] == "Node"
        and event["name"].endswith("_kernel_time")
        and event["args"].get("provider") == _CPU
        and event["ts"] >= last["ts"]
    )
    return float(spent) / float(last["dur"])
