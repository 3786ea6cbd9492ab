"""The graph's arithmetic: TensorFlow's SAME padding, shapes, parameters and MACs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from converters.graph import INPUT, LOGITS, Add, Dense, Graph, Padding
from tests.converters.graphs import Chain

SIDE = st.integers(1, 64)
WINDOW = st.integers(1, 9)


def same_by_tensorflow(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """The formula of `tf.nn`'s documentation, "Notes on padding"."""
    total = max(kernel - (size % stride or stride), 0)
    return total // 2, total - total // 2


@given(
    size=st.tuples(SIDE, SIDE), kernel=st.tuples(WINDOW, WINDOW), strides=st.tuples(WINDOW, WINDOW)
)
def test_same_padding_is_tensorflows(size, kernel, strides):
    found = Padding.same(size, kernel, strides)
    (top, bottom), (left, right) = map(same_by_tensorflow, size, kernel, strides)
    assert found == Padding(top, bottom, left, right)


@given(size=SIDE, kernel=WINDOW, stride=WINDOW)
def test_a_same_convolution_gives_size_over_stride_rounded_up(size, kernel, stride):
    chain = Chain(size, size).convolution(2, (kernel, kernel), (stride, stride))
    assert chain.shapes[chain.last] == (1, -(-size // stride), -(-size // stride), 2)


@given(size=st.integers(1, 20), kernel=st.integers(1, 5), stride=st.integers(1, 3))
def test_tensorflow_itself_gives_that_size(size, kernel, stride):
    import tensorflow as tf

    image, weights = np.zeros((1, size, size, 1), np.float32), np.zeros((kernel, kernel, 1, 1))
    shape = tf.nn.conv2d(image, weights.astype(np.float32), stride, "SAME").shape
    chain = Chain(size, size).convolution(1, (kernel, kernel), (stride, stride))
    assert chain.shapes[chain.last] == tuple(shape)


def test_paddings_add_up():
    assert Padding(1, 2, 3, 4) + Padding(1, 0, 1, 0) == Padding(2, 2, 4, 4)


def test_a_graph_knows_who_makes_and_who_reads_each_tensor():
    chain = Chain(8, 8).normalize().convolution(4)
    skip = chain.last
    graph = chain.convolution(4).plus(skip).head()
    assert [type(op).__name__ for op in graph.consumers[skip]] == ["Convolution", "Add"]
    assert graph.producers[LOGITS] is graph.operators[-2]
    assert INPUT not in graph.producers
    assert graph.consumers[graph.outputs[1]] == ()


def test_macs_are_those_of_the_paper_and_pencil():
    def macs(graph: Graph) -> list[int]:
        found = [op.macs(graph.shapes[op.output]) for op in graph.operators]
        return [count for count in found if count]

    graph = Chain(8, 8).normalize().convolution(4, (3, 3), (2, 2)).head(5)
    assert macs(graph) == [4 * 4 * (3 * 3 * 3 * 4), 4 * 5]
    assert macs(replace(graph, input_shape=(3, 8, 8, 3))) == macs(graph)
    depthwise = Chain(8, 8).convolution(kernel=(3, 3), depthwise=True).head(2)
    assert macs(depthwise) == [8 * 8 * 3 * 3 * 3, 3 * 2]


def test_weights_that_leave_their_levels_have_none():
    """A dense layer has one scale for all the inputs of an output, which gains do not share."""
    gain = np.array([2, 0.5], np.float32)
    weights, scales = np.ones((2, 3), np.float32), np.full(3, 1 / 127, np.float32)
    dense = Dense("d", ("x",), "d", weights, np.zeros(3, np.float32), "linear", scales=scales)
    assert dense.reading(gain).scales is None
    np.testing.assert_array_equal(dense.reading(gain).weights[:, 0], [0.5, 2])


def test_vectors_have_one_value_a_channel():
    graph = Chain(8, 8).normalize().convolution(4).gate().head()
    found = {name for name in graph.shapes if graph.is_vector(name)}
    assert found == {name for name, shape in graph.shapes.items() if np.prod(shape) == shape[-1]}
    assert found


def test_the_logits_are_unrounded_and_what_they_alone_are_the_sum_of():
    assert Chain(8, 8).normalize().head().unrounded == {LOGITS}
    chain = Chain(8, 8).normalize().pool()
    read_elsewhere = chain.dense(3).last
    terms = [chain.dense(3, "relu").last, chain.dense(3).last]
    chain.plus(terms[0])
    terms.append(chain.last)
    graph = chain.plus(read_elsewhere).graph()
    assert graph.unrounded == {LOGITS, *terms[1:]}
    adds = [op for op in graph.operators if isinstance(op, Add)]
    assert [graph.ends_in_float(op) for op in adds] == [True, True]
    assert not any(graph.ends_in_float(op) for op in graph.operators if op not in adds)


def test_what_ends_value_by_value_is_unrounded_back_to_its_products():
    chain = Chain(8, 8).normalize().convolution(4).activation("silu").pool().dense(3)
    products, first = chain.last, len(chain.operators)
    chain.activation("sigmoid").affine(100.0, -1.0).activation("tanh")
    graph = chain.graph()
    ends = graph.operators[first:-1]
    assert graph.unrounded == {products, *(op.output for op in ends)}
    assert [op for op in graph.operators if graph.ends_in_float(op)] == [*ends]


def test_nothing_before_a_mean_is_unrounded():
    graph = Chain(8, 8).normalize().convolution(4).activation("silu").pool().graph()
    assert graph.unrounded == {graph.answer}
    assert graph.ends_in_float(graph.producers[graph.answer])
