"""The Keras layers of stem, blocks and head, named as `keras.applications` names them.

Only layers that Keras ships, so that a saved model loads anywhere, and names that the weights files
of `keras.applications` and the reports of other tools share.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import layers

from edgenet.models.specs import BlockSpec, VariantSpec

Tensor = Any
"""A symbolic Keras tensor; Keras ships no types."""

BATCH_NORM = {"momentum": 0.99, "epsilon": 1e-3}
"""Keras's defaults, and the reference's (`efficientnet_builder.py`)."""

_CONV_INITIALIZER = {"scale": 2.0, "mode": "fan_out", "distribution": "truncated_normal"}


def stem(x: Tensor, spec: VariantSpec) -> Tensor:
    """Applies the first convolution: 3×3, stride 2, (N, H, W, 3) to (N, H/2, W/2, channels)."""
    x, padding = _pad(x, spec, kernel=3, stride=2, name="stem_conv_pad")
    x = _conv(x, spec.stem_channels, "stem_conv", kernel=3, stride=2, padding=padding)
    return _normalize(x, "stem_bn", spec.activation, "stem_activation")


def block(x: Tensor, block_spec: BlockSpec, spec: VariantSpec) -> Tensor:
    """Applies one inverted residual block, (N, H, W, in) to (N, H/stride, W/stride, out)."""
    inputs, name = x, block_spec.name
    if block_spec.expansion != 1:
        x = _conv(x, block_spec.expanded_channels, f"{name}_expand_conv")
        x = _normalize(x, f"{name}_expand_bn", spec.activation, f"{name}_expand_activation")
    x = _depthwise(x, block_spec, spec)
    x = _normalize(x, f"{name}_bn", spec.activation, f"{name}_activation")
    if block_spec.se_width:
        x = _squeeze_excite(x, block_spec, spec.activation)
    x = _conv(x, block_spec.out_channels, f"{name}_project_conv")
    x = _normalize(x, f"{name}_project_bn")
    return _skip(x, inputs, block_spec) if block_spec.has_skip else x


def head(x: Tensor, spec: VariantSpec) -> Tensor:
    """Applies the last convolution and the pooling, (N, H, W, C) to (N, features)."""
    x = _conv(x, spec.head_channels, "top_conv")
    x = _normalize(x, "top_bn", spec.activation, "top_activation")
    return layers.GlobalAveragePooling2D(name="avg_pool")(x)


def classifier(x: Tensor, spec: VariantSpec, classes: int, activation: str | None) -> Tensor:
    """Applies dropout and the dense layer, (N, features) to (N, classes)."""
    if spec.dropout > 0:
        x = layers.Dropout(spec.dropout, name="top_dropout")(x)
    uniform = {"scale": 1.0 / 3.0, "mode": "fan_out", "distribution": "uniform"}
    return layers.Dense(
        classes,
        activation=activation,
        kernel_initializer=keras.initializers.VarianceScaling(**uniform),
        name="predictions",
    )(x)


def _depthwise(x: Tensor, block_spec: BlockSpec, spec: VariantSpec) -> Tensor:
    name, kernel, stride = block_spec.name, block_spec.kernel, block_spec.stride
    x, padding = _pad(x, spec, kernel, stride, name=f"{name}_dwconv_pad")
    return layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding=padding,
        use_bias=False,
        depthwise_initializer=keras.initializers.VarianceScaling(**_CONV_INITIALIZER),
        name=f"{name}_dwconv",
    )(x)


def _squeeze_excite(x: Tensor, block_spec: BlockSpec, activation: str) -> Tensor:
    name, channels = block_spec.name, block_spec.expanded_channels
    gate = layers.GlobalAveragePooling2D(name=f"{name}_se_squeeze")(x)
    gate = layers.Reshape((1, 1, channels), name=f"{name}_se_reshape")(gate)
    gate = _se_conv(gate, block_spec.se_width, activation, f"{name}_se_reduce")
    gate = _se_conv(gate, channels, "sigmoid", f"{name}_se_expand")
    return layers.Multiply(name=f"{name}_se_excite")([x, gate])


def _se_conv(x: Tensor, channels: int, activation: str, name: str) -> Tensor:
    return _conv(x, channels, name, use_bias=True, activation=activation)


def _skip(x: Tensor, inputs: Tensor, block_spec: BlockSpec) -> Tensor:
    if block_spec.drop_rate > 0:
        # One draw an image, broadcast over its pixels and channels: that is drop-connect.
        drop: Callable[[Tensor], Tensor] = layers.Dropout(
            block_spec.drop_rate, noise_shape=(None, 1, 1, 1), name=f"{block_spec.name}_drop"
        )
        x = drop(x)
    return layers.Add(name=f"{block_spec.name}_add")([x, inputs])


def _pad(x: Tensor, spec: VariantSpec, kernel: int, stride: int, name: str) -> tuple[Tensor, str]:
    """Pads as TensorFlow's SAME does; B says so in a layer, because keras.applications does."""
    if stride == 1 or spec.lite:
        return x, "same"
    padding = tuple((kernel // 2 - 1 + (size or 0) % 2, kernel // 2) for size in x.shape[1:3])
    return layers.ZeroPadding2D(padding, name=name)(x), "valid"


def _conv(
    x: Tensor,
    channels: int,
    name: str,
    *,
    kernel: int = 1,
    stride: int = 1,
    padding: str = "same",
    use_bias: bool = False,
    activation: str | None = None,
) -> Tensor:
    return layers.Conv2D(
        channels,
        kernel,
        strides=stride,
        padding=padding,
        use_bias=use_bias,
        activation=activation,
        kernel_initializer=keras.initializers.VarianceScaling(**_CONV_INITIALIZER),
        name=name,
    )(x)


def _normalize(
    x: Tensor, name: str, activation: str | None = None, activation_name: str | None = None
) -> Tensor:
    x = layers.BatchNormalization(name=name, **BATCH_NORM)(x)
    return x if activation is None else layers.Activation(activation, name=activation_name)(x)
