from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.declare.metrics import parse_metric
from pytest_llmperf.declare.slo import Limit
from pytest_llmperf.judge.objective import Objective, judge_limit, mean_value
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict

PRIOR = Prior(0.05)
VALUES = st.lists(st.floats(0.01, 1e5), min_size=1, max_size=8)
QUANTITIES = st.sampled_from(["ttft_ms", "requests_per_s"])
ENDS = {Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.SLO_BROKEN}


def limit(name: str, value: float) -> Limit:
    return Limit(parse_metric(name), value)


def judged(
    name: str,
    bound: float,
    values: list[float],
    prior: Prior = PRIOR,
    sampling: float = 0.0,
    requests: int = 0,
) -> Objective:
    return judge_limit(limit(name, bound), values, prior, sampling, requests)


# -- the figures -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bound", "values", "value", "margin", "missed"),
    [
        ("ttft_ms", 300, [240], 240, 0.2, 0),
        ("ttft_ms", 300, [300], 300, 0.0, 0),
        ("ttft_ms", 300, [360], 360, -0.2, 1),
        ("ttft_ms", 300, [100, 400], 200, 1 / 3, 1),
        ("ttft_ms", 300, [200, 800], 400, -1 / 3, 1),
        ("output_tokens_per_s", 100, [120], 120, 0.2, 0),
        ("output_tokens_per_s", 100, [100], 100, 0.0, 0),
        ("output_tokens_per_s", 100, [50, 128], 80, -0.2, 1),
        ("goodput", 0.9, [1.0, 0.8], 0.9, 0.0, 1),
        ("goodput", 0.8, [0.5, 0.5], 0.5, -0.375, 2),
        ("error_rate", 0.02, [0.0, 0.04], 0.02, 0.0, 1),
    ],
)
def test_a_limit_is_judged_on_the_mean_of_its_launches(
    name: str, bound: float, values: list[float], value: float, margin: float, missed: int
) -> None:
    objective = judged(name, bound, values)
    assert objective.value == pytest.approx(value, rel=1e-12)
    assert objective.margin == pytest.approx(margin, abs=1e-12)
    assert (objective.launches, objective.missed) == (len(values), missed)


def test_one_launch_knows_the_prior_and_nothing_else() -> None:
    # t(0.975, 4) = 2.7764451052.
    objective = judged("ttft_ms", 300, [200])
    half = 2.7764451052 * 0.05
    assert (objective.low, objective.high) == pytest.approx((200 * math.exp(-half), 200 * math.exp(half)))


def test_the_spread_of_the_launches_is_averaged_with_the_prior() -> None:
    # Logarithms ±0.1 around their mean: 2 squares of 0.01 with 1 degree; t(0.975, 5) = 2.5705818356.
    objective = judged("ttft_ms", 300, [200 * math.exp(-0.1), 200 * math.exp(0.1)])
    half = 2.5705818356 * math.sqrt((4 * 0.05**2 + 2 * 0.1**2) / 5 / 2)
    assert (objective.low, objective.high) == pytest.approx((200 * math.exp(-half), 200 * math.exp(half)))


def test_what_the_requests_leave_unknown_widens_the_interval() -> None:
    objective = judged("ttft_ms", 300, [200], sampling=0.12)
    half = 2.7764451052 * 0.13
    assert (objective.low, objective.high) == pytest.approx((200 * math.exp(-half), 200 * math.exp(half)))


@pytest.mark.parametrize(
    ("met", "requests", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (1, 29, 0.0061, 0.1718)],
)
def test_the_interval_of_a_share_is_wilsons_as_published(
    met: int, requests: int, low: float, high: float
) -> None:
    """Newcombe (1998), "Two-sided confidence intervals for the single proportion", table I, method 3."""
    objective = judged("goodput", 0.9, [met / requests], requests=requests)
    assert (objective.low, objective.high) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("share", "requests"), [(0.0, 20), (1.0, 20), (0.7, 0)])
def test_a_perfect_record_counts_as_it_is_and_so_does_a_share_of_unknown_requests(
    share: float, requests: int
) -> None:
    objective = judged("goodput", 0.9, [share, share], requests=requests)
    assert objective.low == objective.value == objective.high == share


def test_quantities_with_a_zero_among_them_have_an_arithmetic_mean_and_no_interval() -> None:
    objective = judged("tpot_ms", 10, [0.0, 8.0])
    assert objective.low == objective.value == objective.high == 4.0
    assert objective.verdict == Verdict.PASS


@settings(deadline=None)
@given(value=st.floats(0.01, 1e5))
def test_the_mean_of_one_launch_is_its_value_to_the_last_digit(value: float) -> None:
    assert mean_value(parse_metric("ttft_ms"), [value]) == value


def test_without_a_launch_there_is_nothing_to_judge() -> None:
    with pytest.raises(ValueError, match="no launch has a value"):
        judged("ttft_ms", 300, [])


# -- the verdicts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "values", "verdict"),
    [
        ("ttft_ms", [200.0], Verdict.PASS),
        ("ttft_ms", [290.0], Verdict.INCONCLUSIVE),
        ("ttft_ms", [310.0], Verdict.INCONCLUSIVE),
        ("ttft_ms", [400.0], Verdict.SLO_BROKEN),
        ("requests_per_s", [400.0], Verdict.PASS),
        ("requests_per_s", [310.0], Verdict.INCONCLUSIVE),
        ("requests_per_s", [290.0], Verdict.INCONCLUSIVE),
        ("requests_per_s", [200.0], Verdict.SLO_BROKEN),
    ],
)
def test_a_limit_within_the_interval_is_undecided(name: str, values: list[float], verdict: Verdict) -> None:
    assert judged(name, 300, values).verdict == verdict


