"""Layers are read out of the names that this project and its peers give."""

from __future__ import annotations

import pytest

from converters.bisection.names import block_of, layer_of, without_export_number


@pytest.mark.parametrize(
    ("tensor", "constants", "layer"),
    [
        ("stem_bn", ["stem_conv/weights", "stem_conv/bias"], "stem_conv"),
        ("stem_activation/sigmoid", [], "stem_activation"),
        ("block1a_se_excite", [], "block1a_se_excite"),
        ("features/quantized", ["avg_pool/axes"], "avg_pool"),
        (
            "net/stem_act_1/Relu6;net/stem_bn_1/batchnorm/add_1;net/stem_conv_1/convolution;x/sub1",
            [],
            "stem_conv_1",
        ),
        ("net/block2b_add_1/Add", [], "block2b_add_1"),
        ("Relu6__5:0", ["const_fold_opt__4", "net/act_1/Relu6;net/conv_1/convolution"], "conv_1"),
        ("Identity", ["net/predictions_1/MatMul", "net/predictions_1/BiasAdd"], "predictions_1"),
        ("model/inner/block1a_dwconv/depthwise", [], "block1a_dwconv"),
        ("logits", ["predictions/part2/weights", "predictions/part2/scales"], "predictions"),
        ("block2a_expand_bn/quiet", ["block2a_expand_conv/quiet/weights"], "block2a_expand_conv"),
        ("block2a_expand_activation/loud/sigmoid", [], "block2a_expand_activation"),
        ("block2a_se_excite/sorted", [], "block2a_se_excite"),
        ("x", [], "x"),
    ],
)
def test_a_layer_is_read_from_names(tensor, constants, layer):
    assert layer_of(tensor, constants) == layer


def test_a_number_that_every_layer_got_is_dropped():
    layers = ["stem_conv_1", "block1a_dwconv_1", "predictions_1", "x"]
    assert without_export_number(layers) == ["stem_conv", "block1a_dwconv", "predictions", "x"]


@pytest.mark.parametrize(
    "layers",
    [["stem_conv", "block1a_dwconv", "dense_1"], ["stem_conv", "block1a_dwconv_1"], ["dense_1"]],
)
def test_a_number_that_one_layer_has_stays(layers):
    assert without_export_number(layers) == layers


@pytest.mark.parametrize(
    ("layer", "block"),
    [("block2b_se_reduce", "block2b"), ("stem_conv", "stem"), ("top_bn", "top"), ("dense", None)],
)
def test_a_layer_knows_its_block(layer, block):
    assert block_of(layer) == block
