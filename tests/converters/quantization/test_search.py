"""The search returns operators to float until the noise is small enough, and no more."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from converters.formats import LOWERINGS
from converters.formats.cost import all_in_int8, at_border, in_float, in_int8
from converters.graph import LOGITS, VALUES, Convolution, Floats
from converters.passes import simplify
from converters.quantization.arrangement import simulated_logits
from converters.quantization.chain import Choice
from converters.quantization.quantize import Quantized, with_float
from converters.quantization.search import (
    _MOST_FLOAT,
    _MOST_TRIES,
    Mixed,
    _Parts,
    _shares,
    decibels,
    measure,
    return_to_float,
)
from converters.quantization.simulate import Image
from converters.segments import segments
from edgenet.measure.accuracy import r2, sqnr_db
from tests.converters.graphs import Chain, answers, float_answers, pixels
from tests.converters.quantization.networks import (
    SIZE,
    batches,
    deep_network,
    quantized,
    silu_network,
)

FORMATS = tuple(LOWERINGS)


@pytest.fixture(scope="module")
def made():
    """A network in which 40 % of the products in float can take 8 dB of the noise away."""
    return quantized(deep_network(3))


def test_noise_in_decibels():
    assert [decibels(share) for share in (1.0, 0.1, 0.001)] == pytest.approx([0, 10, 30])
    assert decibels(0.0) == 120


@pytest.mark.parametrize("places", [(0, 0), (0, 0, 1)])
def test_the_r2_is_of_the_variance_over_all_calibration_images(places):
    """Over few images, which may be alike, a value hardly varies though it does elsewhere."""
    graph = silu_network()
    operators = graph.operators[:-1]
    regression = replace(graph, operators=operators).renamed({LOGITS: VALUES}, (VALUES,))
    made = quantized(regression, limited=True)
    values = np.concatenate([float_answers(regression, image)[VALUES] for image in batches(24)])
    assert made.spread == pytest.approx(values.std(axis=0), rel=1e-4)
    whole = measure(replace(made, held_out=batches(24)), "onnx")
    assert whole == pytest.approx(1 - r2(values, simulated_values(made, batches(24))), rel=0.05)
    alike = measure(replace(made, held_out=[made.held_out[place] for place in places]), "onnx")
    assert whole / 30 < alike < 3 * whole


def simulated_values(made: Quantized, images: list[Image]) -> Floats:
    """What int8 answers in ONNX Runtime."""
    return simulated_logits(made.of("onnx"), made.recipe, "onnx", images)


def test_what_is_quiet_enough_stays_in_int8(made):
    found = return_to_float(made, measure(made, "onnx") * 1.01, FORMATS)
    assert list(found) == list(FORMATS)
    for mixed in found.values():
        assert mixed.quantized is made
        assert mixed.float_share == 0


@pytest.mark.parametrize("formats", [("tflite", "onnx"), ("openvino",)])
@pytest.mark.parametrize("better_db", [1, 3, 8])
def test_the_goal_is_met_with_a_part_in_float(made, better_db, formats):
    goal = measure(made, formats[0]) * 10 ** (-better_db / 10)
    lines: list[str] = []
    found = return_to_float(made, goal, formats, lines.append)
    assert list(found) == list(formats)
    for mixed in found.values():
        assert mixed.noise <= goal
        assert mixed.noise == measure(mixed.quantized, formats[-1])
        assert 0 < mixed.float_share <= 0.4
        for format in made.lowered:
            assert bool(mixed.quantized.recipe.of(format).float_operators) == (format in formats)
        assert f"{decibels(mixed.noise):.1f} dB" in "\n".join(lines)


def test_of_what_is_enough_the_cheapest_is_kept(made, monkeypatch):
    """The first try takes the parts for noisier than they are."""
    goal = measure(made, "onnx") / 4
    honest, tried = _Parts.corrected, {}

    def corrected(parts, measured, floats):
        tried[floats] = measured
        return honest(parts, measured * (8 if len(tried) == 1 else 1), floats)

    monkeypatch.setattr(_Parts, "corrected", corrected)
    found = return_to_float(made, goal, ("onnx",))["onnx"]
    parts = _Parts.of(made, ("onnx",))
    enough = sorted((floats for floats in tried if tried[floats] <= goal), key=parts.time)
    assert len(enough) > 1
    assert found.noise == tried[enough[0]]
    assert found.float_share == parts.float_share(enough[0])


def test_each_format_gets_the_cheapest_for_its_own_engine(made):
    goal = measure(made, "onnx") / 4
    lines: list[str] = []
    found = return_to_float(made, goal, ("tflite", "onnx"), lines.append)
    apart = {format: replace(_Parts.of(made, FORMATS), formats=[format]) for format in found}
    for format, mixed in found.items():
        assert mixed.noise <= goal
        for other in found.values():
            assert _time(apart[format], mixed) <= _time(apart[format], other)
    assert sum("operators in float, " in line for line in lines) <= 2 * _MOST_TRIES


def _time(parts: _Parts, mixed: Mixed) -> float:
    """Of a choice, which is of whole segments."""
    floats = mixed.quantized.recipe.float_operators
    chosen = [{op.name for op in segment.operators} <= floats for segment in parts.segments]
    return parts.time(tuple(chosen))


def test_a_choice_that_takes_longer_than_what_is_enough_is_not_made(made, monkeypatch):
    """Each choice costs seconds, and its time is known before."""
    goal, honest = measure(made, "onnx") / 4, _Parts.chosen
    asked: list[Choice] = []

    def chosen(parts: _Parts, *wanted: float) -> Choice:
        # All but the first are dearer.
        asked.append(honest(parts, *(one / 2 if asked else one for one in wanted)))
        return asked[-1]

    monkeypatch.setattr(_Parts, "chosen", chosen)
    lines: list[str] = []
    found = return_to_float(made, goal, ("onnx",), lines.append)["onnx"]
    assert found.noise <= goal
    assert len(asked) > sum("operators in float, " in line for line in lines)


def test_a_stricter_goal_takes_no_less_in_float(made):
    goals = [measure(made, "onnx") * 10 ** (-better / 10) for better in (1, 4, 8)]
    shares = [return_to_float(made, goal, ("onnx",))["onnx"].float_share for goal in goals]
    assert shares == sorted(shares)


def layers(made: Quantized, *places: int) -> list[str]:
    """The operators of some of a network's segments, by name."""
    return [op.name for place in places for op in segments(made.graph)[place].operators]


