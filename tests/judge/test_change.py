from __future__ import annotations

import dataclasses
import math
import random
import statistics
from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import MetricKey
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.judge.change import Change, compare, launches_to_decide
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.measure.metrics import summarise, uncertainty
from tests.measure.traces import START_MS, answered, timeline

Better = Literal["lower", "higher"]

SIDES = st.lists(st.floats(0.5, 2), min_size=1, max_size=6)
BETTER: st.SearchStrategy[Better] = st.sampled_from(["lower", "higher"])


def judged(
    base: Sequence[float],
    candidate: Sequence[float],
    better: Better = "lower",
    tolerance: float = 0.05,
    sampling: Sequence[float] = (),
) -> Change:
    return compare(base, candidate, better=better, tolerance=tolerance, prior_spread=0.05, sampling=sampling)


# -- the figures -------------------------------------------------------------------------------------


def test_the_interval_is_the_one_of_the_formula_by_hand() -> None:
    # One launch a side: the prior alone, sd 5 % of one launch, t(0.975, 4) = 2.7764451052.
    half = 2.7764451052 * 0.05 * math.sqrt(2)
    change = judged([100], [110])
    assert change.estimate == pytest.approx(0.10)
    assert change.low == pytest.approx(1.1 * math.exp(-half) - 1)
    assert change.high == pytest.approx(1.1 * math.exp(half) - 1)


def test_the_spread_of_the_launches_is_pooled_with_the_prior() -> None:
    # Logarithms ±0.1 around their means: 4 squares of 0.01, with 2 degrees; t(0.975, 6) = 2.4469118511.
    around = [math.exp(-0.1), math.exp(0.1)]
    variance = (4 * 0.05**2 + 4 * 0.1**2) / 6
    half = 2.4469118511 * math.sqrt(variance * (1 / 2 + 1 / 2))
    change = judged(around, around)
    assert (change.low, change.high) == pytest.approx((math.expm1(-half), math.expm1(half)))


def test_either_side_is_shown_by_its_geometric_mean() -> None:
    change = judged([50, 200], [100, 144])
    assert (change.base, change.candidate) == pytest.approx((100, 120))
    assert change.estimate == pytest.approx(0.2)
    assert (change.base_launches, change.candidate_launches) == (2, 2)


def test_what_requests_leave_unknown_is_added_to_the_prior_variance() -> None:
    # One launch a side; the squares of 0.1 and 0.2 have the mean 0.025; t(0.975, 4) = 2.7764451052.
    half = 2.7764451052 * math.sqrt(0.05**2 + 0.025) * math.sqrt(2)
    change = judged([100], [110], sampling=[0.1, 0.2])
    assert change.estimate == pytest.approx(0.10)
    assert (change.low, change.high) == pytest.approx((1.1 * math.exp(-half) - 1, 1.1 * math.exp(half) - 1))


def test_it_is_pooled_with_the_spread_of_the_launches_like_the_prior() -> None:
    # As without it, but for the prior: 4 degrees of 0.05² + 0.1² beside 4 squares of 0.01 with 2 degrees.
    around = [math.exp(-0.1), math.exp(0.1)]
    half = 2.4469118511 * math.sqrt((4 * (0.05**2 + 0.1**2) + 4 * 0.1**2) / 6)
    change = judged(around, around, sampling=[0.1] * 4)
    assert (change.low, change.high) == pytest.approx((math.expm1(-half), math.expm1(half)))


@pytest.mark.parametrize("sampling", [[], [0.0], [0.0] * 6])
def test_requests_that_leave_nothing_unknown_change_nothing(sampling: list[float]) -> None:
    assert judged([100, 103], [110], sampling=sampling) == judged([100, 103], [110])


@given(sampling=st.lists(st.floats(0, 2), min_size=1, max_size=8), more=st.floats(0.01, 1))
def test_the_less_requests_tell_the_wider_the_interval(sampling: list[float], more: float) -> None:
    known = judged([100], [110], sampling=sampling)
    worse = judged([100], [110], sampling=[one + more for one in sampling])
    assert worse.estimate == known.estimate
    assert worse.low < known.low < known.high < worse.high


# -- the verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("factor", "lower_is_better", "higher_is_better"),
    [
        (1.30, Verdict.REGRESSED, Verdict.IMPROVED),
        (1.06, Verdict.INCONCLUSIVE, Verdict.PASS),
        (1.00, Verdict.INCONCLUSIVE, Verdict.INCONCLUSIVE),
        (1 / 1.06, Verdict.PASS, Verdict.INCONCLUSIVE),
        (1 / 1.30, Verdict.IMPROVED, Verdict.REGRESSED),
    ],
)
def test_three_quiet_launches_a_side_tell_large_changes_from_small(
    factor: float, lower_is_better: Verdict, higher_is_better: Verdict
) -> None:
    base, candidate = [100.0] * 3, [100 * factor] * 3
    assert judged(base, candidate, "lower").verdict == lower_is_better
    assert judged(base, candidate, "higher").verdict == higher_is_better


def test_an_equal_engine_passes_once_there_are_launches_enough_to_say_so() -> None:
    assert judged([100.0] * 12, [100.0] * 12).verdict == Verdict.PASS


