"""Lite0 and B0 with their published weights, converted once for all tests and workers of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgenet.bundle import Bundle
from tests.sharing import once


@dataclass(frozen=True)
class Published:
    """What has been made lies in `folder`, for all to read; photographs and weights in `shared`."""

    folder: Path
    shared: Path

    def bundle(self, variant: str, precision: str) -> Bundle:
        """In all formats, calibrated on ImageNet photographs."""
        return Bundle.open(
            once(
                self.folder / f"{variant}-{precision}",
                lambda path: self._convert(variant, precision, path),
            )
        )

    def _convert(self, variant: str, precision: str, path: Path) -> None:
        from converters.pipeline import convert

        model = once(self.folder / "b0.keras", self._save_b0) if variant == "b0" else variant
        photos = self.shared / "data" / "calib-1000"
        convert(model, path, precision=precision, calibration=photos)

    def _save_b0(self, path: Path) -> None:
        """B0 with its recovered weights, as a user would have saved it."""
        import keras

        model = keras.applications.EfficientNetB0(weights=None)
        model.load_weights(self.shared / "weights" / "efficientnetb0.weights.h5")
        model.save(path)
