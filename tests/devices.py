"""The devices that tests ask for: those that CI has, and what is done where one is missing."""

from __future__ import annotations

import pytest

from edgenet.runtime.delegates import DELEGATES, Delegate
from edgenet.runtime.engines import by_name
from edgenet.runtime.probing import examine
from tests.conftest import IN_CI

GPUS = tuple(d for d in DELEGATES if d.name in ("WebGPU", "WebGpuExecutionProvider"))
"""The GPU by every engine that reaches one on a plain machine, SwiftShader by Debian's package."""

OTHERS = tuple(d for d in DELEGATES if d.device == "gpu" and d not in GPUS)
"""The GPU by engines that need hardware: a machine may have one of them or none."""

ETHOS_U = ("ethos-u55-128", "ethos-u65-256", "ethos-u85-256")
"""One of each of Arm's NPUs, as targets are called."""


def require(delegate: Delegate) -> None:
    """Fails in CI, and skips elsewhere, where a delegate that CI has cannot be used."""
    found = examine(delegate)
    if not found.usable:
        (pytest.fail if IN_CI else pytest.skip)(
            f"{delegate.engine} {delegate.name}: {found.reason}; {found.fix}"
        )


def name_of(delegate: Delegate) -> str:
    """A delegate as the name of a test's case."""
    return f"{delegate.engine}-{delegate.name}"


def format_of(delegate: Delegate) -> str:
    """The format that a delegate's engine runs."""
    engine = by_name(delegate.engine)
    assert engine is not None
    return engine.format
