"""Each pass leaves the function alone, and does what it is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from converters import passes
from converters.graph import (
    FEATURES,
    INPUT,
    LOGITS,
    Activation,
    Affine,
    Convolution,
    Dense,
    GlobalAverage,
    GlobalMaximum,
    Graph,
    Operator,
    Pad,
    Padding,
    Reshape,
)
from tests.converters.graphs import Chain, chains, float_answers, pixels, relative_error

MERGES = [
    passes.merge_affines,
    passes.fold_affine_into_producer,
    passes.fold_affine_into_dense,
    passes.fuse_activation,
    passes.fold_padding,
    passes.average_first,
    passes.flatten_first,
    passes.merge_two_classes,
    passes.keep_pooled_dimensions,
    passes.drop_reshape,
]
# float32 sums in another order; 600 random graphs stay under 2e-6 of the largest logit.
TOLERANCE = 1e-5


def assert_same_function(before: Graph, after: Graph) -> None:
    images = pixels(3, *before.input_shape[1:3])
    expected, found = float_answers(before, images), float_answers(after, images)
    for name in before.outputs:
        assert relative_error(expected[name], found[name]) < TOLERANCE


def kinds(graph: Graph) -> list[str]:
    return [type(operator).__name__ for operator in graph.operators]


@settings(max_examples=15)
@given(graph=chains())
@pytest.mark.parametrize("merge", MERGES, ids=lambda merge: merge.__name__)
def test_each_pass_keeps_the_function(merge, graph):
    assert_same_function(graph, passes.merge_pairs(graph, merge))


@settings(max_examples=40)
@given(graph=chains())
def test_the_input_scale_folds_without_a_trace(graph):
    assert_same_function(graph, passes.fold_input_scale(graph))


@settings(max_examples=60)
@given(graph=chains())
def test_all_passes_keep_the_function_the_outputs_and_the_order(graph):
    simple = passes.simplify(graph)
    assert_same_function(graph, simple)
    assert simple.outputs == graph.outputs
    made = {INPUT}
    for operator in simple.operators:
        assert made.issuperset(operator.inputs)
        made.add(operator.output)


@settings(max_examples=60)
@given(graph=chains())
def test_offered_are_only_pairs_that_no_one_else_reads(graph):
    graph = Graph(graph.name, graph.input_shape, graph.operators, (*graph.outputs, "t1"))

    def merge(first: Operator, second: Operator) -> None:
        assert first.output not in graph.outputs
        assert graph.consumers[first.output] == (second,)
        assert second.inputs == (first.output,)

    assert passes.merge_pairs(graph, merge).operators == graph.operators


def test_an_output_is_never_merged_away():
    chain = Chain(6, 6).normalize().convolution(4)
    pooled = chain.convolution(4).pool().last
    graph = chain.affine().dense(3).graph()
    graph = graph.renamed({pooled: FEATURES}, (*graph.outputs, FEATURES))
    conv = next(op for op in graph.operators if isinstance(op, Convolution))
    graph = Graph(graph.name, graph.input_shape, graph.operators, (*graph.outputs, conv.output))
    simple = passes.simplify(graph)
    assert {FEATURES, conv.output} <= simple.shapes.keys()
    assert_same_function(graph, simple)


def test_a_tensor_with_two_readers_is_not_merged_away():
    chain = Chain(6, 6).normalize().convolution(4)
    skip = chain.last
    graph = chain.affine().plus(skip).head()
    assert kinds(passes.simplify(graph)).count("Affine") == 2
    assert_same_function(graph, passes.simplify(graph))


def test_a_networks_first_layers_become_one_subtraction_and_a_convolution():
    chain = Chain(9, 9).affine(1 / 255, 0).normalize().pad(Padding(0, 1, 0, 1))
    graph = chain.convolution(4, (3, 3), (2, 2), Padding()).affine().activation("relu6").head()
    normalize, stem, *_ = passes.simplify(graph).operators
    assert isinstance(normalize, Affine)
    assert np.all(normalize.scale == 1)
    assert isinstance(stem, Convolution)
    assert (stem.function, stem.padding) == ("relu6", Padding(0, 1, 0, 1))
    assert kinds(passes.simplify(graph)) == [
        *("Affine", "Convolution", "GlobalAverage", "Dense", "Activation")
    ]


def test_squeeze_and_excite_keeps_its_map_and_needs_no_reshape():
    graph = Chain(6, 6).normalize().convolution(4).gate().head()
    simple = passes.simplify(graph)
    assert [op.keep for op in simple.operators if isinstance(op, GlobalAverage)] == [True, False]
    assert not any(isinstance(op, Reshape) for op in simple.operators)


def test_flatten_after_pooling_goes():
    graph = Chain(6, 6).normalize().convolution(4).pool(keep=True).reshape(4).dense(3).graph()
    simple = passes.simplify(graph)
    assert not any(isinstance(op, Reshape) for op in simple.operators)
    assert_same_function(graph, simple)


def a_map() -> Chain:
    return Chain(7, 9).normalize().convolution(4, (3, 3), (2, 2)).activation("silu")


HEADS = {
    "mean of a convolution": (a_map().convolution(5).pool(), ["GlobalAverage", "Dense"]),
    "convolution of a mean": (
        a_map().pool(keep=True).convolution(5).reshape(5),
        ["GlobalAverage", "Dense"],
    ),
    "kept mean of a convolution": (
        a_map().convolution(5).pool(keep=True).reshape(5),
        ["GlobalAverage", "Dense"],
    ),
    "convolution of all": (
        a_map().convolution(5, (4, 5), padding=Padding()).reshape(5),
        ["Reshape", "Dense"],
    ),
}


@pytest.mark.parametrize("flat", [False, True])
def test_one_sigmoid_of_a_convolution_is_two_classes_of_the_map(flat):
    chain = a_map()
    if flat:
        chain.pool(keep=True).convolution(1).reshape(1)
    else:
        chain.convolution(1).pool()
    graph = chain.dense(2).graph()
    simple = passes.simplify(graph)
    assert kinds(simple)[2:] == ["Activation", "GlobalAverage", "Dense", "Activation"]
    assert_same_function(graph, simple)


def test_one_value_that_relu_makes_is_no_logit():
    graph = a_map().pool().dense(1, "relu").dense(2).graph()
    simple = passes.simplify(graph)
    assert kinds(simple).count("Dense") == 2
    assert_same_function(graph, simple)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_of_convolutions_becomes_one_of_dense_layers(name):
    chain, expected = HEADS[name]
    graph = chain.graph()
    simple = passes.simplify(graph)
    assert kinds(simple) == ["Affine", "Convolution", "Activation", *expected, "Activation"]
    assert isinstance(simple.producers[LOGITS], Dense)
    assert_same_function(graph, simple)


@pytest.mark.parametrize(
    "chain",
    [
        a_map().convolution(5, function="relu").pool(),
        a_map().convolution(5, (3, 3)).pool(),
        a_map().convolution(5, strides=(2, 2)).pool(),
        a_map().convolution(5, padding=Padding(1, 1, 1, 1)).pool(),
        a_map().convolution(depthwise=True).pool(),
        a_map().convolution(5).pool(kind=GlobalMaximum),
        a_map().convolution(1).reshape(20),
    ],
)
def test_other_convolutions_stay(chain):
    graph = chain.graph()
    assert kinds(passes.simplify(graph)).count("Convolution") == 2
    assert_same_function(graph, passes.simplify(graph))


def test_batch_norm_before_a_dense_layer_goes_into_it():
    graph = Chain(6, 6).normalize().convolution(4).pool().affine().dense(3).graph()
    simple = passes.simplify(graph)
    assert kinds(simple).count("Affine") == 1
    assert isinstance(simple.producers[LOGITS], Dense)


def test_silu_and_sigmoid_are_not_fused():
    chain = Chain(6, 6).normalize().convolution(4).activation("silu").convolution(4)
    simple = passes.simplify(chain.activation("tanh").head())
    functions = [op.function for op in simple.operators if isinstance(op, Activation)]
    assert functions == ["silu", "tanh", "softmax"]


@pytest.mark.parametrize("depthwise", [True, False])
def test_a_normalization_that_cannot_be_folded_stays(depthwise):
    chain = Chain(6, 6)
    scale = [0.02, 0.02, 0.02] if depthwise else [0.02, 0.0, 0.02]
    graph = chain.affine(scale, -1).convolution(3, (3, 3), depthwise=depthwise).head()
    simple = passes.fold_input_scale(graph)
    assert np.array_equal(simple.operators[0].scale, np.float32(scale))
    assert_same_function(graph, simple)


def test_a_pad_that_two_read_stays():
    chain = Chain(7, 7).normalize().pad(Padding(1, 1, 1, 1))
    padded = chain.last
    left = chain.convolution(4, (3, 3), (1, 1), Padding()).last
    chain.last = padded
    graph = chain.convolution(4, (3, 3), (1, 1), Padding()).plus(left).head()
    simple = passes.simplify(graph)
    assert any(isinstance(op, Pad) for op in simple.operators)
    assert_same_function(graph, simple)
