"""Lite0 and B0 with their published weights, converted once for all tests and workers of a run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgenet.bundle import Bundle


@dataclass(frozen=True)
class Published:
    """What has been made lies in `folder`, for all to read; photographs and weights in `shared`."""

    folder: Path
    shared: Path

    def bundle(self, variant: str, precision: str) -> Bundle:
        """In all formats, calibrated on ImageNet photographs."""
        from converters.pipeline import convert

        path = self.folder / f"{variant}-{precision}"
        with _locked(path):
            if not path.exists():
                photos = self.shared / "data" / "calib-1000"
                convert(self._model(variant), path, precision=precision, calibration=photos)
        return Bundle.open(path)

    def _model(self, variant: str) -> str | Path:
        return self._b0() if variant == "b0" else variant

    def _b0(self) -> Path:
        """B0 with its recovered weights, as a user would have saved it."""
        import keras

        path = self.folder / "b0.keras"
        with _locked(path):
            if not path.exists():
                model = keras.applications.EfficientNetB0(weights=None)
                model.load_weights(self.shared / "weights" / "efficientnetb0.weights.h5")
                model.save(path)
        return path


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Others who want to make the same wait."""
    path.parent.mkdir(exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