def test_a_certain_change_within_the_tolerance_passes() -> None:
    change = judged([100.0] * 12, [104.0] * 12, tolerance=0.2)
    assert change.low > 0
    assert change.verdict == Verdict.PASS


def test_a_certain_change_near_the_tolerance_is_left_undecided() -> None:
    change = judged([100.0] * 12, [105.5] * 12, tolerance=0.06)
    assert change.low > 0
    assert change.verdict == Verdict.INCONCLUSIVE


def test_a_certain_gain_within_the_tolerance_is_a_pass_and_no_improvement() -> None:
    change = judged([100.0] * 12, [96.0] * 12, tolerance=0.1)
    assert change.high < 0
    assert change.verdict == Verdict.PASS


@given(base=SIDES, candidate=SIDES, better=BETTER, tolerance=st.floats(0.001, 0.5))
def test_the_regions_are_those_of_the_documentation(
    base: list[float], candidate: list[float], better: Better, tolerance: float
) -> None:
    change = judged(base, candidate, better, tolerance)
    sign = 1 if better == "lower" else -1
    low, high = sorted(sign * math.log1p(end) for end in (change.low, change.high))
    worse, limit = sign * math.log1p(change.estimate), sign * math.log1p(sign * tolerance)
    assert (change.verdict == Verdict.REGRESSED) == (low > 0 and worse > limit)
    assert (change.verdict == Verdict.IMPROVED) == (high < 0 and worse < -limit)
    assert (change.verdict in (Verdict.PASS, Verdict.IMPROVED)) == (high < limit)


# -- invariances -------------------------------------------------------------------------------------


@given(base=SIDES, candidate=SIDES, better=BETTER, scale=st.floats(1e-3, 1e6))
def test_the_unit_of_the_values_does_not_matter(
    base: list[float], candidate: list[float], better: Better, scale: float
) -> None:
    plain = judged(base, candidate, better)
    scaled = judged([v * scale for v in base], [v * scale for v in candidate], better)
    for name in ("estimate", "low", "high"):
        assert getattr(scaled, name) == pytest.approx(getattr(plain, name), abs=1e-9)


@given(base=SIDES, candidate=SIDES, better=BETTER)
def test_swapping_the_sides_turns_the_change_around(
    base: list[float], candidate: list[float], better: Better
) -> None:
    there, back = judged(base, candidate, better), judged(candidate, base, better)
    assert 1 + there.estimate == pytest.approx(1 / (1 + back.estimate))
    assert 1 + there.low == pytest.approx(1 / (1 + back.high))
    assert 1 + there.high == pytest.approx(1 / (1 + back.low))


@given(base=SIDES, candidate=SIDES)
def test_swapping_sides_and_direction_gives_the_same_verdict(
    base: list[float], candidate: list[float]
) -> None:
    less_by_as_much = 1 - 1 / 1.05
    mirrored = judged(candidate, base, "higher", tolerance=less_by_as_much)
    assert judged(base, candidate, "lower", tolerance=0.05).verdict == mirrored.verdict


@given(base=SIDES, candidate=SIDES, better=BETTER)
def test_the_estimate_lies_within_its_interval(
    base: list[float], candidate: list[float], better: Better
) -> None:
    change = judged(base, candidate, better)
    assert -1 < change.low < change.estimate < change.high


@pytest.mark.parametrize(("few", "many"), [(1, 2), (2, 3), (3, 6), (6, 12)])
def test_fewer_launches_know_less(few: int, many: int) -> None:
    def width(launches: int) -> float:
        change = judged([1.0] * launches, [1.1] * launches)
        return change.high - change.low

    assert width(few) > width(many)


@given(base=st.lists(st.floats(0.5, 2), min_size=2, max_size=6), apart=st.floats(1.05, 3))
def test_launches_that_lie_further_apart_know_less(base: list[float], apart: float) -> None:
    middle = math.exp(statistics.fmean(map(math.log, base)))
    tame, wide = [*base, middle, middle], [*base, middle * apart, middle / apart]
    assert _log_width(judged(wide, wide)) > _log_width(judged(tame, tame))


def _log_width(change: Change) -> float:
    return math.log1p(change.high) - math.log1p(change.low)


@pytest.mark.parametrize(("base", "candidate"), [([], [1.0]), ([1.0], []), ([], [])])
def test_a_side_without_a_launch_is_refused(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="at least one launch on either side"):
        judged(base, candidate)


@pytest.mark.parametrize(("base", "candidate"), [([0.0], [1.0]), ([1.0], [1.0, -1.0])])
def test_values_without_a_logarithm_are_refused(base: list[float], candidate: list[float]) -> None:
    with pytest.raises(ValueError, match="positive values"):
        judged(base, candidate)


# -- calibration -------------------------------------------------------------------------------------


def shares_of_verdicts(
    factor: float, *, spread: float = 0.05, launches: int = 3, simulations: int = 3000
) -> dict[Verdict, float]:
    rng = random.Random(20240607)

    def side(mean: float) -> list[float]:
        return [mean * math.exp(rng.gauss(0, spread)) for _ in range(launches)]

    found = Counter(judged(side(100), side(100 * factor)).verdict for _ in range(simulations))
    return {verdict: found[verdict] / simulations for verdict in Verdict}