@pytest.mark.parametrize("value", [285.0, 320.0])
def test_more_launches_decide_it(value: float) -> None:
    assert judged("ttft_ms", 300, [value]).verdict == Verdict.INCONCLUSIVE
    assert judged("ttft_ms", 300, [value] * 8).verdict in {Verdict.PASS, Verdict.SLO_BROKEN}


def test_a_wild_launch_leaves_it_undecided() -> None:
    assert judged("ttft_ms", 300, [200.0, 201.0, 200.0]).verdict == Verdict.PASS
    assert judged("ttft_ms", 300, [200.0, 201.0, 900.0]).verdict == Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("bound", "share", "requests", "verdict"),
    [
        (0.9, 0.99, 500, Verdict.PASS),
        (0.9, 0.92, 50, Verdict.INCONCLUSIVE),
        (0.9, 0.92, 5000, Verdict.PASS),
        (0.9, 0.88, 50, Verdict.INCONCLUSIVE),
        (0.9, 0.88, 5000, Verdict.SLO_BROKEN),
        (1.0, 1.0, 50, Verdict.PASS),
        (1.0, 0.98, 50, Verdict.SLO_BROKEN),
    ],
)
def test_a_share_is_as_certain_as_its_requests_are_many(
    bound: float, share: float, requests: int, verdict: Verdict
) -> None:
    assert judged("goodput", bound, [share], requests=requests).verdict == verdict


@pytest.mark.parametrize(
    ("values", "verdict"), [([0.0, 0.0], Verdict.PASS), ([0.0, 0.001], Verdict.SLO_BROKEN)]
)
def test_one_failed_request_breaks_a_limit_of_zero(values: list[float], verdict: Verdict) -> None:
    objective = judged("error_rate", 0, values, requests=1000)
    assert (objective.verdict, objective.margin) == (verdict, None)


@settings(deadline=None)
@given(values=VALUES, bound=st.floats(0.01, 1e5), name=QUANTITIES)
def test_the_verdict_is_that_of_both_ends(values: list[float], bound: float, name: str) -> None:
    objective = judged(name, bound, values)
    ends = {objective.limit.met_by(objective.low), objective.limit.met_by(objective.high)}
    decided = Verdict.PASS if True in ends else Verdict.SLO_BROKEN
    assert objective.verdict == (decided if len(ends) == 1 else Verdict.INCONCLUSIVE)


@settings(deadline=None)
@given(values=VALUES, bound=st.floats(0.01, 1e5), name=QUANTITIES)
def test_the_value_lies_within_its_interval(values: list[float], bound: float, name: str) -> None:
    objective = judged(name, bound, values)
    assert 0 < objective.low < objective.value < objective.high


@settings(deadline=None)
@given(values=VALUES, bound=st.floats(0.01, 1e5), name=QUANTITIES)
def test_what_every_launch_meets_is_not_broken_and_what_every_launch_misses_no_pass(
    values: list[float], bound: float, name: str
) -> None:
    objective = judged(name, bound, values)
    if min(abs(math.log(value / bound)) for value in values) > 1e-9:
        assert objective.missed != 0 or objective.verdict != Verdict.SLO_BROKEN
        assert objective.missed != len(values) or objective.verdict != Verdict.PASS


@settings(deadline=None)
@given(
    share=st.floats(0, 1),
    requests=st.integers(0, 10_000),
    bound=st.floats(0, 1),
    name=st.sampled_from(["goodput", "error_rate"]),
)
def test_the_interval_of_a_share_is_one_of_shares(
    share: float, requests: int, bound: float, name: str
) -> None:
    objective = judged(name, bound, [share], requests=requests)
    assert -1e-12 <= objective.low <= share + 1e-12
    assert share - 1e-12 <= objective.high <= 1 + 1e-12
    assert objective.verdict in ENDS


@settings(deadline=None)
@given(values=VALUES, unit=st.floats(1e-3, 1e3))
def test_the_unit_does_not_matter(values: list[float], unit: float) -> None:
    plain, scaled = judged("ttft_ms", 300, values), judged("ttft_ms", 300 * unit, [unit * v for v in values])
    assert (scaled.low, scaled.high) == pytest.approx((unit * plain.low, unit * plain.high))


# -- calibration -------------------------------------------------------------------------------------


@pytest.mark.parametrize("launches", [1, 3, 8])
def test_the_interval_covers_the_truth_as_often_as_it_says(launches: int) -> None:
    rng = np.random.default_rng(launches)
    within = 0
    for spread in (0.05 * np.sqrt(4 / rng.chisquare(4, 2000))).tolist():
        objective = judged("ttft_ms", 300, (200 * np.exp(rng.normal(0, spread, launches))).tolist())
        within += objective.low <= 200 <= objective.high
    assert 0.935 <= within / 2000 <= 0.965


def test_who_lies_on_the_limit_is_rarely_called_either() -> None:
    rng = np.random.default_rng(9)
    verdicts = [
        judged("ttft_ms", 300, (300 * np.exp(rng.normal(0, 0.05, 3))).tolist()).verdict for _ in range(2000)
    ]
    assert verdicts.count(Verdict.PASS) / 2000 <= 0.03
    assert verdicts.count(Verdict.SLO_BROKEN) / 2000 <= 0.03
