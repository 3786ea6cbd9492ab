"""From the names of tensors to the Keras layer that they came from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

# What exporters put behind a layer's path: TensorFlow's operators, and this project's own suffixes.
_LINEAR = "convolution|depthwise|Conv2D|DepthwiseConv2dNative|MatMul|BiasAdd"
_OTHERS = (
    "Relu|Relu6|LeakyRelu|Elu|Gelu|Sigmoid|Softmax|Tanh|Mean|Max|MaxPool|Mul|Add|AddV2|Sub|Pad|"
    "Reshape|Cast|batchnorm|add|mul|sub|truediv|FusedBatchNormV3|Squeeze|swish|Shape|"
    "weights|bias|offset|factor|scale|scaled|sigmoid|axes|pads|padded|shape|values|float|quantized|"
    "linear|levels|group|groups|ungroup|pooled|product|biased|beta|reshaped|channels_last|"
    "transposed|order|unscaled|lifted|lower|upper|total|part|slope|shifted|most|products|scales|"
    "mean|vector|copy|loud|quiet|sorted"
)
_SUFFIX = re.compile(rf"(?:(?P<linear>{_LINEAR})|{_OTHERS})(?:_?\d+)?")
_BLOCK = re.compile(r"block\d+[a-z]+|stem|top|head")
_NUMBER = re.compile(r"_\d+$")


def layer_of(tensor: str, constants: Sequence[str]) -> str:
    """The Keras layer of an operator, from the names of what it makes and of its constants.

    A fused operator has several paths in one name, as in "net/stem_act/Relu6;net/stem/Conv2D": the
    convolution's is taken where there is one.
    """
    found: list[tuple[str, bool]] = []
    for name in (*constants, tensor):
        for path in name.split(";"):
            for layer, suffix in pairwise(path.split("/")):
                match = _SUFFIX.fullmatch(suffix)
                if match:
                    found.append((layer, match["linear"] is not None))
                    break
    linear = [layer for layer, is_linear in found if is_linear]
    return (linear or [layer for layer, _ in found] or [tensor])[0]


def without_export_number(layers: Sequence[str]) -> list[str]:
    """The layers without the number that an export added to every one of them, where it did."""
    paths = [layer for layer in layers if _BLOCK.search(layer)]
    endings = {match.group() if (match := _NUMBER.search(layer)) else "" for layer in paths}
    if len(endings) != 1:
        return list(layers)
    (ending,) = endings
    return [layer.removesuffix(ending) for layer in layers]


def block_of(layer: str) -> str | None:
    """The block of an EfficientNet that a layer belongs to, or None where its name tells none."""
    match = _BLOCK.search(layer)
    return match.group() if match else None
