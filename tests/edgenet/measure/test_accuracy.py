"""The statistics obey their laws and give the figures of the textbooks."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from edgenet.measure import accuracy

SHAPES = st.tuples(st.integers(1, 8), st.integers(2, 6))
VALUES = st.floats(-50, 50, width=32)


def logits_pair():
    return SHAPES.flatmap(
        lambda shape: st.tuples(
            hnp.arrays(np.float32, shape, elements=VALUES),
            hnp.arrays(np.float32, shape, elements=VALUES),
        )
    )


@st.composite
def discordant(draw):
    lost, gained = draw(st.integers(0, 60)), draw(st.integers(0, 60))
    return lost, gained, lost + gained + draw(st.integers(0, 500)) or 1


@given(logits_pair(), st.integers(-3, 3), st.integers(-100, 100))
def test_r2_knows_neither_unit_nor_offset(pair, scale, offset):
    reference, values = (np.round(those) for those in pair)
    found = accuracy.r2(reference, values)
    moved = accuracy.r2(*(those * np.float32(2.0**scale) + offset for those in (reference, values)))
    assert (found is None) == bool(np.all(reference == reference[0]))
    assert found is None or moved == pytest.approx(found, rel=1e-9, abs=1e-9)
    assert accuracy.r2(reference, reference) in (None, 1.0)


def test_growth_is_that_of_the_mean_error_with_the_interval_of_paired_means():
    truth = np.zeros((4, 2))
    before = accuracy.absolute_errors(np.full((4, 2), [1.0, 2.0]), truth, 1)
    assert before.tolist() == [2.0] * 4
    after = accuracy.absolute_errors(np.array([[9, 2], [9, 3], [9, 4], [9, 3]], float), truth, 1)
    found = accuracy.paired_growth(before, after)
    assert found.amount == 1.0
    half = 3.1824 * np.sqrt(2 / 3) / 2
    assert found.interval == pytest.approx((1 - half, 1 + half), abs=1e-3)
    assert accuracy.paired_growth(before, before).interval == (0.0, 0.0)
    assert accuracy.paired_growth(before[:1], after[:1]) is None


# Abramowitz and Stegun, table 26.10.
@pytest.mark.parametrize(
    ("freedom", "quantile"),
    [(1, 12.706), (2, 4.303), (4, 2.776), (5, 2.571), (9, 2.262), (30, 2.042), (10**6, 1.960)],
)
def test_few_images_have_students_interval(freedom, quantile):
    grown = np.zeros(freedom + 1)
    grown[0] = 1.0
    found = accuracy.paired_growth(np.zeros_like(grown), grown)
    half = (found.interval[1] - found.interval[0]) / 2
    error = float(grown.std(ddof=1)) / math.sqrt(len(grown))
    assert half / error == pytest.approx(quantile, abs=0.004)


def test_a_standardized_value_knows_no_unit():
    random = np.random.default_rng(0)
    reference = random.normal(size=(40, 3)) * [1, 100, 0] + [0, 5, 7]
    values = reference + random.normal(size=(40, 3)) * [0.1, 10, 1]
    signal, found = (accuracy.standardized(those, reference) for those in (reference, values))
    assert signal.std(axis=0) == pytest.approx([1, 1, 0])
    for place in (0, 1):
        kept = 1 - np.square(signal - found)[:, place].sum() / np.square(signal)[:, place].sum()
        assert kept == pytest.approx(accuracy.r2(*(x[:, [place]] for x in (reference, values))))


def test_r2_is_that_of_the_value_kept_worst_and_zero_for_the_mean():
    reference = np.array([[0, 0], [1, 10], [2, 20], [3, 30]], np.float32)
    assert accuracy.r2(reference, reference * [1, 0] + np.float32([0, 15])) == 0.0
    assert accuracy.r2(reference, reference + np.float32([0.5, 0])) == pytest.approx(1 - 1 / 5)
    moved = reference + np.float32([0.5, 0])
    assert [accuracy.mean_error(reference, moved, value) for value in (0, 1)] == [0.5, 0]


@given(logits_pair(), st.integers(-8, 8))
def test_which_value_is_kept_worst_does_not_go_by_units(pair, scale):
    reference, values = (np.round(those) for those in pair)
    worst = accuracy.kept_worst(reference, [values])
    least = accuracy.r2(reference, values)
    assert least == accuracy.r2(*(those[:, [worst]] for those in (reference, values)))
    units = np.float32(2.0**scale) ** np.arange(reference.shape[1])
    assert accuracy.kept_worst(reference * units, [values * units]) == worst


def test_the_file_that_keeps_a_value_worst_decides():
    reference = np.array([[0, 0, 5], [1, 10, 5], [2, 20, 5]], np.float32)
    files = [reference + np.float32(off) * [[1], [0], [-1]] for off in ([0.1, 2, 9], [0.5, 0, 9])]
    assert [accuracy.kept_worst(reference, [file]) for file in files] == [1, 0]
    assert accuracy.kept_worst(reference, files) == 0
    assert accuracy.kept_worst(reference[:1], [files[0][:1]]) == 0


@given(logits_pair())
def test_agreement_is_symmetric_and_one_with_itself(pair):
    a, b = pair
    assert accuracy.agreement(a, b) == accuracy.agreement(b, a)
    assert accuracy.agreement(a, a) == 1.0


def test_agreement_counts_equal_top1():
    a = np.eye(4, dtype=np.float32)
    b = a[[0, 1, 3, 2]]
    assert accuracy.agreement(a, b) == 0.5


def test_top1_counts_labels_met():
    assert accuracy.top1(np.eye(4, dtype=np.float32), np.array([0, 1, 2, 0])) == 0.75


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_an_image_without_an_answer_agrees_with_nothing_and_is_never_right(value):
    logits = np.eye(10, dtype=np.float32)[[0, 0, 0, 0]]
    logits[:3, 4] = value
    labels = np.zeros(4, np.int64)
    assert accuracy.answers(logits).tolist() == [accuracy.NO_ANSWER] * 3 + [0]
    assert accuracy.top1(logits, labels) == 0.25
    assert accuracy.top5(logits, labels) == 0.25
    assert accuracy.agreement(np.zeros((4, 10), np.float32), logits) == 0.25
    assert accuracy.agreement(logits, logits) == 0.25
    assert np.isfinite(accuracy.divergences(np.zeros((4, 10), np.float32), logits)).all()


@pytest.mark.parametrize(("k", "share"), [(1, 0.25), (2, 0.75), (3, 1.0)])
def test_top_k_counts_labels_among_the_highest(k, share):
    labels = np.array([0, 1, 2, 1])
    logits = np.array([[3, 2, 1], [3, 2, 1], [1, 3, 2], [3, 1, 2]], np.float32)
    assert accuracy.top_k(logits, labels, k) == share


@pytest.mark.parametrize(("classes", "told"), [(2, None), (5, None), (6, 1.0)])
def test_top5_is_told_where_it_says_something(classes, told):
    logits = np.eye(classes, dtype=np.float32)
    assert accuracy.top5(logits, np.arange(classes)) == told


def test_divergences_are_those_of_single_rows_and_take_little_memory():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 4000, 200)).astype(np.float32)
    tracemalloc.start()
    found = accuracy.divergences(a, b)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < a.nbytes
    rows = [accuracy.divergences(a[at : at + 1], b[at : at + 1])[0] for at in (0, 255, 256, 3999)]
    assert found[[0, 255, 256, 3999]] == pytest.approx(rows)


@given(logits_pair(), st.sampled_from([2.0**k for k in range(-6, 7)]))
def test_sqnr_does_not_change_with_scale(pair, scale):
    a, b = pair
    assume(np.abs(a - b).max() > 1e-3)
    assume(np.abs(a).max() > 1e-3)
    scaled = accuracy.sqnr_db(a * np.float32(scale), b * np.float32(scale))
    assert scaled == pytest.approx(accuracy.sqnr_db(a, b), abs=1e-9)


def test_sqnr_of_a_tenth_of_the_amplitude_is_20_db():
    signal = np.array([[3.0, -4.0]], np.float32)
    assert accuracy.sqnr_db(signal, signal * np.float32(0.9)) == pytest.approx(20.0, abs=1e-5)


def test_sqnr_is_none_only_where_equal_to_the_bit():
    signal = np.array([[1.0, 2.0]], np.float32)
    assert accuracy.sqnr_db(signal, signal.copy()) is None
    assert accuracy.sqnr_db(signal, np.nextafter(signal, np.float32(9))) is not None


def test_a_silent_reference_has_a_finite_sqnr():
    found = accuracy.sqnr_db(np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32))
    assert found is not None
    assert math.isfinite(found)


@given(logits_pair())
def test_kl_is_not_negative_and_zero_with_itself(pair):
    a, b = pair
    assert (accuracy.divergences(a, b) >= 0).all()
    assert not accuracy.divergences(a, a).any()


def test_kl_of_two_coins():
    p, q = np.log([[0.5, 0.5]]), np.log([[0.25, 0.75]])
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert accuracy.divergences(p + 7, q) == pytest.approx([expected])
    loud = np.array([[2000.0, 0.0]])
    assert accuracy.divergences(loud, loud[:, ::-1]) == pytest.approx([2000])


@given(logits_pair(), st.floats(0.125, 8, width=32))
def test_cosine_lies_within_one_and_ignores_scale(pair, scale):
    a, b = pair
    # A row of subnormal numbers has no digits left to scale.
    assume(min(np.abs(a).max(axis=1).min(), np.abs(b).max(axis=1).min()) > 1e-3)
    assert abs(accuracy.cosine(a, b)) <= 1 + 1e-6
    assert accuracy.cosine(a * scale, b) == pytest.approx(accuracy.cosine(a, b), abs=1e-5)


def test_cosine_of_right_angles_and_of_nothing_is_zero():
    a = np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)
    b = np.array([[0.0, 2.0], [1.0, 1.0]], np.float32)
    assert accuracy.cosine(a, b) == 0


def test_max_error_is_the_largest_difference():
    a = np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    b = np.array([[1.5, 2.0], [3.0, 1.0]], np.float32)
    assert accuracy.max_error(a, b) == 3.0


@pytest.mark.parametrize(
    ("lost", "gained", "expected"),
    [
        (0, 0, 1.0),
        (5, 5, 1.0),
        # 2 · (1 + 11) / 2^11
        (1, 10, 0.01171875),
        # Hodgkin's disease and tonsillectomy, 85 matched pairs with 7 and 15 discordant:
        # J. A. Rice, Mathematical Statistics and Data Analysis, 13.5. 2 · 280600 / 2^22
        (7, 15, 0.13380050659179688),
    ],
)
def test_mcnemar_gives_the_textbook_value(lost, gained, expected):
    assert accuracy.mcnemar_p(lost, gained) == pytest.approx(expected, rel=1e-12)


def test_mcnemar_does_not_underflow():
    assert accuracy.mcnemar_p(3000, 3001) == pytest.approx(1.0)
    assert accuracy.mcnemar_p(2000, 0) == pytest.approx(2.0**-1999)


@given(discordant())
def test_drop_interval_contains_the_drop_and_mirrors(case):
    lost, gained, images = case
    low, high = accuracy.drop_interval(lost, gained, images)
    assert -100 <= low <= 100 * (lost - gained) / images <= high <= 100
    assert accuracy.drop_interval(gained, lost, images) == pytest.approx((-high, -low))


def test_drop_interval_of_agresti_and_min():
    # Approval of the prime minister, 1600 persons asked twice: A. Agresti, Categorical Data
    # Analysis, table 10.1. 150 and 86 changed their mind; Wald's interval there is (0.022, 0.059).
    low, high = accuracy.drop_interval(150, 86, 1600)
    assert (low, high) == pytest.approx((2.2, 5.9), abs=0.1)


def test_drop_interval_narrows_with_images():
    small, large = accuracy.drop_interval(5, 3, 100), accuracy.drop_interval(50, 30, 1000)
    assert large[1] - large[0] < small[1] - small[0]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=50))
def test_paired_drop_is_the_difference_of_accuracies(pairs):
    reference, ours = (np.array(column, bool) for column in zip(*pairs, strict=True))
    drop = accuracy.paired_drop(reference, ours)
    assert drop.points == pytest.approx(100 * (reference.mean() - ours.mean()))
    assert drop.interval[0] <= drop.points <= drop.interval[1]
