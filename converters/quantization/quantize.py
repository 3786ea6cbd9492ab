"""From the float graph and images to what formats lower: rewrites, ranges, weights, biases."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from converters.formats import ARRANGEMENTS
from converters.graph import Doubles, Graph, Linear, Operator
from converters.quantization.arrangement import arranged, held_tensors
from converters.quantization.calibrate import Observations, calibrate
from converters.quantization.correct import correct_biases
from converters.quantization.images import Images, Split
from converters.quantization.layers import operators_of
from converters.quantization.moments import Moments
from converters.quantization.outliers import without_outliers
from converters.quantization.parallel import in_order
from converters.quantization.ranges import DEFAULT_RULE, choose, require_rule
from converters.quantization.renumbering import renumbered
from converters.quantization.rewrite import (
    REWRITES,
    equalize_streams,
    restored,
    rewritten,
)
from converters.quantization.rewrite_search import rewrite_where_worth
from converters.quantization.rounding import round_weights
from converters.quantization.simulate import Image, logits, simulated
from converters.report import Report
from converters.scheme.document import Rewrites
from converters.scheme.recipe import INT8, UNCALIBRATED, Recipe
from edgenet.errors import UsageError

Rounding = Callable[[Linear, Moments, bool], Linear]
ROUNDINGS: Mapping[str, Rounding] = {
    "least-squares": round_weights,
    "nearest": lambda operator, moments, paired: operator,
}
DEFAULT_ROUNDING = "least-squares"
_OUTLIERS = "outliers"
# What can be left out, in the order in which it is done.
STEPS = (_OUTLIERS, "streams", *REWRITES, "correction")
# With 256 times as many levels there is room for every outlier, and nothing is gained by clipping.
_RULE_IN_16_BITS = "min-max"
_PIECEWISE = "piecewise"


@dataclass(frozen=True)
class Effort:
    """How much is tried, and on how many images.

    Attributes:
        images: How many calibrate, unless the user says so.
        in_memory: How many of them are kept in memory, for what reads them many times.
        rewrites: Names of `converters.quantization.rewrite.REWRITES`, to try.
        options: How many options of each rewrite to try, the first ones; None for all.
    """

    images: int
    in_memory: int
    rewrites: tuple[str, ...]
    options: int | None


EFFORTS: Mapping[str, Effort] = {
    # What this leaves out costs B0 1.7 dB, and is two thirds of the time.
    "fast": Effort(27, 9, ("silu", "piecewise"), 1),
    # As many images as the field's recipes take: more cost time (and, by min-max, accuracy).
    "thorough": Effort(128, 42, tuple(REWRITES), None),
}
DEFAULT_EFFORT = "thorough"


@dataclass(frozen=True)
class Method:
    """How the quantization is chosen.

    Attributes:
        rule: A name of `converters.quantization.ranges.RULES`; None takes the precision's own.
        rounding: A name of `ROUNDINGS`.
        without: Names of `STEPS`, to leave out.
        effort: A name of `EFFORTS`.
        recipe: An earlier decision, to replay instead of making one; weights are rounded anew.
        floats: Layers that int8 leaves in float, as `converters.quantization.layers` names them.
        limited: Whether the noise has a limit, so that operators in float, which take time, may
            have to make up for what rewrites leave of it.
    """

    rule: str | None = None
    rounding: str = DEFAULT_ROUNDING
    without: frozenset[str] = frozenset()
    effort: str = DEFAULT_EFFORT
    recipe: Recipe | None = None
    floats: frozenset[str] = frozenset()
    limited: bool = False

    def require(self) -> None:
        """Refuses names that there are not.

        Raises:
            UsageError: There is no rule, rounding, step or effort of that name.
        """
        if self.rule is not None:
            require_rule(self.rule)
        for what, name, known in (
            ("rounding", self.rounding, tuple(ROUNDINGS)),
            ("effort", self.effort, tuple(EFFORTS)),
            *(("step", step, STEPS) for step in sorted(self.without)),
        ):
            if name not in known:
                raise UsageError(f"no {what} is called {name!r}: take one of {', '.join(known)}")

    def images(self, asked: int | None) -> int:
        """How many images it looks at: those asked for, else as many as its effort takes."""
        return EFFORTS[self.effort].images if asked is None else asked


@dataclass(frozen=True, eq=False)
class Quantized:
    """A network and its quantization.

    Attributes:
        graph: In float, after the rewrites.
        rounded: The same with its weights on the levels of int8.
        recipe: The decision.
        lowered: By format, the graph that it lowers: `rounded`, in the format's arrangement, with
            biases that make up for the means that quantization shifts there.
        subset: Images that set ranges, on which those means are measured.
        held_out: Images that set nothing, to measure the result on.
        images: How many images were used, the held-out ones among them.
        outliers: How many were left out.
        spread: The standard deviation of each value that a regression answers, over the images:
            (values,); None where no noise has a limit, and for a classifier.
    """

    graph: Graph
    rounded: Graph
    recipe: Recipe
    lowered: Mapping[str, Graph]
    subset: Sequence[Image]
    held_out: Sequence[Image]
    images: int
    outliers: int
    spread: Doubles | None = None

    @property
    def mixed(self) -> bool:
        """Whether a format has operators in float."""
        return any(self.recipe.of(format).float_operators for format in self.lowered)

    def of(self, format: str) -> Graph:
        """What a format lowers."""
        return self.lowered[format]

    def with_batch(self, batch: int) -> Quantized:
        """The same, with what formats lower for so many images a run."""
        shape = (batch, *self.graph.input_shape[1:])
        lowered = {name: replace(graph, input_shape=shape) for name, graph in self.lowered.items()}
        return replace(self, lowered=lowered)


def quantize(
    graph: Graph,
    images: Images,
    method: Method,
    precision: str = "int8",
    report: Report = lambda line: None,
    formats: Sequence[str] = tuple(ARRANGEMENTS),
) -> Quantized:
    """Chooses rewrites and ranges, rounds weights and corrects biases.

    Args:
        graph: The frozen graph, for a batch of 1.
        images: To calibrate on.
        method: How.
        precision: "int8", "int8-mixed", "w8a16", "w8" or "dynamic"; only the first two are
            rewritten and corrected, or leave layers in float: 16 bits and float have room for
            every channel.
        report: Told what is being done.
        formats: Those that will lower it.

    Raises:
        UsageError: The method has a name that there is not, or a recipe of another network or
            precision.
    """
    method.require()
    replayed = method.recipe
    if replayed is not None:
        _require_replayable(replayed, precision)
        replayed = renumbered(replayed, graph, report)
    if precision not in INT8:
        method = replace(method, without=frozenset(STEPS), floats=frozenset())
    rule = method.rule or (_RULE_IN_16_BITS if precision == "w8a16" else DEFAULT_RULE)
    given, images = images.count, images.kept()
    if _OUTLIERS not in method.without:
        images = without_outliers(graph, images, report)
    # In other precisions nothing is measured to choose by.
    split = images.split(EFFORTS[method.effort].in_memory, hold_out=precision in INT8)
    if replayed is None:
        rewrites = _find_rewrites(graph, split, method, rule, report)
    else:
        rewrites = replayed.rewrites
    # A map in two pieces is read by two convolutions of the same weights: those are rounded before
    # the map is cut.
    pieces = {name: made for name, made in rewrites.items() if name == _PIECEWISE}
    others = {name: made for name, made in rewrites.items() if name != _PIECEWISE}
    uncut = rewritten(graph, others)
    graph = rewritten(uncut, pieces)
    observations = calibrate(
        graph,
        split.setting,
        lambda done: _report_progress(report, done, split.count),
        uncut.operators,
    )
    if replayed is None:
        recipe = replace(
            choose(graph, observations.tensors, rule).for_precision(precision),
            rounding=method.rounding,
            rewrites=rewrites,
            corrected="correction" not in method.without,
            float_operators=operators_of(graph, method.floats),
        )
    else:
        recipe = replayed
        recipe.require_operators(graph)
    report("rounding weights and correcting biases" if recipe.corrected else "rounding weights")
    rounded = _rounded(uncut, observations, recipe.rounding, paired=precision in INT8)
    measures = graph.regresses and method.limited and precision in INT8
    quantized = Quantized(
        graph=graph,
        rounded=rewritten(rounded, pieces),
        recipe=recipe,
        lowered={},
        subset=split.subset,
        held_out=split.held_out,
        images=observations.images + images.count - split.count,
        outliers=given - images.count,
        spread=_spread(graph, images) if measures else None,
    )
    return _with_lowered(quantized, recipe, formats)


def _spread(graph: Graph, images: Images) -> Doubles:
    """Over all images: over a few of them, one of many values may hardly vary."""
    spread: Doubles = logits(simulated(graph, {}), images.all()).std(axis=0, dtype=np.float64)
    return spread


def _require_replayable(recipe: Recipe, precision: str) -> None:
    if recipe.rounding not in ROUNDINGS:
        raise UsageError(
            f"the recipe's weights.rounding must be one of {', '.join(ROUNDINGS)}, not "
            f"{recipe.rounding!r}"
        )
    if unknown := sorted(set(recipe.float_operators_in) - set(ARRANGEMENTS)):
        raise UsageError(
            f"the recipe's float_operators_in must be by {', '.join(ARRANGEMENTS)}, not "
            f"{unknown[0]!r}"
        )
    made = recipe.activation_bits, bool(recipe.ranges)
    wanted = Recipe("", {}).for_precision(precision).activation_bits, precision not in UNCALIBRATED
    if made != wanted:
        raise UsageError(
            f"the recipe holds activations in {recipe.activation_bits} bits"
            f"{'' if recipe.ranges else ' without ranges'}, which is not {precision}: take the "
            "precision that it was made for"
        )


def _report_progress(report: Report, done: int, count: int) -> None:
    if done % 16 == 0 or done == count:
        report(f"calibrating: {done} of {count}")


def _find_rewrites(
    graph: Graph, split: Split, method: Method, rule: str, report: Report
) -> Rewrites:
    rewrites: dict[str, Mapping[str, tuple[float, ...]]] = {}
    if "streams" not in method.without:
        rewrites |= equalize_streams(graph, split.subset)
    effort = EFFORTS[method.effort]
    names = [name for name in effort.rewrites if name not in method.without]
    if names:
        report("looking for rewrites that take noise away")
        rewrites |= rewrite_where_worth(
            rewritten(graph, rewrites),
            *split.halves(),
            rule,
            names,
            effort.options,
            corrected="correction" not in method.without,
            limited=method.limited,
        )
    return rewrites


def _rounded(graph: Graph, observations: Observations, rounding: str, paired: bool) -> Graph:
    def of(operator: Operator) -> Operator:
        if not isinstance(operator, Linear):
            return operator
        return ROUNDINGS[rounding](operator, observations.inputs[operator.name], paired)

    return graph.with_operators(list(in_order(of, graph.operators)))


def with_float(
    quantized: Quantized, operators: Collection[str], formats: Collection[str] | None = None
) -> Quantized:
    """The same with these operators in float, where rewrites for int8 are undone.

    Args:
        quantized: What to change.
        operators: Their names; those that the network does not have are passed over.
        formats: In which; None takes all that are lowered.
    """
    formats = quantized.lowered if formats is None else formats
    known = frozenset(op.name for op in quantized.graph.operators)
    floats = {format: quantized.recipe.of(format).float_operators for format in quantized.lowered}
    floats |= dict.fromkeys(formats, known.intersection(operators))
    return _with_lowered(quantized, quantized.recipe.with_float(floats), formats)


def by_format(quantized: Quantized, others: Mapping[str, Quantized]) -> Quantized:
    """The same with some formats as they are in others, which differ by operators in float only."""
    if all(other is quantized for other in others.values()):
        return quantized
    own = {format: others.get(format, quantized) for format in quantized.lowered}
    floats = {format: made.recipe.of(format).float_operators for format, made in own.items()}
    lowered = {format: made.of(format) for format, made in own.items()}
    return replace(quantized, recipe=quantized.recipe.with_float(floats), lowered=lowered)


def _with_lowered(quantized: Quantized, recipe: Recipe, formats: Collection[str]) -> Quantized:
    """The same with this recipe, and with what these formats lower by it.

    Formats that share an arrangement and the operators in float share the graph, too.
    """
    lowered, made = dict(quantized.lowered), dict[tuple[str, frozenset[str]], Graph]()
    for format in formats:
        own = recipe.of(format)
        key = ARRANGEMENTS[format], own.float_operators
        if key not in made:
            made[key] = _lowered(ARRANGEMENTS[format], quantized, own)
        lowered[format] = made[key]
    return replace(quantized, recipe=recipe, lowered=lowered)


def _lowered(arrangement: str, quantized: Quantized, recipe: Recipe) -> Graph:
    """What formats of an arrangement lower, with the recipe's float operators unrounded."""
    floats = recipe.float_operators
    graph, rounded = (
        restored(one, recipe.rewrites, floats) for one in (quantized.graph, quantized.rounded)
    )
    unrounded = {op.name: op for op in graph.operators if op.name in floats}
    mixed = rounded.with_operators([unrounded.get(op.name, op) for op in rounded.operators])
    source, target = (arranged(one, arrangement, floats) for one in (graph, mixed))
    if not recipe.corrected:
        return target
    held = held_tensors(source, recipe, arrangement)
    return correct_biases(source, target, held, quantized.subset)
