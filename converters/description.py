"""What a model file tells of itself to those who have it without its manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LABELS = "labels.txt"
"""The file of class names, one a line, in a bundle and in the archive of a .tflite file."""


def in_lines(labels: Sequence[str]) -> str:
    """What `LABELS` holds."""
    return "".join(f"{label}\n" for label in labels)


@dataclass(frozen=True)
class Description:
    """What the operators do not show: how photos are prepared, and what the classes are called.

    Attributes:
        crop_fraction: See `edgenet.preparing.prepare`.
        interpolation: A name of `edgenet.preparing.INTERPOLATIONS`.
        labels: The names of the classes, or of a regression's values; None where none are known.
    """

    crop_fraction: float
    interpolation: str
    labels: tuple[str, ...] | None

    @property
    def pixels(self) -> str:
        """What the input takes, in words."""
        square = f"the photo's central square, {self.crop_fraction:g} of its short side"
        photo = square if self.cuts else "the whole photo"
        return f"RGB of 0..255, not normalized: {photo}, resized ({self.interpolation})"

    @property
    def cuts(self) -> bool:
        """Whether photos are cropped rather than squashed."""
        return self.crop_fraction < 1
