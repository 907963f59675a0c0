"""What a load point is judged by beside changes: limits of an SLO, of each kind of load."""

from __future__ import annotations

import dataclasses

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.result import Run
from tests.judged import POINT, STEADY, WORKLOAD, Judges, Test, judge, play, run

__all__ = ["judge"]


# -- SLOs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "verdict"), [(200, Verdict.PASS), (50, Verdict.SLO_BROKEN)])
def test_a_clear_slo_takes_one_launch(judge: Judges, limit: float, verdict: Verdict) -> None:
    test = Test(ttft_p50_ms=limit)
    assert play(judge(), test, None, [100.0] * 8) == 1
    assert test.result.verdict is verdict


def test_an_slo_near_its_limit_is_launched_again_until_it_is_clear(judge: Judges) -> None:
    test = Test(ttft_p50_ms=108)
    assert 1 < play(judge(), test, None, [100 * v for v in STEADY]) <= 8
    assert test.result.verdict is Verdict.PASS


def test_the_more_limits_a_session_has_the_surer_one_has_to_be_broken(judge: Judges) -> None:
    def verdict(others: int) -> Verdict:
        tests = [Test(f"test_{number}", ttft_p50_ms=140 if number else 70) for number in range(1 + others)]
        for test in tests:
            test.launch(100.0)
        judge(launches="1").judge([test.result for test in tests])
        return tests[0].result.verdict

    assert verdict(0) is Verdict.SLO_BROKEN
    assert verdict(40) is Verdict.INCONCLUSIVE


def test_an_slo_on_its_limit_stays_undecided(judge: Judges) -> None:
    test = Test(ttft_p50_ms=100.1)
    assert play(judge(), test, None, [100 * v for v in STEADY]) == 8
    assert test.result.verdict is Verdict.INCONCLUSIVE


# -- what a load point is judged by -----------------------------------------------------------------------


def found(capacity: float, number: int = 1) -> Run:
    measured = run(number, capacity_per_s=capacity).measurement
    return Run(number, number, dataclasses.replace(measured, values={"capacity_per_s": capacity}), {})


SEARCH = LoadPoint(duration_s=5.0, seeks="TTFT p95 ≤ 300 ms")


@pytest.mark.parametrize(("capacity", "verdict"), [(15.0, Verdict.PASS), (7.0, Verdict.SLO_BROKEN)])
def test_a_capacity_has_a_limit_of_its_own_and_is_judged_by_no_other(
    judge: Judges, capacity: float, verdict: Verdict
) -> None:
    test = Test(ttft_ms=300, capacity_per_s=10)
    for number in (1, 2, 3):
        test.result.add(WORKLOAD, SEARCH, found(capacity, number))
    judge(launches="3").judge([test.result])
    (point,) = test.result.points.values()
    assert [objective.limit.key.name for objective in point.objectives] == ["capacity_per_s"]
    assert test.result.verdict is verdict


def test_a_capacity_that_got_smaller_is_a_regression(judge: Judges) -> None:
    test = Test()
    for number in range(1, 5):
        test.result.add(WORKLOAD, SEARCH, found(10.1 * STEADY[number], number))
        test.result.add(WORKLOAD, SEARCH, found(11.8 * STEADY[number], number), of_base=True)
    judge(against="vllm==1", gate="ttft_p50_ms, capacity_per_s").judge([test.result])
    (point,) = test.result.points.values()
    assert [key.name for key in point.changes] == ["capacity_per_s"]
    assert test.result.verdict is Verdict.REGRESSED
    assert "not compared" not in test.result.baseline


def test_what_a_sweep_explores_breaks_no_limit_and_asks_for_no_launch(judge: Judges) -> None:
    test = Test(ttft_p50_ms=300)
    for number in (1, 2, 3):
        test.result.add(WORKLOAD, POINT, run(number, ttft_p50_ms=900.0), is_explored=True)
    judge().judge([test.result])
    (point,) = test.result.points.values()
    assert point.objectives[0].verdict is Verdict.SLO_BROKEN
    assert test.result.verdict is Verdict.PASS
    assert not test.result.wants_launch


def test_a_limit_that_nothing_has_to_do_with_is_an_error_and_not_met(judge: Judges) -> None:
    test = Test(capacity_per_s=10)
    test.launch(100.0)
    judge().judge([test.result])
    assert test.result.verdict is Verdict.INVALID
    assert "llmperf.capacity(…) searches for it" in str(test.result.error)


def test_a_batch_is_judged_by_the_whole_run(judge: Judges) -> None:
    test = Test(output_tokens_per_s=100)
    values = {"ttft_p50_ms": 900.0, "output_tokens_per_s": 500.0}
    test.result.add(WORKLOAD, LoadPoint.of_batch(10), run(1, 100, **values))
    judge(launches="1").judge([test.result])
    (point,) = test.result.points.values()
    assert [o.limit.key.name for o in point.objectives] == ["output_tokens_per_s", "error_rate"]
    assert test.result.verdict is Verdict.PASS
    late = Test(ttft_ms=300)
    late.result.add(WORKLOAD, LoadPoint.of_batch(10), run(1, 100, **values))
    judge().judge([late.result])
    assert late.result.verdict is Verdict.INVALID
    assert "TTFT p95 ≤ 300 ms cannot be judged" in str(late.result.error)


@pytest.mark.parametrize(
    ("environment", "way_out"),
    [
        (
            {"place": "local process", "accelerators": "NVIDIA L40"},
            "it has no value there, for no price of NVIDIA L40 is known: give a file with one "
            "(--llmperf-prices)",
        ),
        (
            {"place": "http://h"},
            "it has no value there, for no GPU is known that has a price (the engine runs on the CPU, or at "
            "a URL): put the limit on output_tokens_per_s",
        ),
    ],
)
def test_a_limit_on_a_cost_without_a_price_says_what_to_do(
    judge: Judges, environment: dict[str, str], way_out: str
) -> None:
    test = Test(cost_usd_per_mtok=0.5)
    test.result.environment = environment
    test.launch(40.0)
    judge().judge([test.result])
    assert test.result.verdict is Verdict.INVALID
    assert test.result.error == (
        f"the SLO cost ≤ $0.50/M tokens cannot be judged at {POINT.label}: {way_out}"
    )


def test_a_cost_is_judged_as_any_other_figure_of_a_run(judge: Judges) -> None:
    for cost, verdict in ((0.2, Verdict.PASS), (2.0, Verdict.SLO_BROKEN)):
        test = Test(cost_usd_per_mtok=0.5)
        test.result.add(WORKLOAD, POINT, run(1, cost_usd_per_mtok=cost))
        judge(gate="ttft_p50_ms").judge([test.result])
        assert test.result.verdict is verdict