@pytest.mark.parametrize("better_db", [0, 3])
def test_what_is_in_float_already_stays_there(made, better_db):
    """Of one segment it is all, of another only the first operator."""
    *whole, part = *layers(made, 3), layers(made, 5)[0]
    before = with_float(made, [*whole, part])
    noise = measure(before, "onnx")
    lines: list[str] = []
    goal = noise * 10 ** (-better_db / 10)
    found = return_to_float(before, goal, FORMATS, lines.append)["tflite"]
    kept = found.quantized.recipe.float_operators
    assert found.noise <= goal
    assert {*whole, part} <= kept
    products = {op.name: op.macs(made.graph.shapes[op.output]) for op in made.graph.operators}
    share = sum(products.get(name, 0) for name in kept) / sum(products.values())
    assert found.float_share == pytest.approx(share)
    assert (found.quantized is before) == (better_db == 0)
    assert (f"with {len(whole) + 1} operators in float: looking" in "\n".join(lines)) == (
        better_db > 0
    )


def test_where_too_much_is_in_float_already_no_more_is(made):
    before = with_float(made, {op.name for op in made.graph.operators[:-3]})
    found = return_to_float(before, 0.0, FORMATS)["onnx"]
    assert found.quantized is before
    assert found.float_share > _MOST_FLOAT