def test_an_unchanged_engine_is_hardly_ever_called_regressed() -> None:
    shares = shares_of_verdicts(1.0)
    assert shares[Verdict.REGRESSED] <= 0.03
    assert shares[Verdict.IMPROVED] <= 0.03


def test_a_loss_of_30_percent_is_nearly_always_caught() -> None:
    assert shares_of_verdicts(1.3)[Verdict.REGRESSED] >= 0.95


def test_a_loss_of_30_percent_is_never_waved_through() -> None:
    shares = shares_of_verdicts(1.3, launches=1, simulations=1000)
    assert shares[Verdict.PASS] + shares[Verdict.IMPROVED] == 0


def test_one_launch_a_side_raises_hardly_more_false_alarms() -> None:
    assert shares_of_verdicts(1.0, launches=1)[Verdict.REGRESSED] <= 0.03


@pytest.mark.parametrize(("launches", "spread"), [(2, 0.05), (3, 0.05), (5, 0.03)])
def test_the_interval_covers_the_truth_about_as_often_as_it_says(launches: int, spread: float) -> None:
    rng = random.Random(7)
    simulations = 2000
    covered = 0
    for _ in range(simulations):
        base, candidate = (
            [mean * math.exp(rng.gauss(0, spread)) for _ in range(launches)] for mean in (100, 120)
        )
        change = judged(base, candidate)
        covered += change.low <= 0.2 <= change.high
    assert covered / simulations >= 0.935


@pytest.fixture(scope="module")
def equal_launches() -> list[tuple[float, float]]:
    """The TTFT p95, and how badly it is known, of launches of 30 requests each, lognormal with σ = 0.5;
    nothing differs between them but chance."""
    rng = np.random.default_rng(20240607)
    launches = []
    for _ in range(2 * COMPARISONS):
        ttfts_ms = 100 * np.exp(rng.normal(0, 0.5, 30))
        run = timeline([answered(START_MS, START_MS + ttft) for ttft in ttfts_ms.tolist()])
        launches.append((summarise(run, Slo(), None)[P95.name], uncertainty(run)[P95.name]))
    return launches


COMPARISONS = 1500
P95 = MetricKey("ttft", "p95")


def share_of_alarms(launches: list[tuple[float, float]], *, with_sampling: bool) -> float:
    """How many comparisons of one launch with the next end in ``regressed``."""
    verdicts = Counter(
        compare(
            [base],
            [candidate],
            better="lower",
            tolerance=0.05,
            prior_spread=P95.metric.spread,
            sampling=[base_known, candidate_known] if with_sampling else (),
        ).verdict
        for (base, base_known), (candidate, candidate_known) in zip(
            launches[::2], launches[1::2], strict=True
        )
    )
    assert verdicts.total() == COMPARISONS
    return verdicts[Verdict.REGRESSED] / COMPARISONS


def test_a_tail_of_few_requests_raises_hardly_more_false_alarms(
    equal_launches: list[tuple[float, float]],
) -> None:
    assert share_of_alarms(equal_launches, with_sampling=True) <= 0.04


def test_without_what_the_requests_leave_unknown_it_would_raise_many(
    equal_launches: list[tuple[float, float]],
) -> None:
    assert share_of_alarms(equal_launches, with_sampling=False) > 0.06


# -- what would decide it ----------------------------------------------------------------------------


def test_more_launches_would_decide_what_is_well_off_the_tolerance() -> None:
    change = judged([100.0] * 2, [108.0] * 2)
    assert change.verdict == Verdict.INCONCLUSIVE
    needed = launches_to_decide(change)
    assert needed is not None
    assert needed > 2
    assert judged([100.0] * needed, [108.0] * needed).verdict != Verdict.INCONCLUSIVE


def test_it_asks_for_more_than_the_larger_side_already_had() -> None:
    undecided = judged([100.0, 112.0, 90.0, 101.0, 122.0], [103.0])
    assert undecided.verdict == Verdict.INCONCLUSIVE
    assert (launches_to_decide(undecided) or 99) > 5


def test_no_number_of_launches_decides_what_lies_on_the_tolerance() -> None:
    assert launches_to_decide(judged([100.0], [105.0])) is None


def test_it_never_asks_for_more_than_the_most() -> None:
    change = judged([100.0], [100.0])
    needed = launches_to_decide(change)
    assert needed is not None
    assert launches_to_decide(change, most=needed) == needed
    assert launches_to_decide(change, most=needed - 1) is None


@given(base=SIDES, candidate=SIDES)
def test_the_direction_of_the_metric_does_not_change_what_is_needed(
    base: list[float], candidate: list[float]
) -> None:
    lower = judged(base, candidate, "lower")
    mirrored = dataclasses.replace(
        lower, better="higher", estimate=1 / (1 + lower.estimate) - 1, tolerance=1 - 1 / (1 + lower.tolerance)
    )
    assert launches_to_decide(lower) == launches_to_decide(mirrored)
