"""The EfficientNet family as plain data: what each variant is made of, without building it.

Sources: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(arXiv:1905.11946), Table 1 and section 3.3, and the reference code in tensorflow/tpu,
`models/official/efficientnet` (`efficientnet_builder.py` and `lite/efficientnet_lite_builder.py`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

from edgenet.errors import UsageError

Family = Literal["b", "lite"]

DIVISOR = 8
"""Channels are multiples of this (`depth_divisor` of the reference code)."""

SE_RATIO = 0.25
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
DROP_CONNECT = 0.2
CROP_PADDING = 32
"""Pixels of margin that the reference's centre crop leaves out (`CROP_PADDING`)."""

ALPHA, BETA, GAMMA = 1.2, 1.1, 1.15
"""Depth, width and resolution base of compound scaling (arXiv:1905.11946, section 3.3)."""

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STDDEV = (0.229, 0.224, 0.225)
LITE_MEAN, LITE_STDDEV = 127.0, 128.0

SMALLEST_INPUT = 32
"""Height and width in pixels; keras.applications asks for as many."""

_MAX_REPEATS = 26


@dataclass(frozen=True)
class StageSpec:
    """One row of the paper's Table 1, before scaling: `repeats` blocks, the first with `stride`."""

    kernel: int
    repeats: int
    channels: int
    expansion: int
    stride: int


@dataclass(frozen=True)
class BlockSpec:
    """One inverted residual block (MBConv) with its scaled sizes.

    Attributes:
        name: The prefix of its Keras layers, as `block2a`.
        stage: 1 to 7.
        se_width: Channels of the squeeze, from the block's input; 0 where it has none.
        drop_rate: Probability that training drops the residual branch.
    """

    name: str
    stage: int
    kernel: int
    stride: int
    expansion: int
    in_channels: int
    out_channels: int
    se_width: int
    drop_rate: float

    @property
    def expanded_channels(self) -> int:
        """Channels between the expand and the project convolution."""
        return self.in_channels * self.expansion

    @property
    def has_skip(self) -> bool:
        """Whether the input is added to the output."""
        return self.stride == 1 and self.in_channels == self.out_channels


STAGES = (
    StageSpec(kernel=3, repeats=1, channels=16, expansion=1, stride=1),
    StageSpec(kernel=3, repeats=2, channels=24, expansion=6, stride=2),
    StageSpec(kernel=5, repeats=2, channels=40, expansion=6, stride=2),
    StageSpec(kernel=3, repeats=3, channels=80, expansion=6, stride=2),
    StageSpec(kernel=5, repeats=3, channels=112, expansion=6, stride=1),
    StageSpec(kernel=5, repeats=4, channels=192, expansion=6, stride=2),
    StageSpec(kernel=3, repeats=1, channels=320, expansion=6, stride=1),
)
"""B0 (arXiv:1905.11946, Table 1, rows 2 to 8); every other variant scales these."""


@dataclass(frozen=True)
class VariantSpec:
    """A variant: the family and its scaling, from which everything else follows.

    Attributes:
        name: `b0` to `b7`, `lite0` to `lite4`, or the name of a custom scaling.
        family: `b` (swish, squeeze-and-excite) or `lite` (ReLU6, none; stem and head not scaled).
        width: Multiplies channels.
        depth: Multiplies repeats.
        resolution: Height and width of the input, in pixels.
        dropout: Rate before the classifier, in training.
        drop_connect: Rate of the last block's residual branch, in training; earlier blocks less.
    """

    name: str
    family: Family
    width: float
    depth: float
    resolution: int
    dropout: float
    drop_connect: float = DROP_CONNECT

    @property
    def lite(self) -> bool:
        """Whether it is of the Lite family."""
        return self.family == "lite"

    @property
    def activation(self) -> str:
        """Keras's name of the activation: `swish` or `relu6`."""
        return "relu6" if self.lite else "swish"

    @property
    def crop_fraction(self) -> float:
        """Share of the image's short side that the centre crop keeps, before the resize."""
        return self.resolution / (self.resolution + CROP_PADDING)

    @property
    def interpolation(self) -> str:
        """How the reference resizes the crop."""
        return "bicubic"

    @property
    def stem_channels(self) -> int:
        """Channels after the first convolution."""
        return STEM_CHANNELS if self.lite else round_channels(STEM_CHANNELS, self.width)

    @property
    def head_channels(self) -> int:
        """Channels of the last convolution: the length of the pooled features."""
        return HEAD_CHANNELS if self.lite else round_channels(HEAD_CHANNELS, self.width)

    @cached_property
    def repeats(self) -> tuple[int, ...]:
        """Blocks in each stage; Lite repeats neither the first nor the last stage."""
        last = len(STAGES) - 1
        return tuple(
            stage.repeats if self.lite and index in (0, last) else round_repeats(stage, self.depth)
            for index, stage in enumerate(STAGES)
        )

    @cached_property
    def blocks(self) -> tuple[BlockSpec, ...]:
        """Every block, in order, with its scaled sizes and its Keras name."""
        blocks: list[BlockSpec] = []
        channels = self.stem_channels
        for index, stage in enumerate(STAGES):
            for repeat in range(self.repeats[index]):
                block = self._block(index, stage, repeat, channels, position=len(blocks))
                blocks.append(block)
                channels = block.out_channels
        return tuple(blocks)

    def _block(
        self, index: int, stage: StageSpec, repeat: int, in_channels: int, position: int
    ) -> BlockSpec:
        return BlockSpec(
            name=f"block{index + 1}{chr(ord('a') + repeat)}",
            stage=index + 1,
            kernel=stage.kernel,
            stride=stage.stride if repeat == 0 else 1,
            expansion=stage.expansion,
            in_channels=in_channels,
            out_channels=round_channels(stage.channels, self.width),
            se_width=0 if self.lite else max(1, int(in_channels * SE_RATIO)),
            drop_rate=self.drop_connect * position / float(sum(self.repeats)),
        )