@pytest.mark.parametrize("seed", [0, 2])
def test_what_cannot_be_met_within_the_limit_is_not_said_to_be(seed):
    made = quantized(deep_network(seed))
    found = return_to_float(made, 0.0, FORMATS)["onnx"]
    assert 0 < found.noise <= measure(made, "onnx")
    assert found.float_share <= 0.4


@pytest.mark.parametrize("network", [silu_network, deep_network])
def test_more_operators_in_float_make_less_noise(network):
    made = quantized(network(1))
    runs = [
        [op.name for segment in segments(made.graph)[start:] for op in segment.operators]
        for start in range(len(segments(made.graph)), -1, -2)
    ]
    noises = [
        measure(with_float(made, run), "onnx")
        for run in (*runs, [o.name for o in made.graph.operators])
    ]
    assert noises[0] == pytest.approx(measure(made, "onnx"))
    assert noises[-1] < 1e-9
    for less, more in zip(noises[1:], noises, strict=False):
        # Which way the last few errors add up is chance.
        assert less <= more * 1.1 + noises[0] / 20


@pytest.mark.parametrize("format", ["tflite", "onnx", "openvino"])
def test_the_files_hear_less_noise_too(made, tmp_path, format):
    found = return_to_float(made, measure(made, "onnx") / 10, FORMATS)[format].quantized
    images = pixels(32, SIZE, SIZE, seed=8)
    expected = float_answers(made.graph, images)[LOGITS]
    kept = [
        sqnr_db(
            expected, answers(one.of(format), format, name, one.recipe, images, tmp_path)[LOGITS]
        )
        for one, name in ((made, "int8"), (found, "int8-mixed"))
    ]
    assert kept[1] > kept[0] + 3


def by_hand() -> _Parts:
    """Pixels, two convolutions, pooling, classifier and softmax, and noises as powers of two."""
    chain = Chain(8, 8).normalize().convolution(16, (3, 3)).convolution(4, (3, 3))
    graph = simplify(chain.head())
    inner, border = np.array([1, 2, 4, 8, 16, 32.0]), np.array([64, 128, 256, 512, 1024, 2048.0])
    return _Parts(graph, graph, segments(graph), inner, border, ["tflite", "onnx"])


def floats(parts: _Parts, *names: int) -> tuple[bool, ...]:
    return tuple(index in names for index in range(len(parts.segments)))


def test_noise_that_is_left():
    parts = by_hand()
    assert len(parts.segments) == 6
    everything = 4095
    assert parts.noise_left(parts.nothing) == everything
    assert parts.noise_left(floats(parts, 1)) == everything - 2
    assert parts.noise_left(floats(parts, 1, 2)) == everything - 2 - 4 - 128
    assert parts.noise_left(floats(parts, 1, 3)) == everything - 2 - 8
    assert parts.noise_left(floats(parts, 4, 5)) == everything - 16 - 32 - 1024 - 2048
    assert parts.noise_left(floats(parts, *range(6))) == 0


def test_what_is_left_is_corrected_by_what_was_measured():
    parts = by_hand()
    chosen = floats(parts, 1, 2)
    left = parts.noise_left(chosen)
    found = parts.corrected(3 * left, chosen)
    assert found.noise_left(chosen) == 3 * left
    assert found.noise_left(parts.nothing) == 3 * left + 2 + 4 + 128
    silent = replace(parts, inner=np.zeros(6), border=np.zeros(6))
    assert silent.corrected(1.0, chosen).noise_left(parts.nothing) == 0


def test_time_is_what_float_takes_longer_and_every_border():
    parts = replace(by_hand(), formats=["tflite"])
    graph = parts.graph
    longer = [
        sum(in_float(graph, op, "tflite") - in_int8(graph, op, "tflite") for op in part.operators)
        for part in parts.segments
    ]
    pixels, first, second, last = (
        at_border(values, "tflite") for values in (8 * 8 * 3, 8 * 8 * 16, 8 * 8 * 4, 5)
    )

    def time(*names: int) -> float:
        return parts.time(floats(parts, *names)) * all_in_int8(graph, "tflite")

    # Softmax hands out floats anyway: its classes go through a border unless it is in float.
    assert time() == pytest.approx(last)
    assert time(1) == pytest.approx(longer[1] + pixels + first + last)
    assert time(1, 2) == pytest.approx(longer[1] + longer[2] + pixels + second + last)
    assert time(*range(6)) == pytest.approx(sum(longer))


