from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.judge.boundary import levels
from pytest_llmperf.judge.change import (
    RISK,
    SESSION_ERROR,
    Change,
    Comparison,
    Direction,
    judge_changes,
    launches_to_decide,
    worst_change,
)
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.measure.metrics import summarise, uncertainty
from tests.measure.traces import START_MS, answered, timeline

PRIOR = Prior(0.05)
SIDES = st.lists(st.floats(0.5, 2), min_size=1, max_size=8)
BETTER: st.SearchStrategy[Direction] = st.sampled_from(["lower", "higher"])
TOLERANCES = st.floats(0.001, 0.9)


def comparison(
    base: Sequence[float],
    candidate: Sequence[float],
    better: Direction = "lower",
    tolerance: float = 0.05,
    prior: Prior = PRIOR,
    sampling: float = 0.0,
    least: int = 3,
    most: int = 8,
    is_paired: bool = True,
    group: str = "g",
) -> Comparison:
    return Comparison(
        group,
        base,
        candidate,
        better,
        tolerance,
        prior,
        sampling,
        least=least,
        most=most,
        is_paired=is_paired,
    )


COMPARISONS = st.lists(
    st.builds(comparison, SIDES, SIDES, BETTER, TOLERANCES, group=st.sampled_from("ab")),
    min_size=1,
    max_size=5,
)


def judged(
    base: Sequence[float],
    candidate: Sequence[float],
    better: Direction = "lower",
    tolerance: float = 0.05,
    prior: Prior = PRIOR,
    sampling: float = 0.0,
    least: int = 3,
    most: int = 8,
) -> Change:
    """The only comparison of its session."""
    return judge_changes([comparison(base, candidate, better, tolerance, prior, sampling, least, most)])[0]


