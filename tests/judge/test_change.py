from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.change import (
    RISK,
    SESSION_ERROR,
    Comparison,
    Direction,
    judge_changes,
    launches_to_decide,
    worst_change,
)
from pytest_llmperf.judge.verdict import Verdict
from tests.judge.comparisons import (
    COMPARISONS,
    SIDES,
    TOLERANCES,
    comparison,
    judged,
    steadily,
)

# -- the figures -------------------------------------------------------------------------------------


def test_one_launch_a_side_is_judged_by_hand() -> None:
    # The prior alone: a spread of 5 % with 4 degrees; t(0.975, 4) = 2.7764451052.
    change = judged([100], [110])
    error = 0.05 * math.sqrt(2 / 0.994983)
    assert (change.base, change.candidate) == pytest.approx((100, 110))
    assert change.estimate == pytest.approx(0.10)
    assert (change.spread, change.error, change.degrees) == pytest.approx((0.05, error, 4))
    half = 2.7764451052 * error
    assert (change.low, change.high) == pytest.approx((1.1 * math.exp(-half) - 1, 1.1 * math.exp(half) - 1))
    # The tail of 4 degrees in closed form (Abramowitz & Stegun 26.7.4).
    angle = math.atan(math.log(1.1) / error / 2)
    within = math.sin(angle) * (1 + math.cos(angle) ** 2 / 2)
    assert change.p_value == pytest.approx((1 - within) / 2, rel=1e-9)
    assert 0.1 < change.risk < 0.2
    assert change.verdict == Verdict.INCONCLUSIVE


def test_either_side_is_shown_by_its_geometric_mean() -> None:
    change = judge_changes([comparison([95, 100, 105], [118, 120, 122], is_paired=False)])[0]
    assert change.base == pytest.approx((95 * 100 * 105) ** (1 / 3))
    assert change.candidate == pytest.approx((118 * 120 * 122) ** (1 / 3))
    assert (change.base_launches, change.candidate_launches) == (3, 3)


def test_a_wild_launch_does_not_make_a_change() -> None:
    change = judged([100, 101, 99, 102], [100, 99, 1000, 101])
    assert change.estimate < 0.05
    assert change.verdict != Verdict.REGRESSED


def test_what_the_requests_leave_unknown_makes_it_less_certain() -> None:
    known, vague = judged([100] * 4, [110] * 4), judged([100] * 4, [110] * 4, sampling=0.1)
    assert vague.estimate == pytest.approx(known.estimate)
    assert vague.error > 2 * known.error
    assert vague.p_value > known.p_value


def test_nothing_to_compare_is_nothing_to_judge() -> None:
    assert judge_changes([]) == []


def test_changes_come_in_the_order_of_their_comparisons() -> None:
    factors = [1.0, 1.5, 0.8]
    found = judge_changes(
        [comparison([10.0] * 3, [10 * factor] * 3, group=str(factor)) for factor in factors]
    )
    assert [1 + change.estimate for change in found] == pytest.approx(factors)


@pytest.mark.parametrize(
    ("better", "tolerance", "limit"), [("lower", 0.05, math.log(1.05)), ("higher", 0.05, -math.log(0.95))]
)
def test_a_tolerance_is_a_share_of_the_base(better: Direction, tolerance: float, limit: float) -> None:
    assert worst_change(better, tolerance) == pytest.approx(limit)


# -- the verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "lower_is_better", "higher_is_better"),
    [
        (1.50, Verdict.REGRESSED, Verdict.IMPROVED),
        (1.07, Verdict.INCONCLUSIVE, Verdict.PASS),
        (1.00, Verdict.PASS, Verdict.PASS),
        (1 / 1.07, Verdict.PASS, Verdict.INCONCLUSIVE),
        (1 / 1.50, Verdict.IMPROVED, Verdict.REGRESSED),
    ],
)
def test_six_launches_a_side_tell_large_changes_from_small(
    factor: float, lower_is_better: Verdict, higher_is_better: Verdict
) -> None:
    assert steadily(factor, 6, "lower").verdict == lower_is_better
    assert steadily(factor, 6, "higher").verdict == higher_is_better


def test_a_certain_change_within_the_tolerance_passes() -> None:
    change = steadily(1.06, 40, tolerance=0.2)
    assert change.low > 0
    assert change.verdict == Verdict.PASS


