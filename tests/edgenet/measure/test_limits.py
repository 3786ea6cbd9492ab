"""The gate says which limit failed and by how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenet.bundle import PRECISIONS
from edgenet.errors import UsageError
from edgenet.measure.accuracy import PairedDrop
from edgenet.measure.fidelity import Fidelity
from edgenet.measure.limits import Limits, computed

GOOD = Fidelity(
    top5=None,
    top1=0.8,
    drop=PairedDrop(0.5, (0.1, 0.9), 0.2),
    agreement=0.97,
    sqnr_db=17.0,
    max_error=0.4,
    cosine=0.99,
    kl=0.01,
)


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_drop=-0.5), "--max-drop -0.5: it is a number of points, 0 or more"),
        (Limits(max_drop=float("inf")), "--max-drop inf"),
        (Limits(min_agreement=97), "--min-agreement 97: a share lies between 0 and 1"),
        (Limits(min_sqnr=float("nan")), "--min-sqnr nan: it is a number of decibels"),
        (Limits(min_r2=1.5), "--min-r2 1.5: it is at most 1, as in 0.97"),
        (Limits(min_r2=float("nan")), "--min-r2 nan"),
    ],
)
def test_what_can_be_no_limit_is_refused(limits, message):
    with pytest.raises(UsageError, match=message):
        limits.require()


def test_the_ends_of_a_limit_are_limits():
    for end in (0, 1):
        Limits(max_drop=end, min_agreement=end, min_sqnr=-1, min_r2=end).require()
    Limits(min_r2=-1).require()
    Limits().require()


def test_a_good_int8_file_passes():
    assert Limits.of("int8").failures(GOOD) == ()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Limits(max_drop=0.2), "the top-1 drop is 0.50 points, 0.30 points more than"),
        (
            Limits(min_agreement=0.98),
            "the agreement is 0.9700, 0.0100 less than the 0.9800 required",
        ),
        (Limits(min_sqnr=20), "the SQNR is 17.0 dB, 3.0 dB less than the 20.0 dB required"),
    ],
)
def test_a_failure_names_its_limit_and_the_miss(limits, message):
    (failure,) = limits.failures(GOOD)
    assert message in failure


VALUES = replace(GOOD, top1=None, drop=None, agreement=None, cosine=None, kl=None, r2=0.94)


def test_a_regression_is_held_to_its_r2_and_to_no_limit_of_classes():
    assert Limits.of("int8", crops=True).failures(VALUES) == ()
    (failure,) = Limits.of("int8").failures(VALUES)
    assert failure == "the R² is 0.9400, 0.0100 less than the 0.9500 required"
    exact = replace(VALUES, r2=1.0, sqnr_db=100.0, max_error=5000.0)
    assert Limits.of("fp32").failures(exact) == ()


def test_all_failures_are_told():
    assert len(Limits(0.0, 1.0, 60.0).failures(GOOD)) == 3


def test_without_labels_no_drop_can_fail():
    assert Limits(max_drop=0.0).failures(replace(GOOD, top1=None, drop=None)) == ()


def test_equal_to_the_bit_keeps_any_sqnr():
    assert Limits(min_sqnr=1000).failures(replace(GOOD, sqnr_db=None)) == ()


@given(st.floats(0, 1), st.floats(0, 1))
def test_agreement_is_held_to_its_limit_exactly(found, limit):
    failed = Limits(min_agreement=limit).failures(replace(GOOD, agreement=found))
    assert bool(failed) == (found < limit)


def test_crops_of_few_photographs_are_held_to_less():
    for precision in ("fp16", "bf16", "w8a16", "w8", "dynamic", "int8-mixed", "int8"):
        found = Limits.of(precision, crops=True).min_agreement
        assert found < Limits.of(precision).min_agreement


def test_narrower_precisions_are_allowed_more():
    for crops in (False, True):
        order = ("fp32", "fp16", "bf16", "w8a16", "w8", "dynamic", "int8-mixed", "int8")
        bounds = [Limits.of(precision, crops).min_agreement for precision in order]
        assert bounds == sorted(bounds, reverse=True)
        assert set(order) == set(PRECISIONS)
        for precision in order:
            Limits.of(precision, crops).require()
    assert Limits.of("fp32").min_sqnr == Limits.at_conversion("fp32").min_sqnr
    assert Limits.of("int8").min_sqnr is None


@pytest.mark.parametrize(
    ("asked", "held", "drop", "agreement"),
    [
        (Limits(), (), 1.0, 0.95),
        (Limits(min_sqnr=20), (), 1.0, 0.95),
        (Limits(max_drop=0.5), (), 0.5, None),
        (Limits(max_drop=0.5, min_agreement=0.9), (), 0.5, 0.9),
        (Limits(min_agreement=0.9), (), 1.0, 0.9),
        (Limits(), ("top1", "agreement", "sqnr_db"), None, None),
        (Limits(), ("agreement", "sqnr_db"), 1.0, None),
        (Limits(max_drop=0.5, min_agreement=0.9), ("top1", "agreement"), 0.5, 0.9),
    ],
)
def test_a_default_yields_where_the_user_bounds_the_loss(asked, held, drop, agreement):
    found = Limits.of("int8").overridden_by(asked, held)
    assert (found.max_drop, found.min_agreement) == (drop, agreement)
    assert found.min_sqnr == asked.min_sqnr


def test_a_float_file_is_held_to_its_logits_whatever_else_is_asked():
    assert Limits.of("fp32").overridden_by(Limits(max_drop=100), ("agreement",)).min_sqnr == 80


@given(st.floats(-3, 6), st.integers(0, 99))
def test_a_float_file_is_held_alike_whatever_the_size_of_its_logits(exponent, seed):
    random = np.random.default_rng(seed)
    logits = (10**exponent * random.normal(size=(20, 5))).astype(np.float32)
    for error, sound in ((1e-6, True), (1e-3, False)):
        found = Fidelity.of(logits, logits * np.float32(1 + error))
        assert (Limits.of("fp32").failures(found) == ()) is sound


def test_a_new_file_is_held_to_more_the_less_it_rounds():
    order = ("fp32", "fp16", "bf16", "w8a16", "w8", "dynamic")
    bounds = [Limits.at_conversion(precision).min_sqnr for precision in order]
    assert None not in bounds
    assert bounds == sorted(bounds, reverse=True)
    assert Limits.at_conversion("int8") == Limits.at_conversion("int8-mixed") == Limits()


@pytest.mark.parametrize("device", ["gpu", "npu"])
def test_beside_the_cpu_every_precision_has_a_limit(device):
    limits = {precision: Limits.beside_cpu(precision, device) for precision in PRECISIONS}
    assert all(limit.min_sqnr is not None for limit in limits.values())
    assert limits["fp32"].min_sqnr >= limits["fp16"].min_sqnr > limits["int8"].min_sqnr


def test_another_network_is_refused_beside_the_cpu():
    """Noise as large as a third of the answers is what a wrong network makes, or worse."""
    for precision in PRECISIONS:
        assert Limits.beside_cpu(precision, "npu").failures(replace(GOOD, sqnr_db=9.5))


def test_an_npu_computes_floats_in_half():
    assert computed("fp32", "npu") == "fp16"
    assert computed("fp32", "gpu") == computed("fp32", "cpu") == "fp32"
    assert Limits.beside_cpu("fp32", "npu") == Limits.beside_cpu("fp16", "npu")
