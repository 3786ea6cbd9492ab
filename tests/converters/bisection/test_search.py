"""The search: on noise that adds up, what it finds is enough and no part of it can be spared."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from converters.bisection.network import Network, Step
from converters.bisection.search import (
    MOST_CANDIDATES,
    Goal,
    Score,
    atoms,
    blocks,
    search,
)


class Listed(Network):
    """Steps and nothing behind them."""

    def __init__(self, layers: list[str], floats: tuple[int, ...] = ()) -> None:
        self.steps = tuple(
            Step(f"{n}", layer, "CONV_2D", f"t{n}", 1, 1, n not in floats)
            for n, layer in enumerate(layers)
        )

    probe = alone = constants = function = None  # type: ignore[assignment]


Listed.__abstractmethods__ = frozenset()


def named(sizes: list[int]) -> list[str]:
    return [f"block{b}a_op{n}" for b, size in enumerate(sizes) for n in range(size)]


class Additive:
    """A measure in which every step that stays in int8 adds its own noise."""

    def __init__(self, noises: list[float]) -> None:
        self.noises = noises
        self.calls: list[frozenset[int]] = []

    def __call__(self, returned: frozenset[int]) -> Score:
        self.calls.append(returned)
        noise = sum(n for number, n in enumerate(self.noises) if number not in returned)
        return Score(1.0 - noise / 2, -10 * math.log10(noise) if noise > 0 else math.inf)


networks = st.lists(st.integers(1, 6), min_size=2, max_size=8).flatmap(
    lambda sizes: st.tuples(
        st.just(sizes), st.lists(st.floats(1e-4, 1e-1), min_size=sum(sizes), max_size=sum(sizes))
    )
)


@given(networks, st.floats(0.05, 0.95))
def test_what_is_found_is_enough_and_its_ends_are_needed(network, share):
    sizes, noises = network
    listed, measure = Listed(named(sizes)), Additive(noises)
    goal = Goal(0.0, -10 * math.log10(sum(noises) * share))
    found = search(listed, measure, goal)
    assert found.reached
    assert goal.met(measure(frozenset(found.steps)))
    kept = set(found.steps)
    ends = [n for n in kept if n - 1 not in kept or n + 1 not in kept]
    assert not any(goal.met(measure(frozenset(kept - {end}))) for end in ends)


@pytest.mark.parametrize("most", [12, MOST_CANDIDATES])
@given(networks, st.floats(0.05, 0.95))
def test_no_candidate_is_measured_twice_and_their_number_is_bounded(most, network, share):
    """Beyond the bound nothing more is spared; what is found is enough all the same."""
    sizes, noises = network
    measure, goal = Additive(noises), Goal(0.0, -10 * math.log10(sum(noises) * share))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("converters.bisection.search.MOST_CANDIDATES", most)
        found = search(Listed(named(sizes)), measure, goal)
    assert len(set(measure.calls)) == len(measure.calls) <= most
    assert goal.met(found.score)


def test_one_bad_step_is_found_among_many():
    noises = [1e-6] * 40
    noises[17] = 0.5
    found = search(Listed(named([8] * 5)), Additive(noises), Goal(0.99, 20.0))
    assert found.steps == (17,)


def test_two_bad_blocks_are_two_islands():
    noises = [1e-6] * 40
    noises[3] = noises[36] = 0.3
    found = search(Listed(named([8] * 5)), Additive(noises), Goal(0.99, 20.0))
    assert found.steps == (3, 36)


def test_nothing_is_returned_where_nothing_is_lost():
    found = search(Listed(named([4, 4])), Additive([1e-6] * 8), Goal())
    assert (found.steps, found.reached) == ((), True)


def test_beyond_what_float_gives_as_much_as_that_is_looked_for():
    """One image is answered otherwise whatever returns; the noise is in step 5."""

    def measure(returned: frozenset[int]) -> Score:
        return Score(0.9, 30.0 if 5 in returned else 10.0)

    found = search(Listed(named([4, 4])), measure, Goal(0.99, 20.0))
    assert not found.reached
    assert found.goal == Goal(0.9, 20.0)
    assert found.steps == (5,)


def test_where_float_gives_no_more_nothing_returns():
    found = search(Listed(named([4, 4])), lambda returned: Score(0.9, 10.0), Goal(0.99, 20.0))
    assert (found.steps, found.reached, found.goal) == ((), False, Goal(0.9, 10.0))


def test_a_layers_steps_return_together():
    listed = Listed(["stem", "stem_act", "stem_act", "block1a_dw", "stem_act"])
    assert atoms(listed) == [(0,), (1, 2), (3,), (4,)]


def test_steps_that_are_float_belong_to_no_atom():
    listed = Listed(["a", "b", "b", "b"], floats=(2,))
    assert atoms(listed) == [(0,), (1,), (3,)]


def test_blocks_follow_names_and_unnamed_layers_the_block_before():
    listed = Listed(["pre", "stem_conv", "block1a_dw", "add_7", "block1b_dw", "top_conv", "last"])
    assert [[atom[0] for atom in block] for block in blocks(listed)] == [
        [0],
        [1],
        [2, 3],
        [4],
        [5, 6],
    ]


def test_without_names_blocks_are_runs():
    found = blocks(Listed([f"layer_{n}" for n in range(20)]))
    assert [len(block) for block in found] == [8, 8, 4]


@pytest.mark.parametrize(
    ("score", "met"),
    [(Score(0.99, 20.0), True), (Score(0.98, 30.0), False), (Score(1.0, 19.9), False)],
)
def test_both_parts_of_a_goal_must_hold(score, met):
    assert Goal().met(score) is met
    assert score.noise == pytest.approx(10 ** (-score.sqnr_db / 10))
