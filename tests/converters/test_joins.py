"""What is joined comes apart, and answers as it did."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import (
    INPUT,
    LOGITS,
    Activation,
    Affine,
    Concatenate,
    Convolution,
    Dense,
    Graph,
    LeakyRelu,
    Operator,
    Pad,
    Padding,
    Reshape,
)
from converters.joins import taken_apart
from converters.passes import simplify
from edgenet.errors import UnsupportedModelError
from tests.converters.graphs import Chain, Floats, float_answers, pixels, relative_error

# float32 sums in another order.
TOLERANCE = 1e-5


def pools(chain: Chain, sizes: list[int]) -> list[str]:
    """Vectors of so many channels, of one map."""
    source, made = chain.last, []
    for size in sizes:
        chain.last = source
        made.append(chain.convolution(size).pool().last)
    return made


@st.composite
def joined(draw: st.DrawFn) -> Graph:
    """Vectors that are joined, with what works by channel, hidden layers and further joins."""
    chain = Chain(6, 6, seed=draw(st.integers(0, 1000))).normalize().convolution(4, (3, 3))
    vectors = pools(chain, draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)))
    some = st.lists(st.sampled_from(vectors), min_size=1, max_size=3)
    chain.join(*draw(some))
    steps = st.sampled_from(["affine", "relu", "tanh", "leaky", "reshape", "dense", "join"])
    for step in draw(st.lists(steps, max_size=5)):
        if step == "affine":
            chain.affine()
        elif step == "reshape":
            chain.reshape(1, 1, chain.channels).reshape(chain.channels)
        elif step == "dense":
            chain.dense(draw(st.integers(1, 4)))
        elif step == "leaky":
            chain.leaky_relu()
        elif step == "join":
            chain.join(*draw(some))
        else:
            chain.activation(step)
    return chain.dense(3).graph()


def answers(graph: Graph) -> Floats:
    """The logits: maps by ONNX Runtime, and vectors, joins too, here."""
    maps = [op for op in graph.operators if len(graph.shapes[op.inputs[0]]) == 4]
    first = [op for op in maps if len(graph.shapes[op.output]) == 2 and not _reshapes(op)]
    pooled = tuple(op.output for op in first)
    front = Graph("front", graph.input_shape, tuple(maps[: maps.index(first[-1]) + 1]), pooled)
    values: dict[str, Floats] = float_answers(front, pixels(3, 6, 6))
    for operator in graph.operators:
        if operator.output not in front.shapes:
            values[operator.output] = _computed(operator, values)
    return values[LOGITS]


def _reshapes(operator: Operator) -> bool:
    return isinstance(operator, Reshape)


def _computed(operator: Operator, values: Mapping[str, Floats]) -> Floats:
    vectors = [values[name] for name in operator.inputs]
    if isinstance(operator, Concatenate):
        return np.concatenate(vectors, axis=-1)
    if isinstance(operator, Affine):
        return vectors[0] * operator.scale + operator.offset
    if isinstance(operator, Dense):
        return vectors[0] @ operator.weights + operator.bias
    if isinstance(operator, Reshape):
        return vectors[0].reshape(-1, *operator.target)
    if isinstance(operator, LeakyRelu):
        return np.maximum(vectors[0], operator.slope * vectors[0])
    assert isinstance(operator, Activation)
    return np.tanh(vectors[0]) if operator.function == "tanh" else np.maximum(vectors[0], 0)


@settings(max_examples=60)
@given(graph=joined())
def test_joined_or_apart_a_network_answers_the_same(graph):
    apart = taken_apart(graph)
    assert not any(isinstance(operator, Concatenate) for operator in apart.operators)
    expected = answers(graph)
    for found in (apart, simplify(graph)):
        found_answers = float_answers(found, pixels(3, 6, 6))[LOGITS]
        assert relative_error(expected, found_answers) < TOLERANCE
        made = {INPUT}
        for operator in found.operators:
            assert made.issuperset(operator.inputs)
            made.add(operator.output)
    names = [operator.name for operator in apart.operators]
    assert len(set(names)) == len(names)


def test_batch_norm_on_both_sides_goes_into_the_dense_layers():
    chain = Chain(6, 6).normalize().convolution(4)
    first, second = pools(chain, [2, 3])
    chain.last = first
    graph = simplify(chain.join(second).affine().dense(4).affine().graph())
    kinds = [type(operator).__name__ for operator in graph.operators]
    assert kinds.count("Affine") == 1
    assert kinds[-4:] == ["Dense", "Dense", "Add", "Activation"]


def test_the_bias_is_added_once():
    chain = Chain(6, 6).normalize().convolution(4)
    first, second = pools(chain, [2, 3])
    chain.last = first
    graph = taken_apart(chain.join(second).dense(4).graph())
    dense = [operator for operator in graph.operators if isinstance(operator, Dense)]
    assert [bool(operator.bias.any()) for operator in dense] == [True, False]
    assert [operator.weights.shape for operator in dense] == [(2, 4), (3, 4)]


@pytest.mark.parametrize("name", ["depthwise", "softmax", "folded", "padded", "summed"])
def test_what_does_not_come_apart_is_refused(name):
    chain = Chain(6, 6).normalize().convolution(4)
    first = chain.pool(keep=True).last
    chain.join(first)
    join = chain.last
    if name == "depthwise":
        chain.convolution(depthwise=True)
    elif name == "softmax":
        chain.reshape(8).activation("softmax")
    elif name == "folded":
        chain.reshape(2, 2, 2)
    elif name == "padded":
        chain.add(Pad("padded", (join,), "padded", Padding(1, 1, 1, 1)))
    else:
        chain.plus(join)
    reader = chain.last
    with pytest.raises(UnsupportedModelError, match=f"'{join}' joins vectors for '{reader}'"):
        taken_apart(
            chain.pool().dense(3).graph() if name in ("folded", "padded") else chain.graph()
        )


def test_a_convolution_comes_apart():
    chain = Chain(6, 6).normalize().convolution(4)
    first = chain.pool(keep=True).last
    graph = taken_apart(chain.join(first).convolution(3).reshape(3).graph())
    ones = [op for op in graph.operators if isinstance(op, Convolution)][1:]
    assert [op.weights.shape for op in ones] == [(1, 1, 4, 3)] * 2
