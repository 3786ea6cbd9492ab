"""Split SiLU: loud and quiet channels apart, so that each half has 256 levels of its own.

In TFLite and ONNX Runtime a tensor has one scale, which its loudest channels set. Where one
depthwise convolution alone reads the output of a SiLU, operators of their own can make, activate
and convolve each half of the channels; behind them the halves are joined. That adds no product, and
no pass over the large map, as gains would (`converters.quantization.silu`). What follows takes the
channels in their new order, which moves weights and costs nothing.

The float network has the halves around SiLU alone: channels are picked and joined again, between
convolutions that stay whole. Of that `halved` makes what is lowered, and `restored` what OpenVINO
lowers, whose convolutions take gains for nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from converters.graph import (
    Activation,
    Affine,
    Concatenate,
    Convolution,
    Excess,
    Floats,
    GlobalPool,
    Graph,
    Lifted,
    Linear,
    Multiply,
    Operator,
    Picked,
    is_silu,
)
from converters.scheme.recipe import LOUD, QUIET, SORTED
from edgenet.errors import UsageError

_HALVES = (LOUD, QUIET)
# How a recipe tells of which half a channel is.
_LOUD, _QUIET = 1.0, 2.0
# Kernels take so many channels at a time.
_TOGETHER = 16
# Channels: reading pixels, which have fewer, costs more than what is made of them. With its stem
# split, B0 took 1 to 3 % longer in TFLite and in ONNX Runtime.
_FEWEST_READ = 8

_Places = NDArray[np.intp]
_Kind = TypeVar("_Kind", bound=Operator)
_AnyLinear = TypeVar("_AnyLinear", bound=Linear)


@dataclass(frozen=True, eq=False)
class _Path:
    """What computes a map's halves: from what makes it to what is computed of its SiLU alone.

    `after` is an activation of what the depthwise convolution makes, where nothing else reads that.
    """

    maker: Convolution
    reader: Convolution
    after: Activation | None

    @property
    def end(self) -> str:
        """The tensor behind which the halves are joined."""
        return self.reader.output if self.after is None else self.after.output


def candidates(graph: Graph) -> tuple[str, ...]:
    """The outputs of SiLU that can be split.

    A convolution makes them, and one depthwise convolution alone reads them; the order of its
    channels does not leave the block.
    """
    return tuple(op.output for op in graph.operators if is_silu(op) and _can_split(graph, op))


def _can_split(graph: Graph, silu: Operator) -> bool:
    (source,), site = silu.inputs, silu.output
    channels = graph.shapes[site][-1]
    if channels % _TOGETHER or channels < 2 * _TOGETHER or site in graph.outputs:
        return False
    path = _path(graph, source, site) if len(graph.consumers[source]) == 1 else None
    return (
        path is not None
        and path.maker.weights.shape[2] >= _FEWEST_READ
        and _ordered_with(graph, path.end) is not None
    )


def _path(graph: Graph, source: str, site: str) -> _Path | None:
    """From the maker of what SiLU reads to what reads its output, gains for OpenVINO or not."""
    maker, reader = graph.producers[source], _only_reader(graph, site)
    if isinstance(reader, Lifted):
        reader = _only_reader(graph, reader.output)
    if not isinstance(maker, Convolution) or maker.depthwise:
        return None
    if not isinstance(reader, Convolution) or not reader.depthwise:
        return None
    after = _only_reader(graph, reader.output)
    if not isinstance(after, Activation) or not _keeps_order(after):
        after = None
    return _Path(maker, reader, after)


def _only_reader(graph: Graph, tensor: str) -> Operator | None:
    readers = graph.consumers[tensor]
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def halves(peaks: Floats) -> Floats:
    """Of which half each channel is, by its typical peak (channels,): 1 where loud, 2 where quiet.

    The loud half is no larger than the other: its size is a multiple of what kernels take.
    """
    loud = max(peaks.size // 2 // _TOGETHER, 1) * _TOGETHER
    half = np.full(peaks.shape, _QUIET, np.float32)
    half[np.argsort(-peaks, kind="stable")[:loud]] = _LOUD
    return half


def split(graph: Graph, chosen: Mapping[str, Floats]) -> Graph:
    """The graph with SiLU computed by halves at these outputs of it; see `halves`.

    Raises:
        UsageError: The values of one, which a recipe may hold, are not of two halves.
    """
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in chosen:
            operators += _by_halves(operator, chosen[operator.output])
        else:
            operators.append(operator)
    return graph.with_operators(operators)


def _by_halves(silu: Operator, half: Floats) -> Iterator[Operator]:
    (source,), site, name = silu.inputs, silu.output, silu.name
    places = [np.flatnonzero(half == which) for which in (_LOUD, _QUIET)]
    if {*half.tolist()} != {_LOUD, _QUIET}:
        raise UsageError(
            f"the recipe's rewrites.splitting.{site} must have a 1 for each channel of the loud "
            "half and a 2 for each of the quiet one"
        )
    for channels, suffix in zip(places, _HALVES, strict=True):
        picked = f"{source}{suffix}"
        yield Picked(f"{name}{suffix}/picked", (source,), picked, channels)
        yield _part(silu, suffix, (picked,))
    joined = f"{site}/joined"
    yield Concatenate(f"{name}/joined", _halves_of(site), joined)
    yield Picked(f"{name}/ordered", (joined,), site, np.argsort(np.concatenate(places)))


def _part(operator: _Kind, suffix: str, inputs: tuple[str, ...]) -> _Kind:
    """An operator for one half; the loud one has the whole one's name, which recipes know."""
    name = operator.name if suffix == LOUD else f"{operator.name}{suffix}"
    return replace(operator, name=name, inputs=inputs, output=f"{operator.output}{suffix}")


