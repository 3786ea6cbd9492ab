"""What a session is opened by, what it says of itself, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from edgenet.bundle import CLASSIFICATION, InputSpec, OutputSpec
from edgenet.runtime.delegates import Delegate
from edgenet.runtime.engines import Engine
from edgenet.runtime.placement import Placement


@dataclass(frozen=True)
class Plan:
    """What a session opens, and how: all choices made, all files vouched for.

    `device` is what was asked for, `delegate` what was chosen for it; `allow_fallback` lets
    operators that the delegate refuses run on the CPU; `options` are for a delegate that the user
    brings; `resized` tells that the file is to be brought to the batch of `input`, which is not its
    own; `made_with` is the engine's version that verified the file, None where that is not known.
    """

    model: Path
    precision: str
    engine: Engine
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    labels: tuple[str, ...] | None
    device: str
    delegate: Delegate
    threads: int
    allow_fallback: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    resized: bool = False
    made_with: str | None = None

    def with_batch(self, batch: int) -> Plan:
        """The same with `batch` images a run."""
        return replace(
            self,
            input=replace(self.input, shape=(batch, *self.input.shape[1:])),
            outputs=tuple(replace(o, shape=(batch, *o.shape[1:])) for o in self.outputs),
            resized=True,
        )


@dataclass(frozen=True)
class Loaded:
    """What `_load` gives back.

    Attributes:
        handle: The engine's own objects, handed to `_run` and `_close` as they are.
        delegate: What the engine says runs the model, in its own word.
        delegated_fraction: The share of the graph's operators that it runs, 0..1; None if unknown.
        elsewhere: The operators that run elsewhere, where that was allowed.
        kind: What the device proved to be: "hardware", "software" or "emulator".
        name: The device's own name; None for the CPU.
        time_elsewhere: The share of a run's time that `elsewhere` takes, 0..1; None if unknown.
        threads: How many the engine took, where it says so: no more than there are cores, perhaps.
    """

    handle: Any
    delegate: str
    delegated_fraction: float | None
    elsewhere: tuple[Placement, ...] = ()
    kind: str = "hardware"
    name: str | None = None
    time_elsewhere: float | None = None
    threads: int | None = None


@dataclass(frozen=True)
class SessionInfo:
    """What runs, and where it really runs: `device` was asked for, `device_used` is what it got.

    `input_shape` is (batch, height, width, 3); `delegated_fraction` the share of the operators that
    `delegate` runs, 0..1, or None where the engine does not tell; `elsewhere` lists those that run
    elsewhere, where `allow_fallback` permits it, and `time_elsewhere` is the share of a run's time
    that they take, where the engine's profile tells it. `kind` says what a time taken here means:
    "hardware" is its speed; "software" (a driver that computes on the CPU) and "emulator" tell that
    it works, never how fast. `device_name` is the device's own name, None for the CPU. `classes`
    counts a classifier's classes or, where `task` is "regression", the values.
    """

    format: str
    precision: str
    engine: str
    device: str
    device_used: str
    delegate: str
    delegated_fraction: float | None
    threads: int
    batch: int
    input_shape: tuple[int, int, int, int]
    classes: int
    task: str = CLASSIFICATION
    kind: str = "hardware"
    device_name: str | None = None
    elsewhere: tuple[Placement, ...] = ()
    time_elsewhere: float | None = None

    @property
    def tells_speed(self) -> bool:
        """Whether a time taken here is one of hardware."""
        return self.kind == "hardware"

    @property
    def place(self) -> tuple[str, str]:
        """What two times must share to be compared: the device, and the delegate that reaches it.

        The CPU is left out of the delegate, and on the CPU the delegate is left out: which
        operators a file leaves to the CPU, or there to other kernels than XNNPACK's, is a property
        of the file, and two files that differ in it can be compared.
        """
        if self.device_used == "cpu":
            return self.device_used, ""
        parts = (part for part in self.delegate.split(",") if part != "CPU")
        return self.device_used, ",".join(parts)


@dataclass(frozen=True)
class Prediction:
    """One class that an image may be of; `label` is its index as text where no names are known."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True)
class Value:
    """One value of a regression; `label` is its index as text where no names are known."""

    index: int
    label: str
    value: float
