"""Bias correction brings means of maps back to those in float, and touches nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from converters.formats import EVERY_TENSOR
from converters.graph import INPUT, Convolution, Graph, Linear
from converters.passes import simplify
from converters.quantization.arrangement import held_tensors
from converters.quantization.correct import _shrunk, correct_biases
from converters.quantization.simulate import runner, simulated
from converters.scheme.parameters import Quantization
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import batches, quantized, silu_network

IMAGES = batches(12)


def shifted(graph: Graph, name: str, shift: object) -> Graph:
    operators = [
        replace(op, bias=(op.bias + shift).astype(np.float32))
        if isinstance(op, Linear) and op.name == name
        else op
        for op in graph.operators
    ]
    return graph.with_operators(operators)


def biases(graph: Graph) -> dict[str, np.ndarray]:
    return {op.name: op.bias for op in graph.operators if isinstance(op, Linear)}


def maps(graph: Graph) -> list[str]:
    """The convolutions that make maps."""
    return [
        op.name
        for op in graph.operators
        if isinstance(op, Convolution) and graph.shapes[op.output][1] > 1
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_shifted_bias_is_brought_back(seed):
    graph = silu_network(seed)
    name = next(
        op.name
        for op in graph.operators
        if isinstance(op, Convolution) and len(graph.consumers[op.output]) == 2
    )  # the first projection: no function follows it
    shift = np.random.default_rng(seed).normal(0, 1, graph.producers[name].bias.size)
    found = biases(correct_biases(graph, shifted(graph, name, shift), {}, IMAGES))
    for operator, bias in biases(graph).items():
        assert found[operator] == pytest.approx(bias, abs=1e-3)


def read_by_a_convolution() -> Graph:
    chain = Chain(16, 16).normalize().convolution(6)
    return simplify(chain.convolution(4, (3, 3)).head())


def read_by_an_activation_and_a_sum() -> Graph:
    chain = Chain(16, 16).normalize().convolution(6)
    source = chain.last
    return simplify(chain.activation("silu").convolution(6).plus(source).head())


@pytest.mark.parametrize("made", [read_by_a_convolution, read_by_an_activation_and_a_sum])
def test_the_mean_of_what_more_than_an_activation_reads_is_its_own(made):
    graph = made()
    name = maps(graph)[0]
    found = biases(correct_biases(graph, shifted(graph, name, np.linspace(-1, 1, 6)), {}, IMAGES))
    assert found[name] == pytest.approx(biases(graph)[name], abs=1e-3)


def test_what_the_levels_cut_off_is_no_shift():
    graph = simplify(Chain(16, 16).normalize().convolution(6).convolution(4).head())
    first = graph.producers[graph.operators[1].output]
    levels = Quantization.covering(-0.5, 0.5)
    found = biases(correct_biases(graph, graph, {first.output: levels}, IMAGES))
    assert found[first.name] == pytest.approx(biases(graph)[first.name], abs=levels.scale)


def test_behind_an_activation_the_mean_of_what_it_makes_is_brought_back():
    graph = simplify(Chain(16, 16).normalize().convolution(6).activation("silu").head())
    convolution, silu = graph.operators[1:3]
    wrong = shifted(graph, convolution.name, np.linspace(-0.1, 0.1, 6))
    found = correct_biases(graph, wrong, {}, IMAGES)
    errors = [mean_errors(graph, {}, other, [silu.output]) for other in (wrong, found)]
    assert errors[1] < 0.5 * errors[0]


def mean_errors(graph: Graph, held: object, other: Graph, names: list[str]) -> float:
    """How far the channels' means over all images are from those in float, summed."""

    def means(model: object) -> list[np.ndarray]:
        run = runner(model, names)
        rows = [
            [run({INPUT: image})[name].mean(axis=(0, 2, 3)) for name in names] for image in IMAGES
        ]
        return [np.mean(column, axis=0) for column in zip(*rows, strict=True)]

    exact, found = means(simulated(graph, {}, names)), means(simulated(other, held, names))
    return float(sum(np.abs(a - b).sum() for a, b in zip(exact, found, strict=True)))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_means_of_int8_come_nearer_to_float(seed):
    graph = silu_network(seed)
    made = quantized(graph, 12, without=frozenset({"streams", "silu", "piecewise"}))
    held = held_tensors(graph, made.recipe, EVERY_TENSOR)
    corrected = correct_biases(graph, made.rounded, held, IMAGES)
    before = mean_errors(graph, held, made.rounded, maps(graph))
    assert mean_errors(graph, held, corrected, maps(graph)) < 0.8 * before


def test_vectors_and_weights_are_left_alone():
    graph = silu_network()
    made = quantized(graph, 12, without=frozenset({"streams", "silu", "piecewise"}))
    held = held_tensors(graph, made.recipe, EVERY_TENSOR)
    corrected = correct_biases(graph, made.rounded, held, IMAGES)
    changed = set()
    for before, after in zip(made.rounded.operators, corrected.operators, strict=True):
        assert (before.name, before.inputs, before.output) == (
            *(after.name, after.inputs, after.output),
        )
        if isinstance(before, Linear):
            assert after.weights is before.weights
            assert after.scales is before.scales
            if not np.array_equal(before.bias, after.bias):
                changed.add(before.name)
    assert changed <= set(maps(graph))
    assert len(changed) >= 3


def test_one_image_tells_no_shift_from_chance():
    graph = silu_network()
    wrong = shifted(graph, maps(graph)[0], 1.0)
    found = biases(correct_biases(graph, wrong, {}, IMAGES[:1]))
    for name, bias in biases(wrong).items():
        assert np.array_equal(found[name], bias)


def test_errors_that_differ_from_image_to_image_are_no_shift():
    """Means that are off by 1 and by -1 in turn say nothing of the next image's."""
    turns = np.where(np.arange(12) % 2, 1.0, -1.0)[:, None]
    assert _shrunk(turns + 0.1) == pytest.approx([0.0])
    assert _shrunk(np.full((12, 1), 0.3)) == pytest.approx([0.3])
    between = _shrunk(turns * 0.5 + 0.3)
    assert 0 < between[0] < 0.3