def test_a_certain_change_near_the_tolerance_is_left_undecided() -> None:
    change = steadily(1.055, 40, tolerance=0.06)
    assert change.low > 0
    assert change.verdict == Verdict.INCONCLUSIVE


def test_a_certain_gain_within_the_tolerance_is_a_pass_and_no_improvement() -> None:
    change = steadily(0.95, 40, tolerance=0.1)
    assert change.high < 0
    assert change.verdict == Verdict.PASS


@settings(deadline=None, max_examples=40)
@given(comparisons=COMPARISONS)
def test_the_verdicts_are_those_of_the_documentation(comparisons: list[Comparison]) -> None:
    for change in judge_changes(comparisons):
        limit = worst_change(change.better, change.tolerance)
        is_worse = change.worse > limit and change.p_value < change.level
        is_better = change.worse < -limit and 1 - change.p_value <= SESSION_ERROR / len(comparisons)
        assert (change.verdict == Verdict.REGRESSED) == is_worse
        assert (change.verdict == Verdict.IMPROVED) == is_better
        is_within = change.risk < RISK and change.p_twice < RISK
        assert (change.verdict == Verdict.PASS) == (is_within and not is_worse and not is_better)


@settings(deadline=None, max_examples=40)
@given(comparisons=COMPARISONS)
def test_nothing_within_the_tolerance_has_regressed(comparisons: list[Comparison]) -> None:
    for change in judge_changes(comparisons):
        share = change.estimate if change.better == "lower" else -change.estimate
        if share < change.tolerance - 1e-9:
            assert change.verdict != Verdict.REGRESSED


@settings(deadline=None, max_examples=40)
@given(comparisons=COMPARISONS)
def test_the_figures_make_sense(comparisons: list[Comparison]) -> None:
    for change in judge_changes(comparisons):
        assert -1 < change.low < change.estimate < change.high
        assert 0 <= change.risk <= 1 + 1e-9
        assert 0 <= change.p_value <= 1
        assert 0 <= change.level <= change.final_level <= SESSION_ERROR / len(comparisons) * (1 + 1e-9)
        assert min(change.spread, change.error, change.degrees) > 0
        assert change.wants_launch == (
            change.verdict == Verdict.INCONCLUSIVE and change.candidate_launches < change.most
        )


# -- invariances -------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40)
@given(comparisons=COMPARISONS, scale=st.floats(1e-3, 1e6))
def test_the_unit_of_the_values_does_not_matter(comparisons: list[Comparison], scale: float) -> None:
    scaled = [
        dataclasses.replace(
            one, base=[scale * v for v in one.base], candidate=[scale * v for v in one.candidate]
        )
        for one in comparisons
    ]
    for plain, other in zip(judge_changes(comparisons), judge_changes(scaled), strict=True):
        for name in ("estimate", "low", "high", "risk"):
            assert getattr(other, name) == pytest.approx(getattr(plain, name), rel=1e-6, abs=1e-7)


