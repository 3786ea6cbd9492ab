"""What slows a file down is named, with what it costs."""

from __future__ import annotations

import sys

import pytest

from edgenet.measure.profiling import peak
from edgenet.measure.profiling.findings import explain
from edgenet.measure.profiling.operators import Operator, Profile, align, typical

VNNI = ["avx2", "avx512_vnni"]
CONV = Operator("top_conv", "QLinearConv", 8.0, 8_000_000_000, integer=True, moves=False)
DEPTHWISE = Operator("block1a_dwconv", "QLinearConv", 4.0, 40_000_000, integer=True, moves=False)
SIGMOID = Operator("stem_activation", "Sigmoid", 6.0, 0, integer=False, moves=False)
CAST = Operator("image", "Transpose", 2.0, 0, integer=False, moves=True)


def told(*operators: Operator, precision="int8", isa=VNNI, fraction=1.0, top=None) -> list[str]:
    return explain(Profile("p", 1, 5, operators), precision, isa, fraction, top)


def test_a_file_with_nothing_amiss_gets_no_reproach():
    assert told(CONV) == []


@pytest.mark.parametrize(
    ("isa", "message"),
    [(["avx2", "avx512f"], "no VNNI or AMX"), (["asimd"], "no dot products (asimddp) or i8mm")],
)
def test_missing_instructions_are_named(isa, message):
    assert message in told(CONV, isa=isa)[0]
    assert told(CONV, isa=isa, precision="fp32") == []
    assert told(CONV, isa=[]) == []


def test_the_costliest_part_comes_first_with_its_operators():
    float_part, elementwise, moves, *_ = told(CONV, SIGMOID, CAST)
    assert "38%" in float_part
    assert "stem_activation (Sigmoid) 6.00 ms" in elementwise
    assert "changes of layout or type take 12% of the time: image (Transpose) 2.00 ms" in moves


def test_float_parts_are_no_finding_in_a_float_file():
    assert not any("left in float" in line for line in told(CONV, SIGMOID, precision="fp32"))


def test_slow_depthwise_convolutions_are_compared_with_the_rest():
    (line,) = told(CONV, DEPTHWISE)
    assert "33% of the time at 10 GMAC/s, the other products reach 1000" in line


def test_operators_outside_the_delegate_are_counted():
    assert "25% of the operators run outside" in told(CONV, fraction=0.75)[0]


def test_the_share_of_the_peak():
    assert "1000 GMAC/s over all: 50% of the 2000" in told(CONV, top=2000.0)[0]


def test_unknown_products_are_told_and_nothing_is_said_of_the_rest():
    profile = Profile("p", 1, 5, (CONV, DEPTHWISE, SIGMOID), complete=False)
    lines = explain(profile, "int8", VNNI, 1.0, 2000.0)
    assert not any("without MACs" in line or "GMAC/s" in line for line in lines)
    assert "not all products of the file were recognised" in lines[-1]


def test_lists_of_kinds_are_paired_in_order():
    assert align(["a", "x", "b", "c"], ["a", "b", "y", "c"]) == {0: 0, 2: 1, 3: 3}


def test_the_typical_time_leaves_hiccups_out():
    assert typical([1, 1, 1, 2, 100]) == 1.25
    assert typical([3]) == 3


def test_peaks_are_measured_in_both_engines_and_the_best_counts():
    found = peak.measure(1)
    assert [one.engine for one in found] == ["openvino", "onnxruntime"]
    top = peak.best(found)
    assert top["fp32"] == max(one.fp32 for one in found) > 0
    assert peak.best([]) is None


@pytest.mark.parametrize("code", ["raise ImportError('libfoo.so')", "", "raise OSError"])
def test_an_engine_that_is_broken_has_no_peak_and_spoils_none(monkeypatch, tmp_path, code):
    (tmp_path / "onnxruntime.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    assert [one.engine for one in peak.measure(1)] == ["openvino"]
    # What was imported there is not for other tests.
    sys.modules.pop("onnxruntime", None)


def test_the_hand_written_product_is_sound_onnx():
    import onnx

    for integer in (False, True):
        onnx.checker.check_model(onnx.load_from_string(peak.onnx_product(integer)))
