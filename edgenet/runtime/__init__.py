"""Running a bundle: `load` opens a `Session` on whichever engine is installed."""

from __future__ import annotations

from edgenet.runtime.loading import load, load_artifact
from edgenet.runtime.records import Prediction, SessionInfo, Value
from edgenet.runtime.session import Session

__all__ = ["Prediction", "Session", "SessionInfo", "Value", "load", "load_artifact"]
