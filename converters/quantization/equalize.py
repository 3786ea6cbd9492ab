"""Cross-layer equalization of streams: tensors that linear operators alone make and read.

A factor for each channel, multiplied into the weights that make it and divided out of those that
read it, changes no answer (Nagel et al. 2019, arXiv:1906.04721, section 4.1); with one int8 scale a
tensor, a channel that is small beside the largest is lost. The residual streams of every
EfficientNet can be equalized. SiLU, ReLU6 and sigmoid end a stream; ReLU, leaky or not, lets
positive factors through.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from converters.graph import (
    INPUT,
    Activation,
    Add,
    Doubles,
    Floats,
    GlobalPool,
    Graph,
    Linear,
    Operator,
    Pad,
    Reshape,
)

# Of the weights' axes, in depthwise ones too.
_CHANNELS_READ = -2
# Beside the largest channel: a level of int8 is 2**16 times as much, and float32 resolves it.
_SMALLEST_SHARE = 2.0**-24
# 1/2 is the paper's balance, 0 one peak for all channels. Logits of Lite0, Lite1 and B0 have 0.1 to
# 0.2 dB more at 1/4 than at 1/2, on photos that set nothing; at 1/8 the Lite ones lose it again.
_EVENNESS = 1 / 4
_DEAD = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class Stream:
    """Tensors of the same channels that can only be rescaled together; `name` is the first one's.

    `producers` and `readers` are names of the operators that take the factors in.
    """

    name: str
    channels: int
    tensors: tuple[str, ...]
    producers: tuple[str, ...]
    readers: tuple[str, ...]


def streams(graph: Graph) -> tuple[Stream, ...]:
    """All streams that can be rescaled, in the order in which they begin."""
    groups = _joined_tensors(graph)
    fixed = {groups[name] for name in (INPUT, *graph.outputs)}
    for operator in graph.operators:
        if not _joins(graph, operator):
            if not _takes_factors(operator):
                fixed.add(groups[operator.output])
            if not isinstance(operator, Linear):
                fixed.update(groups[name] for name in operator.inputs)
    members: dict[str, list[str]] = {}
    for operator in graph.operators:
        if groups[operator.output] not in fixed:
            members.setdefault(groups[operator.output], []).append(operator.output)
    return tuple(_stream(graph, tensors) for tensors in members.values())


def _stream(graph: Graph, tensors: list[str]) -> Stream:
    producers = (graph.producers[tensor] for tensor in tensors)
    readers = (reader for tensor in tensors for reader in graph.consumers[tensor])
    return Stream(
        tensors[0],
        graph.shapes[tensors[0]][-1],
        tuple(tensors),
        _linear(producers),
        _linear(readers),
    )


def _linear(operators: Iterable[Operator]) -> tuple[str, ...]:
    names = (operator.name for operator in operators if isinstance(operator, Linear))
    return tuple(dict.fromkeys(names))


def _joined_tensors(graph: Graph) -> dict[str, str]:
    """The group of each tensor, by the name of one in it: union-find over joining operators."""
    parents = {name: name for name in graph.shapes}

    def root(name: str) -> str:
        while parents[name] != name:
            name = parents[name]
        return name

    for operator in graph.operators:
        if _joins(graph, operator):
            for name in operator.inputs:
                parents[root(name)] = root(operator.output)
    return {name: root(name) for name in parents}


def _joins(graph: Graph, operator: Operator) -> bool:
    """Whether a positive factor on the channels of its inputs comes out of it unchanged."""
    if isinstance(operator, Reshape):
        source, target = graph.shapes[operator.inputs[0]], graph.shapes[operator.output]
        return source[-1] == target[-1]
    if isinstance(operator, Activation):
        return operator.function in ("relu", "leaky_relu")
    if isinstance(operator, Add):
        return len({graph.shapes[name][-1] for name in operator.inputs}) == 1
    return isinstance(operator, Pad | GlobalPool)


def _takes_factors(operator: Operator) -> bool:
    return isinstance(operator, Linear) and operator.function in ("linear", "relu")


def stream_factors(graph: Graph, peaks: Mapping[str, Floats]) -> dict[str, Floats]:
    """What brings every stream to the scales that suit int8, by its name: (channels,).

    Nagel et al. 2019 give a channel the geometric mean of its peak r1 and of the weights r2 that
    read it, sqrt(r1 * r2). Weights that are rounded by least squares lose less than activations
    do, so activations come nearer to one peak for all here: (r1 * r2) ** `_EVENNESS`, as a share of
    the stream's largest. The result does not depend on the scales at which the channels came, so
    no rescaling of them can harm int8. Powers of two would spare the float network its roundings,
    but they would not come out the same from every scale.

    Args:
        graph: In float.
        peaks: By tensor, for all of every stream, each channel's largest magnitude: (channels,).
    """
    found = streams(graph)
    largest = {
        tensor: np.max([peaks[member] for member in stream.tensors], axis=0)
        for stream in found
        for tensor in stream.tensors
    }
    operators = {operator.name: operator for operator in graph.operators}
    factors = {}
    for stream in found:
        readers = [operators[name] for name in stream.readers]
        energies = [_read_energy(reader, largest.get(reader.output)) for reader in readers]
        read = np.sqrt(np.mean(energies, axis=0))
        factors[stream.name] = _factors(largest[stream.name].astype(np.float64), read)
    return factors


def _read_energy(operator: Operator, outputs: Floats | None) -> Doubles:
    """The mean square weight with which a channel is read: (channels,).

    Where what it makes is of a stream too, whose scales are as arbitrary, the weights count as
    shares of its peaks, `outputs`.
    """
    assert isinstance(operator, Linear)
    if outputs is not None:
        alive = outputs > _DEAD
        shares = np.divide(1, outputs, out=np.zeros_like(outputs), where=alive)
        operator = _producing(operator, shares)
    by_channel = np.moveaxis(operator.weights.astype(np.float64), _CHANNELS_READ, 0)
    return np.square(by_channel.reshape(len(by_channel), -1)).mean(axis=1)


def _factors(peaks: Doubles, read: Doubles) -> Floats:
    """What brings the peaks to their shares.

    A channel that was never alive has none: it is brought to be read with a usual weight, or it
    could spoil the scales of all that are read with it.
    """
    wanted = (peaks * read) ** _EVENNESS
    alive = (peaks > _DEAD) & (wanted.max() > 0)
    shares = np.maximum(wanted / (wanted.max() or 1), _SMALLEST_SHARE)
    factors = np.divide(shares, peaks, out=np.ones_like(peaks), where=alive)
    usual = np.median(read[alive] / factors[alive]) if alive.any() else 1.0
    scalable = ~alive & (read > 0) & (usual > 0)
    return np.divide(read, usual, out=factors, where=scalable).astype(np.float32)


def rescaled(graph: Graph, factors: Mapping[str, Floats]) -> Graph:
    """The graph with the channels of streams multiplied; its answers stay what they are.

    Args:
        graph: In float.
        factors: By the name of a stream, a positive factor for each channel: (channels,). A stream
            without stays as it is.
    """
    operators = {operator.name: operator for operator in graph.operators}
    for stream in streams(graph):
        if stream.name in factors:
            factor = factors[stream.name].astype(np.float32)
            for name in stream.producers:
                operators[name] = _producing(operators[name], factor)
            for name in stream.readers:
                operators[name] = _linear_operator(operators[name]).reading(factor)
    return graph.with_operators(list(operators.values()))


def _producing(operator: Operator, factor: Floats) -> Linear:
    return _linear_operator(operator).scaled(factor, np.zeros_like(factor))


def _linear_operator(operator: Operator) -> Linear:
    """Producers and readers of streams are of no other kind."""
    assert isinstance(operator, Linear)
    return operator