def _halves_of(tensor: str) -> tuple[str, ...]:
    return tuple(f"{tensor}{suffix}" for suffix in _HALVES)


def held(graph: Graph, site: str) -> tuple[str, ...]:
    """The tensors that hold the halves."""
    return _halves_of(site)


def within(graph: Graph, site: str) -> tuple[Operator, ...]:
    """What makes a map that is split, and what reads it."""
    path, silus = _path_at(graph, site), (graph.producers[name] for name in held(graph, site))
    return (path.maker, *silus, path.reader, *([path.after] if path.after else ()))


def _path_at(graph: Graph, site: str) -> _Path:
    path = _path(graph, _source(graph, site), site)
    assert path is not None, "it was a candidate"
    return path


def _source(graph: Graph, site: str) -> str:
    """What the halves of a site are picked from."""
    return _picks(graph, site)[0].inputs[0]


def _picks(graph: Graph, site: str) -> list[Picked]:
    """What picks the channels of each half."""
    silus = [graph.producers[name] for name in held(graph, site)]
    picks = [graph.producers[silu.inputs[0]] for silu in silus]
    return [pick for pick in picks if isinstance(pick, Picked)]


def split_sites(graph: Graph) -> tuple[str, ...]:
    """The outputs of SiLU that are computed by halves."""
    return tuple(
        operator.output
        for operator in graph.operators
        if isinstance(operator, Picked)
        and isinstance(graph.producers[operator.inputs[0]], Concatenate)
    )


def restored(graph: Graph, sites: Collection[str]) -> Graph:
    """The graph as it was before `split` at these outputs of SiLU."""
    whole = {
        site: replace(graph.producers[f"{site}{LOUD}"], inputs=(_source(graph, site),), output=site)
        for site in sites
    }
    dropped = {name for site in sites for name in _between(graph, site)}
    return graph.with_operators(
        [
            whole.get(operator.output, operator)
            for operator in graph.operators
            if operator.output not in dropped
        ]
    )


def _between(graph: Graph, site: str) -> tuple[str, ...]:
    """The tensors between what SiLU reads and its output."""
    picked = (pick.output for pick in _picks(graph, site))
    return (*picked, *held(graph, site), graph.producers[site].inputs[0])


def halved(graph: Graph, floats: Collection[str] = ()) -> Graph:
    """The same function with convolutions of its own for each half of the channels.

    Args:
        graph: After `split`, without gains for OpenVINO.
        floats: The names of operators in float; a map that one of them computes stays whole.
    """
    for site in split_sites(graph):
        if any(operator.name in floats for operator in within(graph, site)):
            graph = restored(graph, (site,))
        else:
            graph = _halved(graph, site)
    return graph


