"""A bundle without a converter."""

from __future__ import annotations

from pathlib import Path

from edgenet.bundle import (
    MANIFEST,
    Artifact,
    Bundle,
    InputSpec,
    Manifest,
    OutputSpec,
    Verification,
    record_of,
)
from edgenet.staging import writing

CONTENT = bytes(range(256))


def write(folder: Path, content: bytes) -> Bundle:
    """A bundle of one file; what is in it is no model."""
    with writing(folder) as staging:
        (staging / "model.tflite").write_bytes(content)
        (staging / "labels.txt").write_text("cat\ndog\n")
        manifest = Manifest(
            source={},
            precision="fp32",
            input=InputSpec("image", (1, 8, 8, 3), "uint8", "NHWC", "none", 1.0, "bilinear"),
            outputs=(OutputSpec("logits", (1, 2)),),
            labels=record_of(staging, staging / "labels.txt"),
            recipe=None,
            calibration=None,
            artifacts=(
                Artifact(
                    "tflite",
                    "fp32",
                    (record_of(staging, staging / "model.tflite"),),
                    Verification(1, 1.0, None, 0.0),
                ),
            ),
            reference=None,
        )
        (staging / MANIFEST).write_text(manifest.to_json())
    return Bundle.open(folder)
