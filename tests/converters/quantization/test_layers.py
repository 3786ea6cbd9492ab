"""Layers are known by their names, and what rewrites add to a layer is a part of it."""

from __future__ import annotations

from itertools import pairwise

import pytest

from converters.graph import INPUT, PROBABILITIES, Activation, Graph
from converters.quantization.layers import layers_of, operators_of
from edgenet.errors import UsageError
from tests.converters.quantization.networks import quantized, silu_network

NAMES = ("stem_conv", "stem_act", "block1a_dwconv", "block1a_se_reduce", "block1a_project", "fc")


@pytest.fixture
def graph() -> Graph:
    """Layers in a row, two of them with operators that rewrites add, and a softmax."""
    names = (*NAMES, "stem_act/sigmoid", "block1a_project/total", "fc_softmax")
    tensors = (INPUT, *names[:-1], PROBABILITIES)
    operators = [
        Activation(name, (source,), made, "relu")
        for name, (source, made) in zip(names, pairwise(tensors), strict=True)
    ]
    return Graph("layers", (1, 4, 4, 3), tuple(operators), (PROBABILITIES,))


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ({"fc", "stem_act"}, ("stem_act", "fc")),
        ({"block1a_*"}, ("block1a_dwconv", "block1a_se_reduce", "block1a_project")),
        ({"stem_act/sigmoid"}, ("stem_act",)),
        ({"*_[ac]*", "stem_conv"}, ("stem_conv", "stem_act")),
        (set(), ()),
    ],
)
def test_layers_go_by_name_by_operator_and_by_pattern(graph, names, found):
    assert layers_of(graph, names) == found
    assert {name.partition("/")[0] for name in operators_of(graph, names)} == {*found}


def test_what_rewrites_added_is_of_the_layer(graph):
    assert operators_of(graph, {"stem_act"}) == {"stem_act", "stem_act/sigmoid"}
    made = quantized(silu_network())
    assert any("/" in op.name for op in made.graph.operators)
    every = operators_of(made.graph, {"*"})
    assert every == {op.name for op in made.graph.operators if op.output != PROBABILITIES}


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("block1a_dwcnv", "block1a_dwconv, "),
        ("stem_bn", "stem_conv, "),
        ("Fc", "fc, "),
        ("fc_softmax", "fc, "),
        ("block9*", "block1a_"),
    ],
)
def test_of_a_name_that_there_is_not_the_nearest_are_told(graph, name, near):
    with pytest.raises(UsageError) as caught:
        layers_of(graph, {"fc", name})
    told = str(caught.value)
    assert told.startswith(f"int8 rounds no layer that is called {name!r}: the nearest are ")
    assert near in told