def round_channels(channels: int, width: float) -> int:
    """Scales channels to the nearest multiple of 8, and one more where that loses over 10 %."""
    scaled = channels * width
    rounded = max(DIVISOR, int(scaled + DIVISOR / 2) // DIVISOR * DIVISOR)
    return rounded if rounded >= 0.9 * scaled else rounded + DIVISOR


def round_repeats(stage: StageSpec, depth: float) -> int:
    """Scales a stage's repeats and rounds up."""
    return math.ceil(depth * stage.repeats)


def compound(
    phi: float | None = None,
    *,
    width: float | None = None,
    depth: float | None = None,
    resolution: int | None = None,
    family: Family = "b",
    dropout: float = 0.2,
) -> VariantSpec:
    """Scales the baseline by a coefficient φ, by explicit factors, or by φ with some replaced.

    Depth is 1.2^φ, width 1.1^φ and resolution 224 · 1.15^φ (arXiv:1905.11946, equation 3), the last
    to the nearest multiple of 8. The published variants are close to these, not equal: take them
    from `variant`.

    Raises:
        UsageError: A factor is not positive, the resolution is under 32 pixels, or the depth asks
            for more than 26 blocks in a stage (blocks are named by letters).
    """
    coefficient = phi or 0.0
    spec = VariantSpec(
        name="custom" if phi is None else f"phi{phi:g}",
        family=family,
        width=BETA**coefficient if width is None else width,
        depth=ALPHA**coefficient if depth is None else depth,
        resolution=_compound_resolution(coefficient) if resolution is None else resolution,
        dropout=dropout,
    )
    _check_scaling(spec)
    return spec


def _compound_resolution(phi: float) -> int:
    return round(VARIANTS["b0"].resolution * GAMMA**phi / DIVISOR) * DIVISOR


def _check_scaling(spec: VariantSpec) -> None:
    if spec.width <= 0 or spec.depth <= 0:
        raise UsageError(
            f"width {spec.width:g} and depth {spec.depth:g} must be positive: 1.0 is the baseline"
        )
    if spec.resolution < SMALLEST_INPUT:
        raise UsageError(
            f"a resolution of {spec.resolution} px is too small: give {SMALLEST_INPUT} or more"
        )
    if max(spec.repeats) > _MAX_REPEATS:
        raise UsageError(
            f"depth {spec.depth:g} makes a stage of {max(spec.repeats)} blocks: "
            f"give a depth of {_MAX_REPEATS / 4:g} or less"
        )


def _published(
    family: Family, *rows: tuple[float, float, int, float]
) -> tuple[tuple[str, VariantSpec], ...]:
    names = [f"{family}{index}" for index in range(len(rows))]
    return tuple(
        (name, VariantSpec(name, family, *row)) for name, row in zip(names, rows, strict=True)
    )


VARIANTS = MappingProxyType(
    dict(
        _published(
            "b",
            (1.0, 1.0, 224, 0.2),
            (1.0, 1.1, 240, 0.2),
            (1.1, 1.2, 260, 0.3),
            (1.2, 1.4, 300, 0.3),
            (1.4, 1.8, 380, 0.4),
            (1.6, 2.2, 456, 0.4),
            (1.8, 2.6, 528, 0.5),
            (2.0, 3.1, 600, 0.5),
        )
        + _published(
            "lite",
            (1.0, 1.0, 224, 0.2),
            (1.0, 1.1, 240, 0.2),
            (1.1, 1.2, 260, 0.3),
            (1.2, 1.4, 280, 0.3),
            (1.4, 1.8, 300, 0.3),
        )
    )
)
"""Width, depth, resolution and dropout of each published variant, by name."""


def variant(name: str) -> VariantSpec:
    """Looks a variant up by its name, in any case.

    Raises:
        UsageError: No variant has this name; the message lists those that there are.
    """
    spec = VARIANTS.get(name.lower())
    if spec is None:
        raise UsageError(f"no variant is called {name!r}: choose one of {', '.join(VARIANTS)}")
    return spec
