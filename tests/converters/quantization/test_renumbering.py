"""A recipe finds its layers again where Keras has numbered them otherwise, or says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.freeze import freeze
from converters.graph import INPUT, LOGITS, PROBABILITIES, Graph
from converters.quantization.quantize import Method, quantize
from converters.quantization.renumbering import renumbered
from converters.scheme.recipe import UNCALIBRATED, Recipe
from edgenet.errors import UsageError
from tests.converters.graphs import float_answers, pixels
from tests.converters.quantization.networks import SIZE, batches, images_of

KINDS = ("Rescaling", "Conv2D", "BatchNormalization", "Activation", "Dense")


def nameless(made_before: Mapping[str, int], depth: int = 1) -> Graph:
    """A network of layers without names, in a process that has made others before it."""
    import keras
    from keras import layers

    keras.utils.clear_session()
    arguments = {"Rescaling": (1,), "Conv2D": (1, 1), "Activation": ("relu",), "Dense": (1,)}
    for kind, count in made_before.items():
        for _ in range(count):
            getattr(layers, kind)(*arguments.get(kind, ()))
    keras.utils.set_random_seed(2)
    inputs = keras.Input((SIZE, SIZE, 3))
    x = layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    x = layers.Conv2D(8, 3, strides=2, activation="swish")(x)
    x = layers.Conv2D(6, 1, name="conv2d_of_ours")(x)
    x = layers.Activation("swish")(layers.BatchNormalization()(layers.Conv2D(6, 1)(x)))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    for _ in range(depth):
        x = layers.Dense(7, "relu")(x)
    x = layers.BatchNormalization()(layers.Dense(6)(x))
    return freeze(keras.Model(inputs, layers.Dense(5, "softmax")(x)))


def recipe_for(graph: Graph, floats: int = 0) -> Recipe:
    """A range of every tensor that tells its place, and so many operators in float; in ONNX all."""
    tensors = [name for name in graph.shapes if name not in (INPUT, PROBABILITIES)]
    names = [operator.name for operator in graph.operators]
    return Recipe(
        "by hand",
        {name: (-float(place), 1.0) for place, name in enumerate(tensors)},
        float_operators=frozenset(names[:floats]),
        float_operators_in={"onnx": frozenset(names)} if floats else {},
        rewrites={"silu": {tensors[2]: (1.0, 2.0)}},
    )


@settings(max_examples=12)
@given(
    st.fixed_dictionaries({kind: st.integers(0, 11) for kind in KINDS}),
    st.fixed_dictionaries({kind: st.integers(0, 11) for kind in KINDS}),
    st.sampled_from([0, 3, 99]),
)
def test_layers_are_found_whatever_their_numbers(
    before: Mapping[str, int], since: Mapping[str, int], floats: int
) -> None:
    old, new = nameless(before), nameless(since)
    said: list[str] = []
    found = renumbered(recipe_for(old, floats), new, said.append)
    assert found == recipe_for(new, floats)
    assert len(said) == (recipe_for(old, floats) != recipe_for(new, floats))


def test_what_was_taken_for_what_is_told_in_one_line() -> None:
    said: list[str] = []
    recipe = recipe_for(nameless({}), floats=1)
    renumbered(recipe, nameless({"Rescaling": 2, "Dense": 9}), said.append)
    (line,) = said
    assert "dense is dense_9, " in line
    assert line.endswith("rescaling is rescaling_2 here")


def test_a_renumbered_network_is_quantized_to_the_same_answers() -> None:
    old, new = nameless({}), nameless({"Conv2D": 1, "Activation": 3, "Dense": 1, "Rescaling": 1})
    images = images_of(batches(24))
    made = quantize(old, images, Method())
    found = quantize(new, images, Method(recipe=made.recipe))
    ends = made.recipe.ranges.values(), found.recipe.ranges.values()
    assert sorted(ends[0]) == sorted(ends[1])
    assert made.recipe.ranges.keys() != found.recipe.ranges.keys()
    shown = pixels(4, SIZE, SIZE, seed=5)
    expected, got = (float_answers(one.of("onnx"), shown)[LOGITS] for one in (made, found))
    np.testing.assert_array_equal(got, expected)


def test_a_recipe_of_the_same_names_is_left_alone() -> None:
    graph = nameless({"Dense": 3})
    recipe = recipe_for(graph, floats=2)
    assert renumbered(recipe, graph, pytest.fail) is recipe
    one_of_two = in_float("dense_4")(recipe)
    assert renumbered(one_of_two, graph, pytest.fail) is one_of_two
    assert renumbered(UNCALIBRATED["w8"], graph, pytest.fail) is UNCALIBRATED["w8"]


def one_too_few(recipe: Recipe) -> Recipe:
    ranges = {name: ends for name, ends in recipe.ranges.items() if name != "dense_relu"}
    return replace(recipe, ranges=ranges)


def in_float(layer: str) -> Callable[[Recipe], Recipe]:
    """One of the two dense layers whose values have other names; only their order tells them."""
    return lambda recipe: replace(recipe, float_operators=frozenset({layer}), float_operators_in={})


@pytest.mark.parametrize(
    ("change", "before", "said"),
    [
        (one_too_few, {}, "it has no 'dense'"),
        (one_too_few, {"Dense": 2}, "it has no 'dense_2'"),
        (in_float("dense_1"), {"Dense": 2}, "this one has no 'dense_1'"),
        # Of the same name, another layer.
        (in_float("dense_2"), {"Dense": 1}, "it has no 'dense_3'"),
        (in_float("dense_9"), {}, "this one has no 'dense_9'"),
    ],
)
def test_what_cannot_be_told_is_refused_with_a_way_out(
    change: Any, before: Mapping[str, int], said: str
) -> None:
    recipe = change(recipe_for(nameless({})))
    with pytest.raises(UsageError, match=rf"another network: {said}.*clear_session\(\)"):
        renumbered(recipe, nameless(before), pytest.fail)


def test_a_deeper_head_is_another_network() -> None:
    with pytest.raises(UsageError, match=r"it has no 'dense_1'.*clear_session\(\)"):
        renumbered(recipe_for(nameless({})), nameless({}, depth=2), pytest.fail)
