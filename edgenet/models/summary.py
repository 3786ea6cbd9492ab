"""The stage table of a model: what each stage is, what it takes and gives, and what it costs.

Counts follow one convention throughout. Parameters count every weight, BatchNorm's moving
statistics and Normalization's included, as Keras's `count_params` does. MACs count one
multiply-accumulate for each kernel weight at each output position, of convolutions and dense
layers; activations, normalization (folded away before a model ships), pooling, the gating multiply
and the skip addition count nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from edgenet.models.specs import BlockSpec, VariantSpec

Shape = tuple[int, ...]

OPERATORS = {"input": "Preprocess", "stem": "Conv", "head": "Conv", "pool": "Pool"}
"""What the stages around the blocks are called, in every table."""


@dataclass(frozen=True)
class StageRow:
    """One stage; sizes in pixels and channels, 0 or empty where a stage has no such thing.

    Attributes:
        stage: `input`, `stem`, `1` and on, `head`, `pool` or `classifier`.
        operator: As the papers call it: `MBConv6`, `Fused-MBConv4`, `Conv`, `Dense`.
        se_widths: The different squeeze widths of the stage's blocks, in order.
        input_shape: Height, width and channels, without the batch; of the first of `repeats`.
        output_shape: Likewise, or the features alone.
    """

    stage: str
    operator: str
    input_shape: Shape
    output_shape: Shape
    kernel: int = 0
    stride: int = 0
    expansion: int = 0
    se_widths: tuple[int, ...] = ()
    repeats: int = 1
    parameters: int = 0
    macs: int = 0


@dataclass(frozen=True)
class ModelSummary:
    """All stages of a model, in order."""

    name: str
    rows: tuple[StageRow, ...]

    @property
    def input_shape(self) -> Shape:
        """Height, width and channels."""
        return self.rows[0].input_shape

    @property
    def parameters(self) -> int:
        """Weights in all, as Keras's `count_params`."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return sum(row.macs for row in self.rows)


def summarize(
    spec: VariantSpec, *, classes: int = 1000, input_size: int | None = None
) -> ModelSummary:
    """Computes the stage table of a variant from its data alone, without Keras.

    Args:
        spec: The variant.
        classes: Length of the output; 0 leaves the classifier off.
        input_size: Height and width in pixels; None takes the variant's own resolution.
    """
    size = input_size or spec.resolution
    rows = [_input(spec, size), _stem(spec, size)]
    for _, blocks in groupby(spec.blocks, key=attrgetter("stage")):
        rows.append(_stage(list(blocks), rows[-1].output_shape))
    rows.append(_head(spec, rows[-1].output_shape))
    rows.append(StageRow("pool", OPERATORS["pool"], rows[-1].output_shape, (spec.head_channels,)))
    if classes:
        rows.append(_classifier(spec.head_channels, classes))
    return ModelSummary(spec.name, tuple(rows))


def _input(spec: VariantSpec, size: int) -> StageRow:
    shape = (size, size, 3)
    # B's Normalization keeps a mean and a variance a channel, and a count; Lite only rescales.
    parameters = 0 if spec.lite else 7
    return StageRow("input", OPERATORS["input"], shape, shape, parameters=parameters)


def _stem(spec: VariantSpec, size: int) -> StageRow:
    output = _strided((size, size, 3), 2, spec.stem_channels)
    return _conv_row("stem", 3, 2, (size, size, 3), output)


def _head(spec: VariantSpec, shape: Shape) -> StageRow:
    return _conv_row("head", 1, 1, shape, (*shape[:2], spec.head_channels))


def _conv_row(stage: str, kernel: int, stride: int, shape: Shape, output: Shape) -> StageRow:
    weights = kernel**2 * shape[2] * output[2]
    return StageRow(
        stage,
        OPERATORS[stage],
        shape,
        output,
        kernel=kernel,
        stride=stride,
        parameters=weights + _batch_norm(output[2]),
        macs=weights * output[0] * output[1],
    )


def _classifier(features: int, classes: int) -> StageRow:
    weights = features * classes
    return StageRow(
        "classifier", "Dense", (features,), (classes,), parameters=weights + classes, macs=weights
    )


def _stage(blocks: list[BlockSpec], shape: Shape) -> StageRow:
    first = blocks[0]
    output = _strided(shape, first.stride, first.out_channels)
    shapes = [shape] + [output] * (len(blocks) - 1)
    return StageRow(
        str(first.stage),
        f"MBConv{first.expansion}",
        shape,
        output,
        kernel=first.kernel,
        stride=first.stride,
        expansion=first.expansion,
        se_widths=tuple(dict.fromkeys(block.se_width for block in blocks if block.se_width)),
        repeats=len(blocks),
        parameters=sum(map(_block_parameters, blocks)),
        macs=sum(map(_block_macs, blocks, shapes)),
    )


def _block_parameters(block: BlockSpec) -> int:
    inner, squeeze = block.expanded_channels, block.se_width
    expand = block.in_channels * inner + _batch_norm(inner) if block.expansion != 1 else 0
    depthwise = block.kernel**2 * inner + _batch_norm(inner)
    excite = 2 * inner * squeeze + squeeze + inner if squeeze else 0
    project = inner * block.out_channels + _batch_norm(block.out_channels)
    return expand + depthwise + excite + project


def _block_macs(block: BlockSpec, shape: Shape) -> int:
    inner = block.expanded_channels
    height, width, _ = _strided(shape, block.stride, inner)
    expand = shape[0] * shape[1] * block.in_channels * inner if block.expansion != 1 else 0
    per_pixel = block.kernel**2 * inner + inner * block.out_channels
    return expand + height * width * per_pixel + 2 * inner * block.se_width


def _strided(shape: Shape, stride: int, channels: int) -> Shape:
    """Divides and rounds up, as SAME padding does."""
    return (-(-shape[0] // stride), -(-shape[1] // stride), channels)


def _batch_norm(channels: int) -> int:
    """Counts gamma, beta, moving mean and moving variance."""
    return 4 * channels