def test_time_is_the_mean_over_formats():
    parts = by_hand()
    chosen = floats(parts, 1, 2)
    apart = [replace(parts, formats=[format]).time(chosen) for format in parts.formats]
    assert apart[0] != apart[1]
    assert parts.time(chosen) == pytest.approx(sum(apart) / 2)


def test_the_share_in_float_is_one_of_products():
    parts = by_hand()
    first, second = (op for op in parts.graph.operators if isinstance(op, Convolution))
    products = [first.weights.size * 64, second.weights.size * 64, 4 * 5]
    assert parts.float_share(floats(parts, 1)) == pytest.approx(products[0] / sum(products))


def test_operators_of_segments():
    parts = by_hand()
    assert parts.operators(parts.nothing) == frozenset()
    assert parts.operators(floats(parts, *range(6))) == {op.name for op in parts.graph.operators}


@pytest.mark.parametrize("goal", [4094, 4000, 3000, 2000, 1000])
def test_the_cheapest_choice_that_is_enough_is_taken(goal):
    parts = by_hand()
    choices = list(product((False, True), repeat=6))
    enough = [
        choice
        for choice in choices
        if parts.noise_left(choice) <= goal and parts.float_share(choice) <= _MOST_FLOAT
    ]
    chosen = parts.chosen(goal)
    assert chosen in enough
    assert parts.time(chosen) == pytest.approx(min(map(parts.time, enough)))


def test_the_first_goal_that_a_choice_meets_is_met():
    parts = by_hand()
    assert parts.chosen(3000, 4000) == parts.chosen(3000)
    assert parts.chosen(0, 4000) == parts.chosen(4000)
    assert parts.chosen(0, 0) == parts.chosen(0)


def test_where_none_is_enough_the_quietest_is_taken():
    parts = by_hand()
    affordable = [
        choice
        for choice in product((False, True), repeat=6)
        if parts.float_share(choice) <= _MOST_FLOAT
    ]
    quietest = parts.chosen(0)
    assert quietest in affordable
    assert parts.noise_left(quietest) == min(map(parts.noise_left, affordable))


@pytest.mark.parametrize("goal", [4000, 3000, 2000])
def test_of_choices_that_leave_in_float_what_is_the_cheapest_is_taken(goal):
    """The classifier is there already, which is a segment of its own."""
    parts = by_hand()
    dense = parts.segments[4].operators
    parts = replace(parts, already=frozenset(op.name for op in dense))
    assert parts.nothing == floats(parts, 4)
    assert parts.operators(parts.nothing) == parts.already
    assert parts.float_share(parts.nothing) == by_hand().float_share(floats(parts, 4))
    choices = [choice for choice in product((False, True), repeat=6) if choice[4]]
    enough = [
        choice
        for choice in choices
        if parts.noise_left(choice) <= goal and parts.float_share(choice) <= _MOST_FLOAT
    ]
    chosen = parts.chosen(goal)
    assert chosen in enough
    assert parts.time(chosen) == pytest.approx(min(map(parts.time, enough)))


def test_shares_are_looked_into_where_there_is_noise():
    noises = {"a": 8.0, "b": 1.0, "c": 0.002, "d": 0.001, "e": 0.0}
    asked: list[tuple[str, ...]] = []

    def alone(tensors) -> float:
        asked.append(tuple(tensors))
        return sum(noises[name] for name in tensors)

    found = _shares([["a"], ["b"], ["c"], ["d", "e"]], alone)
    assert found == pytest.approx([8, 1, 0.0015, 0.0015])
    assert np.sum(found) == pytest.approx(sum(noises.values()))
    assert ("c",) not in asked