@settings(deadline=None, max_examples=40)
@given(comparisons=COMPARISONS)
def test_swapping_the_sides_turns_the_change_around(comparisons: list[Comparison]) -> None:
    # Not in turn: that has an order of its own, which begins with the base.
    comparisons = [dataclasses.replace(one, is_gapless=False) for one in comparisons]
    swapped = [dataclasses.replace(one, base=one.candidate, candidate=one.base) for one in comparisons]
    for there, back in zip(judge_changes(comparisons), judge_changes(swapped), strict=True):
        assert 1 + there.estimate == pytest.approx(1 / (1 + back.estimate))
        assert 1 + there.low == pytest.approx(1 / (1 + back.high), rel=1e-5)
        assert 1 + there.high == pytest.approx(1 / (1 + back.low), rel=1e-5)
        assert there.p_value == pytest.approx(1 - back.p_value, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(base=SIDES, candidate=SIDES, tolerance=TOLERANCES)
def test_what_should_be_high_is_judged_as_its_inverse_that_should_be_low(
    base: list[float], candidate: list[float], tolerance: float
) -> None:
    low = judged(base, candidate, "lower", tolerance)
    high = judged([1 / v for v in base], [1 / v for v in candidate], "higher", 1 - 1 / (1 + tolerance))
    for name in ("worse", "p_value", "risk", "error", "degrees", "level"):
        assert getattr(high, name) == pytest.approx(getattr(low, name), rel=1e-5, abs=1e-7)
    if abs(low.risk - RISK) > 1e-6:
        assert high.verdict == low.verdict


@settings(deadline=None, max_examples=40)
@given(base=SIDES, candidate=SIDES, factor=st.floats(1.001, 2))
def test_the_worse_the_estimate_the_greater_the_risk(
    base: list[float], candidate: list[float], factor: float
) -> None:
    less, more = judged(base, candidate), judged(base, [factor * v for v in candidate])
    assert less.risk <= more.risk + 1e-5
    assert more.p_value <= less.p_value


@pytest.mark.parametrize(("few", "many"), [(2, 4), (4, 6), (6, 12)])
def test_fewer_launches_know_less(few: int, many: int) -> None:
    assert steadily(1.1, few).error > steadily(1.1, many).error
    assert steadily(1.1, few).degrees < steadily(1.1, many).degrees
    assert steadily(1.1, few).p_value > steadily(1.1, many).p_value


# -- whatever comes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize(("base", "candidate"), [(1, 1), (1, 3), (3, 1), (3, 3), (8, 8)])
@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_equal_launches_and_huge_changes_are_judged_like_any_other(
    count: int, base: int, candidate: int, factor: float
) -> None:
    one = comparison([10.0] * base, [10.0 * factor] * candidate, least=1, most=8)
    for change in judge_changes([one] * count):
        assert change.estimate == pytest.approx(factor - 1)
        if factor < 1:
            assert change.verdict != Verdict.REGRESSED
            assert change.risk < RISK
        if factor > 1:
            assert change.verdict in {Verdict.REGRESSED, Verdict.INCONCLUSIVE}
            assert change.risk > 0.5


@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize("launches", [1, 3, 8])
def test_a_tolerance_of_next_to_nothing_passes_nothing_and_one_of_nearly_all_most(
    better: Direction, launches: int
) -> None:
    sides = [100.0] * launches, [101.0] * launches
    assert judged(*sides, better, 1e-4).verdict == Verdict.INCONCLUSIVE
    assert judged(*sides, better, 0.9).verdict == Verdict.PASS


@pytest.mark.parametrize(("base", "candidate"), [([], [1.0]), ([1.0], []), ([], [])])
def test_a_side_without_a_launch_is_refused(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one launch on either side"):
        judged(base, candidate)


@pytest.mark.parametrize(
    ("base", "candidate"),
    [([0.0], [1.0]), ([1.0], [1.0, -1.0]), ([math.nan], [1.0]), ([1.0], [1.0, math.nan])],
)
def test_values_without_a_logarithm_are_refused(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="positive values"):
        judged(base, candidate)


# -- what would decide it ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "tolerance"),
    [(1.0, 0.02), (1.01, 0.02), (1.01, 0.03), (1.015, 0.03), (1.06, 0.05), (1.09, 0.05), (1.15, 0.05)],
)
def test_as_many_launches_as_it_says_decide_and_fewer_do_not(factor: float, tolerance: float) -> None:
    change = steadily(factor, 2, tolerance=tolerance)
    assert change.verdict == Verdict.INCONCLUSIVE
    needed = launches_to_decide(change)
    assert needed is not None
    # Launches come in twos here, and each brings a little less than one degree of freedom.
    for launches in range(4, 26, 2):
        verdict = steadily(factor, launches, tolerance=tolerance).verdict
        if launches <= needed - 2:
            assert verdict == Verdict.INCONCLUSIVE
        if launches >= needed + 1:
            assert verdict != Verdict.INCONCLUSIVE


def test_it_asks_for_more_than_the_larger_side_already_had() -> None:
    undecided = judged([100.0, 112.0, 90.0, 101.0, 122.0], [106.0])
    assert undecided.verdict == Verdict.INCONCLUSIVE
    assert (launches_to_decide(undecided) or 99) > 5


def test_no_number_of_launches_decides_what_lies_on_the_tolerance() -> None:
    assert launches_to_decide(steadily(1.0499, 6)) is None


def test_it_never_asks_for_more_than_the_most() -> None:
    change = steadily(1.12, 2)
    needed = launches_to_decide(change)
    assert needed is not None
    assert launches_to_decide(change, most=needed) == needed
    assert launches_to_decide(change, most=needed - 1) is None
