"""Each rule on statistics made by hand, and what all of them keep in a network."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import FEATURES, LOGITS, PROBABILITIES, Activation, Multiply
from converters.passes import simplify
from converters.quantization import silu
from converters.quantization.calibrate import TensorStatistics
from converters.quantization.ranges import (
    RULES,
    SILU_FLAT,
    by_role,
    choose,
    min_max,
    per_image,
    percentile,
)
from converters.quantization.roles import Role, role_of
from converters.quantization.silu import scaled
from converters.scheme.parameters import Quantization
from converters.scheme.recipe import Recipe
from edgenet.errors import UsageError
from tests.converters.graphs import Chain, chains, pixels, recipe_of
from tests.converters.quantization.networks import network_of_roles, silu_network


def statistics(low, low_tail, high_tail, high) -> TensorStatistics:
    ends = (np.array(values, np.float32) for values in (low, low_tail, high_tail, high))
    return TensorStatistics(*ends, peaks=np.ones(1, np.float32), sample=np.zeros((1, 1)))


TWO_IMAGES = statistics(low=[-20, -10], low_tail=[-4, -2], high_tail=[3, 5], high=[8, 16])
LOUD = statistics(low=[-40, -20], low_tail=[-8, -4], high_tail=[6, 10], high=[16, 32])


@pytest.mark.parametrize("role", Role)
def test_the_plain_rules(role):
    assert min_max(role, TWO_IMAGES) == (-20, 16)
    assert per_image(role, TWO_IMAGES) == (-15, 12)
    assert percentile(role, TWO_IMAGES) == (-3, 4)


@pytest.mark.parametrize(
    ("role", "expected"),
    [
        (Role.VECTOR, (-20, 16)),
        (Role.GATE, (-20, 16)),
        (Role.RECTIFIED, (-20, 16)),
        (Role.BEFORE_SILU, (-3, 4)),
        (Role.BEFORE_SILU_DEPTHWISE, (SILU_FLAT, 8)),
        (Role.SILU, (-20, 16)),
        (Role.BEFORE_SIGMOID, (-3, 4)),
        (Role.BEFORE_SCALED_SILU, (-math.sqrt(3 * 20), 8)),
        (Role.LINEAR, (-math.sqrt(3 * 20), 8)),
    ],
)
def test_each_role_has_its_own_balance(role, expected):
    assert by_role(role, TWO_IMAGES) == pytest.approx(expected)


def test_nothing_below_the_flat_part_is_spent_on_silu():
    wide = statistics([-90], [-30], [30], [90])
    assert by_role(Role.BEFORE_SILU, wide) == (SILU_FLAT, 30)
    assert by_role(Role.BEFORE_SILU_DEPTHWISE, wide)[0] == SILU_FLAT
    assert by_role(Role.BEFORE_SIGMOID, wide) == (SILU_FLAT, -SILU_FLAT)


def test_a_tensor_on_one_side_of_zero_keeps_its_extremes():
    positive = statistics([1], [2], [3], [4])
    assert by_role(Role.LINEAR, positive) == pytest.approx((1, math.sqrt(12)))
    nearly = statistics([-1], [2], [3], [4])
    assert by_role(Role.LINEAR, nearly) == pytest.approx((-1, math.sqrt(12)))


@pytest.mark.parametrize("role", [Role.LINEAR, Role.BEFORE_SCALED_SILU])
def test_an_image_far_from_all_others_is_no_extreme(role):
    ends = np.random.default_rng(0).lognormal(2, 0.2, 100)
    alike = statistics(-ends, -ends / 2, ends / 2, ends)
    assert by_role(role, alike)[1] == pytest.approx(math.sqrt(ends.max() * ends.mean() / 2))
    ends[0] = 100 * ends.max()
    tails = alike.high_tail
    low, high = by_role(role, statistics(-ends, -tails, tails, ends))
    assert by_role(role, alike)[1] < high < 2 * by_role(role, alike)[1]
    assert 2 * by_role(role, alike)[0] < low < by_role(role, alike)[0]
    assert by_role(Role.GATE, statistics(-ends, -tails, tails, ends))[1] == pytest.approx(ends[0])


@given(st.floats(0.125, 1000, width=32))
def test_zero_is_the_middle_of_a_scaled_silu_however_its_end_rounds(end):
    low, high = by_role(Role.BEFORE_SCALED_SILU, statistics([-2 * end], [-2 * end], [end], [end]))
    assert Quantization.covering(low, high).zero_point == 128


def test_silu_is_flat_where_it_is_said_to_be():
    assert -0.0027 < SILU_FLAT / (1 + math.exp(-SILU_FLAT)) < 0


@pytest.fixture(scope="module")
def graph():
    return network_of_roles()


def test_silu_scaled_or_not_ends_where_what_it_comes_from_does():
    graph = silu_network()
    (site, *_) = silu.candidates(graph)
    graph = scaled(graph, {site: np.ones(graph.shapes[site][-1], np.float32)})
    products = {op.output: LOUD for op in graph.operators if isinstance(op, Multiply)}
    ranges = choose(graph, dict.fromkeys(graph.producers, TWO_IMAGES) | products).ranges
    for tensor, producer in graph.producers.items():
        if role_of(graph, tensor) is Role.SILU:
            source = ranges[producer.inputs[0]][1]
            assert ranges[tensor][1] == pytest.approx(source / (1 + math.exp(-source)))
    assert ranges[site][1] == ranges[graph.producers[site].inputs[0]][1] == pytest.approx(8)
    (gated,) = products.keys() - {site}
    assert ranges[gated][1] == pytest.approx(16)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("ends", [(-300, -200), (200, 300)])
def test_a_tensor_far_on_one_side_of_zero_has_no_inverted_range(graph, rule, ends):
    """What lies wholly below the flat part of SiLU, say: all of a recipe can be read again."""
    found = recipe_of(graph, pixels(2, 12, 12)).ranges
    low, high = ends
    far = replace(
        statistics([low, low], [low, low], [high, high], [high, high]),
        sample=np.linspace([low, low], [high, high], 64, axis=1),
    )
    recipe = choose(graph, dict.fromkeys(found, far), rule)
    assert Recipe.from_json(recipe.to_json()) == recipe


@pytest.mark.parametrize("rule", RULES)
def test_what_every_rule_keeps(graph, rule):
    recipe = recipe_of(graph, pixels(6, 12, 12), rule)
    assert recipe.rule == rule
    assert set(recipe.ranges) == {op.output for op in graph.operators} - {PROBABILITIES}
    for tensor, (low, high) in recipe.ranges.items():
        assert low <= high
        assert math.isfinite(low)
        assert math.isfinite(high)
        role, producer = role_of(graph, tensor), graph.producers[tensor]
        if role is Role.RECTIFIED:
            assert low == 0
        if role is Role.SILU:
            source = recipe.ranges[producer.inputs[0]][1]
            assert high <= source / (1 + math.exp(-source)) + 1e-6
    assert recipe.ranges[LOGITS][0] < recipe.ranges[LOGITS][1]


@settings(max_examples=25)
@given(graph=chains())
def test_every_tensor_of_any_network_gets_parameters(graph):
    graph = simplify(graph)
    recipe = recipe_of(graph, pixels(2, *graph.input_shape[1:3]))
    quantizations = recipe.quantizations(graph)
    assert set(graph.shapes) - set(quantizations) == {PROBABILITIES}
    for operator in graph.operators:
        if isinstance(operator, Activation) and operator.function == "sigmoid":
            assert quantizations[operator.output].scale == 1 / 256


@pytest.mark.parametrize(
    ("low", "high", "middle"),
    [(-1.0, 1.0, True), (-0.9, 1.0, True), (-1.0, 0.85, True), (-0.7, 1.0, False), (0, 1, False)],
)
def test_zero_is_the_middle_level_of_sums_that_reach_as_far_on_both_sides(low, high, middle):
    chain = Chain(4, 4).normalize().convolution(8)
    tensor = chain.last
    graph = simplify(chain.convolution(4).head())
    assert role_of(graph, tensor) is Role.LINEAR
    found = {op.output: statistics([low], [low], [high], [high]) for op in graph.operators}
    recipe = choose(graph, found)
    kept = recipe.ranges[tensor]
    if not middle:
        assert kept == pytest.approx((low, high))
        return
    assert kept[0] <= low < high <= kept[1] * (1 + 1e-9)
    assert recipe.quantizations(graph)[tensor].zero_point == 128


def test_an_unknown_rule_is_told_the_known():
    with pytest.raises(UsageError, match=f"'tails': take one of {', '.join(RULES)}"):
        choose(Chain(4, 4).normalize().head(), {}, "tails")


def test_a_recipe_is_plain_json(graph):
    document = recipe_of(graph, pixels(3, 12, 12)).to_json()
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert document["activations"] == {"bits": 8, "granularity": "tensor", "rule": "by-role"}
    assert list(document["ranges"]) == sorted(document["ranges"])
    assert FEATURES not in document["ranges"]
