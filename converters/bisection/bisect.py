"""Bisection as a whole: SQNR forward, each operator alone, and what to return to float."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from converters.bisection import compare
from converters.bisection.network import Network, Step
from converters.bisection.search import MOST_CANDIDATES, Goal, Measure, Restored, Score, search
from converters.graph import Floats
from converters.scheme.pairs import overflow
from edgenet.errors import UsageError
from edgenet.images import Pixels
from edgenet.measure.accuracy import agreement, r2, sqnr_db
from edgenet.report.cells import counted
from edgenet.report.progress import OnProgress, silent

# With every operator in float a file is 21 dB and more from its reference, though some weights stay
# rounded; networks that learned the same classes have been seen at 9 dB from each other.
_SAME_NETWORK_DB = 12.0
_SIGMOIDS = ("LOGISTIC", "Sigmoid")


@dataclass(frozen=True)
class Row:
    """A step with its SQNR in dB against the float reference, infinite where equal to the bit.

    `sqnr_db` is None for a tensor that the reference lacks, `own_sqnr_db` (the step alone in int8,
    on float inputs) for a step that computes in float. `overflows` where products of its weights
    leave 16 bits, which x86 without VNNI cuts off; see `converters.scheme.pairs`.
    """

    step: Step
    sqnr_db: float | None
    own_sqnr_db: float | None
    returned: bool
    overflows: bool


@dataclass(frozen=True)
class Findings:
    """What bisection found.

    `score` is the file's as it ships, `float_macs_share` the share 0..1 of all MACs that belongs to
    the steps of `restored`; `regresses` says that the agreement of scores and goals is an R².
    """

    rows: tuple[Row, ...]
    images: int
    score: Score
    goal: Goal
    restored: Restored
    float_macs_share: float
    regresses: bool

    @property
    def layers(self) -> tuple[str, ...]:
        """The layers to return to float, in order."""
        return tuple(dict.fromkeys(row.step.layer for row in self.rows if row.returned))

    @property
    def worst(self) -> tuple[Row, ...]:
        """The rows with an `own_sqnr_db`, the lowest first, but for those that a sigmoid forgives.

        A sigmoid is flat where what it reads is clipped: what stands before one, or before what
        scales channels for one, looks worse than it is.
        """
        judged = [
            (row.own_sqnr_db, number)
            for number, row in enumerate(self.rows)
            if row.own_sqnr_db is not None and not _forgiven(self.rows[number + 1 :])
        ]
        return tuple(self.rows[number] for _, number in sorted(judged))


def _forgiven(following: tuple[Row, ...]) -> bool:
    """Whether a sigmoid comes before anything that mixes pixels or channels."""
    for step in (row.step for row in following):
        if step.kind in _SIGMOIDS or step.macs > step.elements:
            return step.kind in _SIGMOIDS
    return False


def bisect(
    network: Network,
    reference: Network,
    images: Pixels,
    goal: Goal,
    progress: OnProgress = silent,
    rescaled: bool = False,
) -> Findings:
    """Compares an int8 file with its float reference and finds what to return to float.

    Args:
        network: The int8 file.
        reference: The same network in float.
        images: N × height × width × 3, of the network's size.
        goal: What counts as restored.
        progress: Called as the work goes on.
        rescaled: Whether channels of the file may be multiples of the reference's, as rewrites for
            int8 leave them.

    Raises:
        UsageError: Nothing in the file is int8, the two are different networks, or a regression has
            no R² on these images.
    """
    _require_pair(network, reference)
    truth = compare.logits(reference, images)
    if network.regresses:
        _require_varied(truth)
    measure = _measure(network, truth, images)
    _require_same_answers(measure(frozenset(network.quantized)))

    def told(what: str, total: int, unit: str = "operators") -> compare.Told:
        return lambda done: progress(what, done, total, unit)

    comparing = told("comparing", len(network.steps))
    forward = compare.forward(network, reference, images, comparing, rescaled)
    own = compare.own(network, images, told("running alone", len(network.quantized)))
    searching = told("searching", MOST_CANDIDATES, "candidates at most")
    restored = search(network, _counted(measure, searching), goal)
    score = measure(frozenset())
    return Findings(
        rows=tuple(
            Row(
                step,
                forward.get(number),
                own.get(number),
                number in restored.steps,
                number in own and _overflows(network, number),
            )
            for number, step in enumerate(network.steps)
        ),
        images=len(images),
        score=score,
        goal=goal,
        restored=restored,
        float_macs_share=_share(network, restored),
        regresses=network.regresses,
    )


def _overflows(network: Network, number: int) -> bool:
    levels = network.levels(number)
    return levels is not None and overflow(levels)


def _require_pair(network: Network, reference: Network) -> None:
    if not network.quantized:
        raise UsageError("nothing in the file computes in int8: bisect takes a quantized network")
    if reference.quantized:
        raise UsageError("the reference computes in int8 too: name the float file with --reference")
    asked, found = (*network.feed.size, network.classes), (*reference.feed.size, reference.classes)
    if asked != found:
        raise UsageError(
            "the reference is another network: it takes {}×{} images and knows {} classes, the "
            "int8 file {}×{} and {}".format(*found, *asked)
        )


def _require_varied(values: Floats) -> None:
    """Refuses to judge by an R² that there is not."""
    if r2(values, values) is None:
        raise UsageError(
            "there is no R² to judge by: the float values do not vary over "
            f"{counted(len(values), 'image')}; take more of them with --count, or others with "
            "--images"
        )


def _require_same_answers(most: Score) -> None:
    """Refuses a reference that the file is far from even with every operator in float."""
    # Not "<": what is no number is no answer either.
    if not most.sqnr_db >= _SAME_NETWORK_DB:
        raise UsageError(
            "the reference is another network: with every operator in float the int8 file still "
            f"answers otherwise (SQNR {most.sqnr_db:.1f} dB); name with --reference the float file "
            "that the int8 file was made of, and with --preprocess what files without a bundle "
            "want of pixels"
        )


def _measure(network: Network, truth: Floats, images: Pixels) -> Measure:
    @cache
    def measure(returned: frozenset[int]) -> Score:
        return _score(network, truth, compare.logits(network, images, returned))

    return measure


def _counted(measure: Measure, told: compare.Told) -> Measure:
    done = 0

    def counted(returned: frozenset[int]) -> Score:
        nonlocal done
        score = measure(returned)
        done += 1
        told(done)
        return score

    return counted


def _score(network: Network, truth: Floats, found: Floats) -> Score:
    ratio = sqnr_db(truth, found)
    share = r2(truth, found) if network.regresses else agreement(truth, found)
    assert share is not None, "values that do not vary are refused"
    return Score(share, float("inf") if ratio is None else ratio)


def _share(network: Network, restored: Restored) -> float:
    total = sum(step.macs for step in network.steps)
    moved = sum(network.steps[number].macs for number in restored.steps)
    return moved / total if total else 0.0
