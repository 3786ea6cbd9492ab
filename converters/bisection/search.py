"""The smallest set of layers whose return to float restores the answers: grown, then shrunk.

Noise of several places adds up nearly independently, so blocks are ranked by what each gives alone
and taken in that order until the goal holds; then whatever can go, goes: whole blocks, and the ends
of each island, found by halving. The inside of an island stays, because a hole in it has int8
borders of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from converters.bisection.names import block_of
from converters.bisection.network import Network

Atom = tuple[int, ...]
"""The int8 steps of one layer, in a row: what returns to float together."""

# A file whose names tell no blocks is cut into runs of so many layers, about a block of B0.
_RUN = 8
MOST_CANDIDATES = 160
"""A bound on the files that are built and run; B0 takes about half of it."""


@dataclass(frozen=True)
class Score:
    """How near the answers are to the reference's.

    `agreement` is 0..1, or the R² of a regression's values; the SQNR in dB, infinite where equal.
    """

    agreement: float
    sqnr_db: float

    @property
    def noise(self) -> float:
        """The noise's energy as a share of the signal's."""
        return float(10.0 ** (-self.sqnr_db / 10.0))


@dataclass(frozen=True)
class Goal:
    """What counts as restored: both must hold.

    Agreement on some dozens of images is coarse (all of 64 agree where one of 50 will not in the
    long run), so the logits must be near too.
    """

    agreement: float = 0.99
    sqnr_db: float = 20.0

    def met(self, score: Score) -> bool:
        """Whether a score is there."""
        return score.agreement >= self.agreement and score.sqnr_db >= self.sqnr_db


@dataclass(frozen=True)
class Restored:
    """The steps to return to float, what that gives, and what was asked of it.

    `reached` says that it is the goal itself; where every step in float misses that, `goal` is what
    they give.
    """

    steps: tuple[int, ...]
    score: Score
    goal: Goal
    reached: bool


Measure = Callable[[frozenset[int]], Score]


def atoms(network: Network) -> list[Atom]:
    """The int8 steps by layer, in order; a layer met again later is another atom."""
    found: list[Atom] = []
    for number in network.quantized:
        layer = network.steps[number].layer
        if found and found[-1][-1] == number - 1 and network.steps[number - 1].layer == layer:
            found[-1] += (number,)
        else:
            found.append((number,))
    return found


def blocks(network: Network) -> list[list[Atom]]:
    """The atoms in runs to try first: a block of the network each, as far as names tell."""
    found: list[list[Atom]] = []
    held: str | None = None
    every = atoms(network)
    names = [block_of(network.steps[atom[0]].layer) for atom in every]
    if len(set(names)) < 2:
        return [every[start : start + _RUN] for start in range(0, len(every), _RUN)]
    for atom, name in zip(every, names, strict=True):
        if not found or (name is not None and name != held):
            found.append([])
            held = name
        found[-1].append(atom)
    return found


def search(network: Network, measure: Measure, goal: Goal) -> Restored:
    """Finds a set of steps from which no block, and no end of an island, can be spared.

    That is sure where more steps in float never score less; the goal is met in any case.

    Args:
        network: The int8 file.
        measure: The score with some steps in float; a costly call, made about `MOST_CANDIDATES`
            times at most.
        goal: What is to be restored.

    Returns:
        Nothing to return where the file meets the goal as it is. Where not even every int8 step is
        enough, because weights stay rounded, what gives as much as all of them.
    """
    return _Search(blocks(network), measure, goal).run()


class _Search:
    def __init__(self, blocks: Sequence[Sequence[Atom]], measure: Measure, goal: Goal) -> None:
        self._blocks = [list(block) for block in blocks]
        self._order = [atom for block in blocks for atom in block]
        self._measure, self._goal, self._wanted = measure, goal, goal
        self._scores: dict[frozenset[int], Score] = {}

    def run(self) -> Restored:
        if not self._met([]):
            most = self._score(self._order)
            self._goal = Goal(
                min(self._wanted.agreement, most.agreement),
                min(self._wanted.sqnr_db, most.sqnr_db),
            )
        if self._met([]):
            return self._restored([])
        chosen = self._spare_blocks(self._grown())
        return self._restored(self._trimmed([atom for block in chosen for atom in block]))

    def _score(self, chosen: Sequence[Atom]) -> Score:
        steps = frozenset(step for atom in chosen for step in atom)
        if steps not in self._scores:
            self._scores[steps] = self._measure(steps)
        return self._scores[steps]

    def _met(self, chosen: Sequence[Atom]) -> bool:
        """Past the bound nothing more is tried, and so nothing more is spared."""
        steps = frozenset(step for atom in chosen for step in atom)
        if steps not in self._scores and len(self._scores) >= MOST_CANDIDATES:
            return False
        return self._goal.met(self._score(chosen))

    def _restored(self, chosen: Sequence[Atom]) -> Restored:
        score = self._score(chosen)
        steps = sorted(step for atom in chosen for step in atom)
        return Restored(tuple(steps), score, self._goal, self._wanted.met(score))

    def _grown(self) -> list[list[Atom]]:
        """The fewest of the blocks, best first, that meet the goal together."""
        before = self._score([]).noise

        def worth(block: list[Atom]) -> float:
            return (before - self._score(block).noise) / sum(map(len, block))

        ranked = sorted(self._blocks, key=worth, reverse=True)

        def enough(count: int) -> bool:
            return self._met([atom for block in ranked[:count] for atom in block])

        return ranked[: _least(1, len(ranked), enough)]

    def _spare_blocks(self, chosen: list[list[Atom]]) -> list[list[Atom]]:
        kept = list(chosen)
        for block in reversed(chosen):
            others = [other for other in kept if other is not block]
            if self._met([atom for other in others for atom in other]):
                kept = others
        return kept

    def _trimmed(self, chosen: list[Atom]) -> list[Atom]:
        kept = set(chosen)
        for island in self._islands(kept):
            kept -= set(island)
            kept |= set(self._core(kept, island))
        return sorted(kept)

    def _core(self, others: set[Atom], island: list[Atom]) -> list[Atom]:
        """The island without what can go at its end, and then at its beginning."""

        def fits(part: list[Atom]) -> bool:
            return self._met(sorted(others | set(part)))

        end = _least(0, len(island), lambda count: fits(island[:count]))
        size = _least(0, end, lambda count: fits(island[end - count : end]))
        return island[end - size : end]

    def _islands(self, chosen: set[Atom]) -> list[list[Atom]]:
        """Runs of neighbours, the shortest first: what is spared soonest costs least to try."""
        islands: list[list[Atom]] = [[]]
        for atom in self._order:
            if atom in chosen:
                islands[-1].append(atom)
            elif islands[-1]:
                islands.append([])
        return sorted((island for island in islands if island), key=len)


def _least(low: int, high: int, enough: Callable[[int], bool]) -> int:
    """The least count that is enough, by halving; `high` is known to be."""
    while low < high:
        middle = (low + high) // 2
        if enough(middle):
            high = middle
        else:
            low = middle + 1
    return high
