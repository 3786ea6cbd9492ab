"""It measures what holding the same tensors in levels costs, whichever stages make them."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.graph import INPUT, LOGITS, Activation, Convolution, Padding
from converters.quantization.calibrate import calibrate
from converters.quantization.ranges import choose
from converters.quantization.sensitivity import Sensitivity
from converters.quantization.simulate import logits, noise, runner, simulated
from tests.converters.quantization.networks import batches, deep_network, silu_network

GRAPHS = {"deep": deep_network(), "silu": silu_network()}
IMAGES = batches(4)


@cache
def held_of(name):
    graph = GRAPHS[name]
    return choose(graph, calibrate(graph, batches(8)).tensors).quantizations(graph)


@cache
def sensitivity_of(name, corrected=False):
    return Sensitivity(GRAPHS[name], held_of(name), IMAGES, corrected)


@cache
def reference_of(name):
    return logits(simulated(GRAPHS[name], {}), IMAGES)


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(GRAPHS)), data=st.data())
def test_it_measures_what_holding_the_same_tensors_does(name, data):
    sensitivity = sensitivity_of(name)
    chosen = data.draw(st.sets(st.sampled_from(sensitivity.held)))
    model = simulated(GRAPHS[name], {tensor: held_of(name)[tensor] for tensor in chosen})
    expected = noise(logits(model, IMAGES), reference_of(name))
    assert sensitivity.noise(chosen) == pytest.approx(expected, rel=0.05, abs=1e-7)


@pytest.mark.parametrize("name", GRAPHS)
def test_each_tensor_alone_is_measured_in_its_stage(name):
    sensitivity = sensitivity_of(name)
    for tensor in sensitivity.held:
        model = simulated(GRAPHS[name], {tensor: held_of(name)[tensor]})
        expected = noise(logits(model, IMAGES), reference_of(name))
        assert sensitivity.noise([tensor]) == pytest.approx(expected, rel=0.05, abs=1e-7)


@pytest.mark.parametrize("name", GRAPHS)
def test_with_nothing_rounded_there_is_no_noise(name):
    assert sensitivity_of(name).noise(()) == 0
    assert set(sensitivity_of(name).held) <= {op.output for op in GRAPHS[name].operators}


@pytest.mark.parametrize("corrected", [True, False])
def test_the_engine_has_nothing_to_warn_of(capfd, corrected):
    graph = GRAPHS["silu"]
    gate = next(op.output for op in graph.operators if graph.is_vector(op.output))
    Sensitivity(graph, {gate: held_of("silu")[gate]}, IMAGES, corrected)
    assert capfd.readouterr().err == ""


def means(graph, held, tensor):
    """Of each channel, over the images."""
    run = runner(simulated(graph, held, [tensor]), [tensor])
    return np.mean([run({INPUT: image})[tensor].mean(axis=(0, 2, 3)) for image in IMAGES], axis=0)


def test_what_a_bias_makes_up_for_is_no_noise():
    """The bias of the one reader takes the means back, where a shift is a shift everywhere."""
    graph, sensitivity = GRAPHS["silu"], sensitivity_of("silu", corrected=True)
    tensors = [
        tensor
        for tensor in sensitivity.held
        if isinstance(reader := graph.consumers[tensor][0], Convolution)
        and len(graph.consumers[tensor]) == 1
        and reader.padding == Padding()
        and not reader.depthwise
    ]
    assert tensors
    for tensor in tensors:
        held = {tensor: held_of("silu")[tensor]}
        lost = means(graph, {}, tensor) - means(graph, held, tensor)
        reader = graph.consumers[tensor][0]
        made_up = replace(reader, bias=reader.bias + lost @ reader.weights.sum(axis=(0, 1)))
        corrected = graph.with_operators(
            [made_up if op is reader else op for op in graph.operators]
        )
        expected = noise(logits(simulated(corrected, held), IMAGES), reference_of("silu"))
        assert sensitivity.noise([tensor]) == pytest.approx(expected, rel=0.05, abs=1e-7)


def test_vectors_and_what_a_curve_follows_keep_their_shift():
    graph, sensitivity = GRAPHS["silu"], sensitivity_of("silu", corrected=True)
    curved = [op.inputs[0] for op in graph.operators if isinstance(op, Activation)]
    kept = [name for name in (*curved, LOGITS) if name in sensitivity.held]
    assert kept
    for tensor in kept:
        assert sensitivity.noise([tensor]) == pytest.approx(
            sensitivity_of("silu").noise([tensor]), rel=0.01
        )


def test_each_stage_goes_on_where_the_one_before_it_ends():
    sensitivity = sensitivity_of("deep")
    stages = sensitivity._stages
    assert len(stages) > 4
    assert stages[0].source == INPUT
    assert all(one.result == other.source for one, other in pairwise(stages))
    assert [name for stage in stages for name in stage.held] == sensitivity.held
