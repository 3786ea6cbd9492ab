"""SQNR of every tensor between a file and its float reference, streamed over images."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from converters.bisection.network import Network
from converters.graph import Doubles, Floats
from edgenet.images import Pixels

# Tensors are handed out together up to this many elements (256 MiB of float32): a bound on memory
# that lets the smaller variants through in one run.
_ELEMENTS = 2**26

Told = Callable[[int], None]


@dataclass
class Energies:
    """The energy of a tensor and of its error, summed over images."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, truth: Floats, found: Floats) -> None:
        """Takes one batch in; the two may differ in shape but not in the order of values."""
        error = truth.reshape(-1) - found.reshape(-1)
        self.signal += float(np.einsum("i,i->", truth.reshape(-1), truth.reshape(-1), dtype=float))
        self.noise += float(np.einsum("i,i->", error, error, dtype=float))

    @property
    def sqnr_db(self) -> float:
        """10 · log10(signal / noise); infinite where the two are equal to the bit."""
        if self.noise == 0.0:
            return math.inf
        return 10.0 * math.log10(max(self.signal, np.finfo(np.float64).tiny) / self.noise)


@dataclass
class ScaledEnergies:
    """The same where channels may be multiples of the reference's: the factors are divided out.

    Rewrites that equalize a network for int8 multiply channels on purpose. The factor is the slope
    of the least squares; sums are by channel, (channels,), the last axis.
    """

    signal: Doubles | float = 0.0
    product: Doubles | float = 0.0
    square: Doubles | float = 0.0

    def add(self, truth: Floats, found: Floats) -> None:
        """Takes one batch in."""
        theirs = truth.reshape(-1, truth.shape[-1]).astype(np.float64)
        ours = found.reshape(theirs.shape).astype(np.float64)
        self.signal += np.square(theirs).sum(axis=0)
        self.product += (theirs * ours).sum(axis=0)
        self.square += np.square(ours).sum(axis=0)

    @property
    def sqnr_db(self) -> float:
        """As of `Energies`, over the channels that have a multiple."""
        signal, product, square = map(np.asarray, (self.signal, self.product, self.square))
        alive = (signal > 0) & (product != 0)
        slope = product[alive] / signal[alive]
        error = np.maximum(square[alive] / slope**2 - signal[alive], 0.0)
        return Energies(float(signal.sum()), float(error.sum() + signal[~alive].sum())).sqnr_db


def forward(
    network: Network, reference: Network, images: Pixels, told: Told, rescaled: bool = False
) -> dict[int, float]:
    """The SQNR in dB of each step's tensor, as the file ships, by the reference's of that name.

    Args:
        network: The int8 file.
        reference: The float file; a tensor that it lacks is left out.
        images: N × height × width × 3.
        told: Told the number of steps done.
        rescaled: Whether channels of the file may be multiples of the reference's.
    """
    sizes = {step.tensor: step.elements for step in reference.steps}
    pairs = {
        number: reference.index[step.tensor]
        for number, step in enumerate(network.steps)
        if sizes.get(step.tensor) == step.elements
    }
    found: dict[int, float] = {}
    for group in _groups(network, sorted(pairs)):
        theirs = reference.probe([pairs[number] for number in group]).run(images)
        ours = network.probe(group).run(images)
        kind = ScaledEnergies if rescaled else Energies
        ratios = _ratios([kind() for _ in group], zip(theirs, ours, strict=True))
        found.update(zip(group, ratios, strict=True))
        told(len(found))
    return found


def own(network: Network, images: Pixels, told: Told) -> dict[int, float]:
    """The SQNR in dB of each int8 step alone: what it makes of float inputs, all else in float.

    Its inputs are rounded as at the border of an island, so an input's rounding counts too.
    """
    found: dict[int, float] = {}
    for group in _groups(network, network.quantized):
        outputs = network.alone(group).run(images)
        both = ((tensors[::2], tensors[1::2]) for tensors in outputs)
        found.update(zip(group, _ratios([Energies() for _ in group], both), strict=True))
        told(len(found))
    return found


def logits(network: Network, images: Pixels, returned: Iterable[int] = ()) -> Floats:
    """The logits, images × classes, with these steps returned to float."""
    probe = network.probe([network.answer], frozenset(returned))
    rows = np.concatenate([answer for (answer,) in probe.run(images)])
    return rows.reshape(len(images), -1)


def _ratios(
    energies: Sequence[Energies | ScaledEnergies],
    batches: Iterable[tuple[list[Floats], list[Floats]]],
) -> list[float]:
    for truths, values in batches:
        for energy, truth, value in zip(energies, truths, values, strict=True):
            energy.add(truth, value)
    return [energy.sqnr_db for energy in energies]


def _groups(network: Network, steps: Sequence[int]) -> Iterator[list[int]]:
    group: list[int] = []
    held = 0
    for step in steps:
        elements = network.steps[step].elements
        if group and held + elements > _ELEMENTS:
            yield group
            group, held = [], 0
        group.append(step)
        held += elements
    if group:
        yield group
