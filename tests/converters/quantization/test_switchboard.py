"""A switchboard measures what holding the same tensors in levels does, wherever it starts from."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.quantization.calibrate import calibrate
from converters.quantization.ranges import choose
from converters.quantization.simulate import logits, noise, simulated
from converters.quantization.switchboard import Switchboard
from tests.converters.quantization.networks import batches, deep_network, silu_network

GRAPHS = {"deep": deep_network(), "silu": silu_network()}
IMAGES = batches(4)


def held_of(graph):
    return choose(graph, calibrate(graph, batches(8)).tensors).quantizations(graph)


HELD = {name: held_of(graph) for name, graph in GRAPHS.items()}
BOARDS = {name: Switchboard(graph, HELD[name], IMAGES) for name, graph in GRAPHS.items()}
REFERENCES = {name: logits(simulated(graph, {}), IMAGES) for name, graph in GRAPHS.items()}


@settings(max_examples=30)
@given(name=st.sampled_from(sorted(GRAPHS)), data=st.data())
def test_it_measures_what_holding_the_same_tensors_does(name, data):
    board = BOARDS[name]
    chosen = data.draw(st.sets(st.sampled_from(board.held), max_size=3))
    model = simulated(GRAPHS[name], {tensor: HELD[name][tensor] for tensor in chosen})
    expected = noise(logits(model, IMAGES), REFERENCES[name])
    assert board.noise(chosen) == pytest.approx(expected, rel=0.05, abs=1e-9)


@pytest.mark.parametrize("name", GRAPHS)
def test_each_tensor_alone(name):
    """So every stage answers."""
    board = BOARDS[name]
    for tensor in board.held:
        model = simulated(GRAPHS[name], {tensor: HELD[name][tensor]})
        expected = noise(logits(model, IMAGES), REFERENCES[name])
        assert board.noise([tensor]) == pytest.approx(expected, rel=0.05, abs=1e-9)


@pytest.mark.parametrize("name", GRAPHS)
def test_with_every_switch_off_there_is_no_noise(name):
    assert BOARDS[name].noise(()) < 1e-10
    assert set(BOARDS[name].held) <= {op.output for op in GRAPHS[name].operators}


def test_it_takes_the_network_up_on_its_way():
    switches = [set(stage.switches) for stage in BOARDS["deep"]._stages]
    assert len(switches) == 4
    assert all(later < earlier for earlier, later in pairwise(switches))