def _halved(graph: Graph, site: str) -> Graph:
    path = _path_at(graph, site)
    places = [pick.channels for pick in _picks(graph, site)]
    ordered = _ordered_with(graph, path.end)
    assert ordered is not None, "it was a candidate"
    made = {
        path.maker.output: _convolutions(path.maker, places, path.maker.inputs * 2),
        path.reader.output: _convolutions(path.reader, places, held(graph, site)),
    }
    if path.after is not None:
        made[path.end] = [
            _part(path.after, suffix, (source,))
            for suffix, source in zip(_HALVES, _halves_of(path.reader.output), strict=True)
        ]
    joined = f"{graph.producers[path.end].name}/joined"
    made[path.end].append(Concatenate(joined, _halves_of(path.end), f"{path.end}{SORTED}"))
    gone = {site, *_between(graph, site)} - {*held(graph, site)}
    order = np.concatenate(places)
    operators: list[Operator] = []
    for operator in graph.operators:
        if operator.output in made:
            operators += made[operator.output]
        elif operator.output not in gone:
            operators.append(ordered.applied(operator, order))
    return graph.with_operators(operators)


def _convolutions(
    whole: Convolution, places: Sequence[_Places], inputs: Sequence[str]
) -> list[Operator]:
    """A convolution for each half of the channels that one makes, from an input each."""
    return [
        _part(_making(whole, channels), suffix, (source,))
        for channels, suffix, source in zip(places, _HALVES, inputs, strict=True)
    ]


def _making(operator: _AnyLinear, channels: _Places) -> _AnyLinear:
    """The operator with these of the channels that it makes, in this order."""
    return replace(
        operator,
        weights=operator.weights.take(channels, axis=-1 if _weighs(operator) else -2),
        bias=operator.bias[channels],
        scales=None if operator.scales is None else operator.scales[channels],
    )


@dataclass(frozen=True)
class _Ordered:
    """Tensors with one order of channels, and by name the operators that weigh those.

    `reading` read such a tensor, `making` make one: they are no depthwise convolutions.
    """

    tensors: frozenset[str]
    reading: frozenset[str]
    making: frozenset[str]

    def applied(self, operator: Operator, order: _Places) -> Operator:
        """An operator of the graph as it is where these tensors have this order."""
        if operator.name in self.reading and isinstance(operator, Linear):
            operator = replace(operator, weights=operator.weights.take(order, axis=-2))
        if operator.name in self.making and isinstance(operator, Linear):
            operator = _making(operator, order)
        if isinstance(operator, Affine) and operator.output in self.tensors:
            operator = replace(operator, scale=operator.scale[order], offset=operator.offset[order])
        inputs = tuple(self._named(name) for name in operator.inputs)
        return replace(operator, inputs=inputs, output=self._named(operator.output))

    def _named(self, tensor: str) -> str:
        return f"{tensor}{SORTED}" if tensor in self.tensors else tensor


def _ordered_with(graph: Graph, start: str) -> _Ordered | None:
    """What takes another order of channels with a tensor; None where that leaves the block."""
    channels = graph.shapes[start][-1]
    tensors, reading, making, left = set[str](), set[str](), set[str](), [start]
    while left:
        tensor = left.pop()
        if tensor in tensors or graph.shapes[tensor][-1] != channels:
            continue
        if tensor in graph.outputs:
            return None
        tensors.add(tensor)
        makers = [] if tensor == start else [graph.producers[tensor]]
        making.update(op.name for op in makers if _weighs(op))
        reading.update(op.name for op in graph.consumers[tensor] if _weighs(op))
        moving = [op for op in (*makers, *graph.consumers[tensor]) if not _weighs(op)]
        if not all(map(_keeps_order, moving)):
            return None
        left += [name for op in moving for name in (*op.inputs, op.output)]
    return _Ordered(frozenset(tensors), frozenset(reading), frozenset(making))


def _weighs(operator: Operator) -> bool:
    """Whether it computes each channel from all channels that it reads."""
    depthwise = isinstance(operator, Convolution) and operator.depthwise
    return isinstance(operator, Linear) and not depthwise


def _keeps_order(operator: Operator) -> bool:
    """Whether it computes each channel from the same one of what it reads."""
    if isinstance(operator, Activation):
        return operator.function != "softmax"
    return isinstance(operator, Affine | Multiply | Excess | GlobalPool)