def steady(mean: float, launches: int) -> list[float]:
    """An even number of launches that vary by just what the prior says."""
    away = 0.05 * math.sqrt(0.956495 * (launches - 1) / launches)
    return [mean * math.exp(away), mean * math.exp(-away)] * (launches // 2)


def steadily(factor: float, launches: int, better: Direction = "lower", tolerance: float = 0.05) -> Change:
    """Exactly that many launches a side, with nothing more to come."""
    sides = steady(100, launches), steady(100 * factor, launches)
    return judged(*sides, better, tolerance, least=launches, most=launches)


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


# -- looks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("least", "most"), [(1, 2), (1, 8), (3, 4), (3, 8), (7, 8)])
@pytest.mark.parametrize("factor", [1.1, 2.0, 1000.0])
def test_a_suspect_is_launched_again_before_it_has_regressed(least: int, most: int, factor: float) -> None:
    def at(launches: int) -> Change:
        return judged([100.0] * launches, [100.0 * factor] * launches, least=least, most=most)

    first = at(least)
    assert first.level == 0
    assert first.verdict == Verdict.INCONCLUSIVE
    assert first.wants_launch
    if factor > 100:
        assert at(least + 1).verdict == Verdict.REGRESSED


def test_not_even_a_p_value_of_zero_is_an_alarm_at_the_first_look() -> None:
    change = judged(steady(1, 60), steady(1e6, 60), prior=Prior(0.05, 300), least=60, most=61)
    assert change.p_value == 0
    assert change.verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize("launches", [1, 3, 8])
def test_who_looks_once_spends_it_all_at_once(launches: int) -> None:
    change = judged([1.0] * launches, [1.0] * launches, least=launches, most=launches)
    assert change.level == change.final_level == pytest.approx(SESSION_ERROR)


def test_fewer_launches_than_the_fewest_are_no_look() -> None:
    assert judged([1.0], [1000.0], least=3, most=3).level == 0


def test_each_look_has_the_level_of_its_share_of_the_launches() -> None:
    found = [judged([1.0] * n, [1.0] * n, least=3, most=8).level for n in range(3, 9)]
    assert found == pytest.approx([0, *levels(SESSION_ERROR, [n / 8 for n in range(4, 9)])])


def test_launches_beyond_the_most_are_judged_as_the_last() -> None:
    change = judged([1.0] * 10, [1.0] * 10)
    assert change.level == change.final_level


def test_a_stored_base_does_not_grow_with_the_looks() -> None:
    """The information of 3 against n launches is 3·n/(3 + n)."""
    found = judge_changes([comparison([1.0] * 3, [1.0] * 5, is_paired=False)])[0].level
    times = [3 * n / (3 + n) / (3 * 8 / 11) for n in range(4, 9)]
    assert found == pytest.approx(levels(SESSION_ERROR, times)[1])


@pytest.mark.parametrize(
    ("count", "family", "shared_by"), [(1, None, 1), (4, None, 4), (4, 10, 10), (4, 2, 4)]
)
def test_the_error_of_the_session_is_shared_by_all_its_comparisons(
    count: int, family: int | None, shared_by: int
) -> None:
    one = comparison([1.0] * 3, [1.0] * 3, least=3, most=3)
    found = [change.level for change in judge_changes([one] * count, family)]
    assert found == pytest.approx([SESSION_ERROR / shared_by] * count)


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


# -- calibration -------------------------------------------------------------------------------------


def session(rng: np.random.Generator, factor: float, spread: float = 0.05) -> Change:
    """One metric, 3 to 8 launches a side as far as it wants them."""
    base, candidate = np.exp(rng.normal(0, spread, (2, 8))) * [[1.0], [factor]]
    for launches in range(3, 9):
        change = judged(base[:launches].tolist(), candidate[:launches].tolist())
        if not change.wants_launch:
            break
    return change


def test_an_unchanged_engine_is_hardly_ever_called_regressed_however_often_one_looks() -> None:
    rng = np.random.default_rng(20240607)
    verdicts = Counter(session(rng, 1.0).verdict for _ in range(300))
    assert verdicts[Verdict.REGRESSED] <= 6
    assert verdicts[Verdict.IMPROVED] <= 6
    assert verdicts[Verdict.PASS] >= 225


def test_a_loss_of_30_percent_is_nearly_always_found() -> None:
    rng = np.random.default_rng(20240608)
    verdicts = Counter(session(rng, 1.3).verdict for _ in range(100))
    assert verdicts[Verdict.REGRESSED] >= 95
    assert verdicts[Verdict.PASS] == 0


P95 = MetricKey("ttft", "p95")


@pytest.fixture(scope="module")
def equal_launches() -> list[tuple[float, float]]:
    """The TTFT p95, and how badly it is known, of launches of 30 requests each, lognormal with σ = 0.5;
    nothing differs between them but chance."""
    rng = np.random.default_rng(20240607)
    launches = []
    for _ in range(800):
        ttfts_ms = 100 * np.exp(rng.normal(0, 0.5, 30))
        run = timeline([answered(START_MS, START_MS + ttft) for ttft in ttfts_ms.tolist()])
        launches.append((summarise(run, Slo(), None)[P95.name], uncertainty(run)[P95.name]))
    return launches


def share_of_alarms(launches: list[tuple[float, float]], *, with_sampling: bool) -> float:
    """Of comparisons of one launch with the next, each with the whole error to itself."""
    verdicts = []
    for (base, base_known), (candidate, known) in zip(launches[::2], launches[1::2], strict=True):
        sampling = math.hypot(base_known, known) / math.sqrt(2) if with_sampling else 0.0
        prior = Prior(P95.metric.spread)
        verdicts.append(judged([base], [candidate], prior=prior, sampling=sampling, least=1, most=1).verdict)
    return verdicts.count(Verdict.REGRESSED) / len(verdicts)


def test_a_tail_of_few_requests_raises_hardly_more_false_alarms(
    equal_launches: list[tuple[float, float]],
) -> None:
    assert share_of_alarms(equal_launches, with_sampling=True) <= 0.015


def test_without_what_the_requests_leave_unknown_it_would_raise_many(
    equal_launches: list[tuple[float, float]],
) -> None:
    assert share_of_alarms(equal_launches, with_sampling=False) > 0.025
