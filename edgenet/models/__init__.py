"""The EfficientNet family: `specs` (plain data), `efficientnet` (Keras), `weights`, `summary`.

Importing this package imports the plain data alone; Keras comes with what builds: `build`, and
`edgenet.models.efficientnet`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgenet.models.specs import VARIANTS, BlockSpec, StageSpec, VariantSpec, compound, variant

if TYPE_CHECKING:
    from edgenet.models.building import build

__all__ = ["VARIANTS", "BlockSpec", "StageSpec", "VariantSpec", "build", "compound", "variant"]


def __getattr__(name: str) -> Any:
    if name != "build":
        raise AttributeError(f"module 'edgenet.models' has no attribute {name!r}")
    from edgenet.models.building import build

    return build


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
