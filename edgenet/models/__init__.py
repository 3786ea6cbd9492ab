"""The EfficientNet family: `specs` (plain data), `efficientnet` (Keras), `weights`, `summary`.

Importing this package imports the plain data alone; Keras comes with `edgenet.models.efficientnet`.
"""

from __future__ import annotations

from edgenet.models.specs import VARIANTS, BlockSpec, StageSpec, VariantSpec, compound, variant

__all__ = ["VARIANTS", "BlockSpec", "StageSpec", "VariantSpec", "compound", "variant"]
