"""edgenet takes a Keras EfficientNet to every edge runtime in int8 and proves that it still works.

Importing this package costs next to nothing: what it offers is imported on first use, and an engine
only when a bundle asks for it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NoReturn

__version__ = "0.1.0"

# By themselves ONNX Runtime and OpenVINO keep an identity in the user's home and report to their
# makers what runs here, OpenVINO from a process that it forks as it is imported. The first has a
# variable against it, the second does without where its package for that is not installed.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

if TYPE_CHECKING:
    from collections.abc import Callable

    from converters.pipeline import convert
    from edgenet.measure.bench import bench
    from edgenet.measure.check import check
    from edgenet.runtime import Session, load

__all__ = ["Session", "bench", "check", "convert", "load"]

_HOMES = {
    "bench": "edgenet.measure.bench",
    "check": "edgenet.measure.check",
    "convert": "converters.pipeline",
    "load": "edgenet.runtime",
    "Session": "edgenet.runtime",
}
_MODULES = ("bundle", "errors", "models")


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _MODULES:
        return import_module(f"edgenet.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'edgenet' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if name != "convert":
            raise
        return _refusing(error)


def _refusing(lacking: ModuleNotFoundError) -> Callable[..., NoReturn]:
    """What `convert` is on a device: `from edgenet import *` and `help` do without its extra."""

    def convert(*arguments: Any, **options: Any) -> NoReturn:
        """Raises MissingExtraError: what converts is not installed here."""
        from edgenet.errors import MissingExtraError

        raise MissingExtraError.of_host("converting", lacking) from lacking

    return convert


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
