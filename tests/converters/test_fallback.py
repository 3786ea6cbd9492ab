"""int8 is tried first, then what loses less; the first that is good enough ends the search."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from converters.fallback import DEFAULT_DROP, Attempt, NoiseLimit, attempts, noise_allowed
from converters.formats import LOWERINGS
from converters.graph import INPUT, VALUES, Graph
from converters.quantization.quantize import Quantized, with_float
from converters.quantization.search import decibels, measure
from edgenet.errors import AccuracyError
from edgenet.measure.limits import NO_LIMITS, Limits
from tests.converters.graphs import Chain
from tests.converters.quantization.networks import deep_network, quantized, silu_network


@pytest.fixture(scope="module")
def made():
    return quantized(deep_network())


def fallback(
    made: Quantized, drop: float, lines: list[str], **options: object
) -> Iterator[Attempt]:
    chosen = {"others": ("int8-mixed", "w8", "fp16"), "strict": False, **options}
    limit = NoiseLimit.of_drop(drop)
    return attempts(made, limit, weights_alone=lambda: made, report=lines.append, **chosen)


def loudest(made: Quantized) -> float:
    """The noise of the format that has the most."""
    return max(measure(made, format) for format in made.lowered)


def drop_for(noise: float) -> float:
    """The drop that allows so much noise."""
    return DEFAULT_DROP * (noise / noise_allowed(DEFAULT_DROP)) ** 0.5


def test_half_the_drop_allows_half_the_noises_amplitude():
    assert decibels(noise_allowed(DEFAULT_DROP)) == pytest.approx(23.2)
    assert noise_allowed(0.25) == pytest.approx(noise_allowed(0.5) / 4)
    assert drop_for(noise_allowed(0.3)) == pytest.approx(0.3)
    assert noise_allowed(0) == noise_allowed(-1) == 0


def test_a_regressions_noise_is_what_its_r2_lacks():
    chain = Chain(8, 8).normalize().pool().dense(2)
    values = Graph("values", chain.shapes[INPUT], tuple(chain.operators), (chain.last,))
    regression = values.renamed({chain.last: VALUES}, (VALUES,))
    assert NoiseLimit.of_r2(0.75).limits(regression) == Limits(min_r2=0.75)


def test_int8_is_kept_where_it_is_quiet_enough(made):
    lines: list[str] = []
    first = next(fallback(made, drop_for(loudest(made) * 1.1), lines))
    assert (first.precision, first.quantized) == ("int8", made)
    assert len(lines) == 1
    assert f"int8 keeps {decibels(measure(made, 'onnx')):.1f} dB" in lines[0]


def test_a_format_that_rounds_less_has_less_in_float():
    made = quantized(silu_network())
    linear, every = measure(made, "openvino"), measure(made, "onnx")
    assert linear < every
    lines: list[str] = []
    (first, *_) = fallback(made, drop_for((linear + every) / 2), lines)
    assert [first.precision_of(name) for name in LOWERINGS] == ["int8-mixed", "int8-mixed", "int8"]
    assert first.quantized is not None
    assert first.quantized.of("openvino") is made.of("openvino")
    assert first.quantized.recipe.of("openvino").float_operators == frozenset()
    assert f"int8 keeps {decibels(linear):.1f} dB in openvino" in "\n".join(lines)


def test_some_operators_return_to_float_where_it_is_not(made):
    lines: list[str] = []
    noise = measure(made, "onnx") / 2
    first = next(fallback(made, drop_for(noise), lines))
    assert first.precision == "int8-mixed"
    assert first.quantized is not None
    assert first.quantized.recipe.float_operators
    assert measure(first.quantized, "onnx") <= noise
    (told,) = (line for line in lines if line.startswith("int8-mixed keeps") and "onnx" in line)
    assert told.endswith("of the MACs in float")


def test_what_is_in_float_already_is_where_it_begins(made):
    first = made.graph.operators[1].name
    before = with_float(made, [first])
    lines: list[str] = []
    quiet = next(fallback(before, drop_for(loudest(before) * 1.1), lines))
    assert (quiet.precision, quiet.quantized) == ("int8-mixed", before)
    assert lines[0].startswith(f"int8-mixed keeps {decibels(measure(before, 'onnx')):.1f} dB")
    noise = measure(before, "onnx") / 2
    more = next(fallback(before, drop_for(noise), []))
    assert more.precision == "int8-mixed"
    assert more.quantized is not None
    assert first in more.quantized.recipe.float_operators
    assert len(more.quantized.recipe.float_operators) > 1
    assert measure(more.quantized, "onnx") <= noise


def test_after_the_mixed_networks_come_weights_alone_and_half_precision(made):
    allowed = loudest(made) * 1.1
    found = list(fallback(made, drop_for(allowed), []))
    assert [attempt.precision for attempt in found] == ["int8", "int8-mixed", "w8", "fp16"]
    assert found[2].quantized is made
    assert found[3].quantized is None
    assert [attempt.limits == NO_LIMITS for attempt in found] == [True, True, False, True]
    assert found[2].limits.min_sqnr == pytest.approx(decibels(allowed))


def test_where_int8_was_quiet_enough_only_a_tighter_limit_is_tried_and_told(made):
    lines: list[str] = []
    allowed = loudest(made) * 1.1
    attempts = fallback(made, drop_for(allowed), lines)
    assert [next(attempts).precision for _ in range(2)] == ["int8", "int8-mixed"]
    first, *others = lines
    assert f"of the {decibels(allowed):.1f} dB wanted" in first
    kept = [line for line in others if " keeps " in line]
    assert kept
    assert all(f"of the {decibels(allowed / 2):.1f} dB wanted" in line for line in kept)


def test_int8_that_keeps_the_tighter_limit_too_is_not_tried_again(made):
    found = list(fallback(made, drop_for(loudest(made) * 3), []))
    assert [attempt.precision for attempt in found] == ["int8", "w8", "fp16"]


def test_what_the_target_does_not_run_is_passed_over(made):
    lines: list[str] = []
    found = [attempt.precision for attempt in fallback(made, 0.0, lines, others=("fp16",))]
    assert found == ["fp16"]
    assert lines == []


def test_what_cannot_be_reached_is_said_and_passed_over(made):
    lines: list[str] = []
    found = [attempt.precision for attempt in fallback(made, 0.0, lines)]
    assert found == ["w8", "fp16"]
    assert any(line.startswith("int8-mixed stays at") for line in lines)


def test_bf16_comes_before_weights_alone_where_the_cpu_has_it(made):
    import openvino

    has = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    others = ("int8-mixed", "bf16", "w8", "fp16")
    found = [attempt.precision for attempt in fallback(made, 0.0, [], others=others)]
    assert found == [*(["bf16"] if has else []), "w8", "fp16"]


def test_strictly_it_is_int8_or_nothing(made):
    loud, quiet = drop_for(measure(made, "onnx") / 2), drop_for(loudest(made) * 1.1)
    found, other = (decibels(measure(made, name)) for name in ("onnx", "openvino"))
    said = (
        f"int8 keeps {found:.1f} dB in tflite and onnx, {other:.1f} dB in openvino of the "
        f"{found + 3:.1f} dB.*--max-drop"
    )
    with pytest.raises(AccuracyError, match=said):
        list(fallback(made, loud, [], strict=True))
    assert [attempt.precision for attempt in fallback(made, quiet, [], strict=True)] == ["int8"]


def test_a_rung_is_worked_out_when_the_one_before_has_failed(made):
    def unwanted() -> Quantized:
        raise AssertionError("w8 was made for nothing")

    found = attempts(
        *(made, NoiseLimit.of_drop(drop_for(loudest(made) * 1.1))),
        others=("int8-mixed", "w8", "fp16"),
        strict=False,
        weights_alone=unwanted,
        report=lambda line: None,
    )
    assert next(found).precision == "int8"
    assert next(found).precision == "int8-mixed"
    with pytest.raises(AssertionError, match="for nothing"):
        next(found)
