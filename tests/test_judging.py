from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.settings import Settings
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.judging import Judge
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines
from pytest_llmperf.keep.result import Run, TestResult
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

WORKLOAD, POINT = Workload(input_tokens=16, output_tokens=8), LoadPoint(rate=1.0, duration_s=5.0)
HERE = {"place": "local"}
STEADY = [1.0, 1.004, 0.997, 1.002, 0.999, 1.003, 0.998, 1.001]


def settings(**said: str) -> Settings:
    options = {name.replace("_", "-"): text for name, text in said.items() if name != "update"}
    return Settings.resolve({"gate": "ttft_p50_ms", **options}, {}, {}, update="update" in said)


def run(number: int, requests: int = 100, **values: float) -> Run:
    measurement = Measurement(
        workload=WORKLOAD,
        point=POINT,
        requests=requests,
        values={"error_rate": 0.0, **values},
        errors={},
        health=HEALTH,
        uncertainty=dict.fromkeys(values, 0.01),
    )
    return Run(number, number, measurement, {})


class Test:
    """One test of a session: launches are added, side by side or not, and it is judged."""

    __test__ = False

    def __init__(self, name: str = "test_a", engine: str = "vllm", **limits: float) -> None:
        self.result = TestResult(f"tests/test_it.py::{name}", Slo.of(limits))
        self.result.subject, self.result.subject_text = {"engine": engine, "version": "2"}, "vllm==2"
        self.result.base_subject, self.result.base_subject_text = (
            {"engine": engine, "version": "1"},
            "vllm==1",
        )
        self.result.environment = HERE

    def launch(self, ttft: float, base: float | None = None) -> None:
        number = self.result.rounds + 1
        self.result.add(WORKLOAD, POINT, run(number, ttft_p50_ms=ttft))
        if base is not None:
            self.result.add(WORKLOAD, POINT, run(number, ttft_p50_ms=base), of_base=True)


Judges = Callable[..., Judge]


@pytest.fixture
def judge(tmp_path: Path) -> Judges:
    def make(**said: str) -> Judge:
        return Judge(settings(**said), Baselines(tmp_path))

    return make


@pytest.fixture
def accept(tmp_path: Path) -> Callable[[Sequence[float]], None]:
    def write(values: Sequence[float]) -> None:
        test = Test()
        for value in values:
            test.launch(value)
        judged = Judge(settings(update="yes", launches=str(len(values))), Baselines(tmp_path))
        judged.judge([test.result])
        judged.accept(test.result)

    return write


def stored(directory: Path) -> Baseline:
    found = Baselines(directory).find("tests/test_it.py::test_a", HERE)
    assert found is not None
    return found


def play(judge: Judge, test: Test, base: Sequence[float] | None, candidate: Sequence[float]) -> int:
    """Launch as long as the test wants it, out of what there is; how many there were."""
    for number, value in enumerate(candidate):
        test.launch(value, None if base is None else base[number])
        judge.judge([test.result])
        if not test.result.wants_launch:
            return number + 1
    return len(candidate)


# -- side by side ------------------------------------------------------------------------------------


def test_equal_sides_pass_after_the_fewest_launches(judge: Judges) -> None:
    test = Test()
    assert play(judge(against="vllm==1"), test, [100 * v for v in STEADY], [100 / v for v in STEADY]) == 3
    assert test.result.verdict is Verdict.PASS
    assert test.result.is_compared
    assert test.result.baseline == "measured side by side with vllm==1"
    assert test.result.subject_differences == ["version: 1 → 2"]
    entry = test.result.as_json()["compared_with"]
    assert (entry["kind"], entry["text"], entry["launches"]) == ("side by side", "vllm==1", 3)


def test_a_suspect_is_launched_again_before_it_fails(judge: Judges) -> None:
    test = Test()
    launches = play(judge(against="vllm==1"), test, [100 * v for v in STEADY], [200 * v for v in STEADY])
    assert 3 < launches < 8
    assert test.result.verdict is Verdict.REGRESSED


def test_what_cannot_be_decided_ends_with_the_most_launches(judge: Judges) -> None:
    test = Test()
    candidate = [104.5 * v for v in STEADY]
    assert play(judge(against="vllm==1", launches="3..5"), test, [100 * v for v in STEADY], candidate) == 5
    assert test.result.verdict is Verdict.INCONCLUSIVE


def test_a_fixed_number_of_launches_is_looked_at_once(judge: Judges) -> None:
    test = Test()
    sides = [100 * v for v in STEADY], [200 * v for v in STEADY]
    assert play(judge(against="vllm==1", launches="4"), test, *sides) == 4
    assert test.result.verdict is Verdict.REGRESSED


def test_tests_of_a_session_tell_each_other_how_far_launches_are_apart(judge: Judges) -> None:
    def low_of_the_first(others: int) -> float:
        tests = [Test(f"test_{number}") for number in range(1 + others)]
        for number, test in enumerate(tests):
            for turn in range(3):
                test.launch(100 * STEADY[(3 * number + turn) % 8], 100 * STEADY[(5 * turn + number) % 8])
        judge(against="vllm==1").judge([test.result for test in tests])
        (point,) = tests[0].result.points.values()
        (change,) = point.changes.values()
        return change.low

    assert low_of_the_first(9) > low_of_the_first(0)


def test_a_test_that_is_over_keeps_its_verdict_and_still_tells_about_spreads(judge: Judges) -> None:
    over, other = Test("test_over"), Test("test_other")
    for value in STEADY[:3]:
        over.launch(100 / value, 100 * value)
        other.launch(100 / value, 100 * value)
    judging = judge(against="vllm==1")
    judging.judge([over.result, other.result])
    over.result.is_over, over.result.verdict = True, Verdict.REGRESSED
    (point,) = over.result.points.values()
    before = dict(point.changes)
    other.launch(100, 100)
    judging.judge([over.result, other.result])
    assert over.result.verdict is Verdict.REGRESSED
    assert point.changes == before


def test_the_tolerance_is_the_tests_own(judge: Judges) -> None:
    def verdict(tolerance: str) -> Verdict:
        test, said = Test(), settings(against="vllm==1", tolerance=tolerance)
        test.result.tolerances = said.tolerances
        play(judge(against="vllm==1"), test, [100 * v for v in STEADY], [112 * v for v in STEADY])
        return test.result.verdict

    assert verdict("5%") is Verdict.REGRESSED
    assert verdict("5% ttft_p50_ms=30%") is Verdict.PASS


def make_late(test: Test, number: int, *, of_base: bool = False, is_late: bool = True) -> None:
    (point,) = test.result.points.values()
    runs = point.base_runs if of_base else point.runs
    health = dataclasses.replace(HEALTH, problems=("read late",), is_late=is_late)
    measurement = dataclasses.replace(runs[number].measurement, health=health)
    runs[number] = dataclasses.replace(runs[number], measurement=measurement)


def test_unhealthy_runs_of_the_base_make_a_test_invalid_as_well(judge: Judges) -> None:
    test = Test()
    test.launch(100, 100)
    make_late(test, 0, of_base=True)
    judge(against="vllm==1").judge([test.result])
    assert test.result.verdict is Verdict.INVALID
    assert "launch 1 of the base: read late" in (test.result.error or "")
    assert not test.result.wants_launch


@pytest.mark.parametrize("of_base", [True, False])
def test_a_run_that_was_late_is_left_out_and_made_up_for(judge: Judges, of_base: bool) -> None:
    test, judging = Test(), judge(against="vllm==1")
    for value in STEADY[:3]:
        test.launch(100 * value, 100 / value)
    make_late(test, 1, of_base=of_base)
    judging.judge([test.result])
    assert test.result.wants_launch
    assert len(test.result.left_out) == 1
    assert "read late" in test.result.left_out[0]
    test.launch(100, 100)
    judging.judge([test.result])
    assert not test.result.wants_launch
    assert test.result.verdict is Verdict.PASS


def test_what_fails_again_and_again_is_invalid(judge: Judges) -> None:
    test = Test()
    for value in STEADY[:4]:
        test.launch(100 * value, 100 / value)
    make_late(test, 1)
    make_late(test, 3)
    judge(against="vllm==1").judge([test.result])
    assert test.result.verdict is Verdict.INVALID


def test_what_is_wrong_for_another_reason_is_not_tried_again(judge: Judges) -> None:
    test = Test()
    for value in STEADY[:3]:
        test.launch(100 * value, 100 / value)
    make_late(test, 1, is_late=False)
    judge(against="vllm==1").judge([test.result])
    assert test.result.verdict is Verdict.INVALID


def test_a_look_that_is_the_last_may_say_what_the_first_may_not(judge: Judges) -> None:
    test, judging = Test(), judge(against="vllm==1")
    for value in STEADY[:3]:
        test.launch(300 * value, 100 * value)
    judging.judge([test.result])
    assert (test.result.verdict, test.result.wants_launch) == (Verdict.INCONCLUSIVE, True)
    test.result.is_last_look = True
    judging.judge([test.result])
    assert test.result.verdict is Verdict.REGRESSED


def test_what_has_no_value_to_compare_is_told_and_keeps_a_strict_gate_shut(judge: Judges) -> None:
    test = Test()
    play(judge(against="vllm==1", inconclusive="fail"), test, [100.0] * 8, [0.0] * 8)
    assert test.result.verdict is Verdict.INCONCLUSIVE
    assert "not compared: TTFT p50 at 1/s" in test.result.baseline


# -- a stored baseline -------------------------------------------------------------------------------


def test_without_a_baseline_one_launch_is_enough_and_the_way_to_one_is_told(judge: Judges) -> None:
    test = Test()
    assert play(judge(), test, None, [100.0] * 8) == 1
    assert test.result.verdict is Verdict.PASS
    assert test.result.baseline == "no baseline yet (--llmperf-update accepts one)"
    assert test.result.compared_with is None


def test_what_is_to_be_accepted_has_three_launches(judge: Judges) -> None:
    test = Test()
    assert play(judge(update="yes"), test, None, [100.0] * 8) == 3


def test_a_baseline_of_several_launches_decides(
    judge: Judges, accept: Callable[[Sequence[float]], None]
) -> None:
    accept([100 * v for v in STEADY[:5]])
    same, worse = Test(), Test()
    assert play(judge(), same, None, [100 / v for v in STEADY]) == 3
    assert same.result.verdict is Verdict.PASS
    play(judge(), worse, None, [200 * v for v in STEADY])
    assert worse.result.verdict is Verdict.REGRESSED


def test_a_weak_baseline_is_called_so(judge: Judges, accept: Callable[[Sequence[float]], None]) -> None:
    accept([100.0])
    test = Test()
    test.launch(100.0)
    judge().judge([test.result])
    assert "the baseline is weak" in test.result.baseline


def test_small_steps_that_were_accepted_cannot_creep_past(
    judge: Judges, accept: Callable[[Sequence[float]], None], tmp_path: Path
) -> None:
    for level in (100.0, 101.2, 102.4, 103.6, 104.8):
        accept([level * v for v in STEADY[:6]])
    test = Test()
    play(judge(), test, None, [108.5 * v for v in STEADY])
    (point,) = test.result.points.values()
    (change,) = point.changes.values()
    assert change.verdict is not Verdict.REGRESSED
    (creep,) = point.creep.values()
    assert creep.change is not None
    assert creep.change.estimate == pytest.approx(0.085, abs=0.005)
    assert creep.steps == 4
    assert test.result.verdict is Verdict.REGRESSED


def test_who_accepts_what_crept_begins_anew(
    accept: Callable[[Sequence[float]], None], tmp_path: Path
) -> None:
    (key,) = [f"{WORKLOAD}, {POINT.key}"]
    accept([100 * v for v in STEADY[:6]])
    accept([103 * v for v in STEADY[:6]])
    assert stored(tmp_path).origin(key, "ttft_p50_ms") is not None
    accept([150 * v for v in STEADY[:6]])
    assert stored(tmp_path).origin(key, "ttft_p50_ms") is None


def test_who_accepts_what_is_worse_is_told_so(
    judge: Judges, accept: Callable[[Sequence[float]], None]
) -> None:
    accept([100 * v for v in STEADY[:6]])
    test, judging = Test(), judge(update="yes", launches="6")
    play(judging, test, None, [150 * v for v in STEADY])
    judging.accept(test.result)
    assert test.result.verdict is Verdict.PASS
    assert "; accepted although worse: TTFT p50 at 1/s +50%" in test.result.baseline


def test_a_step_beyond_the_tolerance_is_accepted_on_purpose_however_sure_it_is(
    accept: Callable[[Sequence[float]], None], tmp_path: Path
) -> None:
    accept([100.0, 110.0, 92.0])
    accept([104.0, 118.0, 104.0])
    assert stored(tmp_path).origin(f"{WORKLOAD}, {POINT.key}", "ttft_p50_ms") is None


def test_what_is_accepted_is_not_compared_with_itself_later(judge: Judges, tmp_path: Path) -> None:
    test, judging = Test(), judge(update="yes")
    play(judging, test, None, [100.0] * 3)
    judging.accept(test.result)
    test.result.is_over = True
    other = Test("test_b")
    other.launch(100.0)
    judging.judge([test.result, other.result])
    (point,) = test.result.points.values()
    assert not point.changes
    assert test.result.compared_with is None


def test_what_crept_and_is_undecided_keeps_a_test_undecided(
    judge: Judges, accept: Callable[[Sequence[float]], None]
) -> None:
    accept([100 * v for v in STEADY[:6]])
    accept([102.5 * v for v in STEADY[:6]])
    test = Test()
    play(judge(launches="3..4"), test, None, [104.8 * v for v in STEADY])
    (point,) = test.result.points.values()
    (change,) = point.changes.values()
    assert change.verdict is Verdict.PASS
    assert test.result.verdict is Verdict.INCONCLUSIVE
    assert "undecided against what it grew from: TTFT p50 at 1/s, since" in test.result.baseline


def test_a_broken_slo_is_not_accepted(judge: Judges, tmp_path: Path) -> None:
    test = Test(ttft_p50_ms=50)
    judging = judge(update="yes")
    play(judging, test, None, [100.0] * 8)
    judging.accept(test.result)
    assert test.result.verdict is Verdict.SLO_BROKEN
    assert "not accepted" in test.result.baseline
    assert not list(tmp_path.iterdir())


def test_a_gate_that_must_decide_fails_where_there_is_nothing_to_compare_with(judge: Judges) -> None:
    test = Test()
    play(judge(inconclusive="fail"), test, None, [100.0] * 8)
    assert test.result.verdict is Verdict.INCONCLUSIVE


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


# -- a server at a URL -------------------------------------------------------------------------------


def test_a_server_that_runs_already_is_measured_once_and_as_often_as_asked(judge: Judges) -> None:
    once, thrice = Test(engine="http://127.0.0.1:1"), Test(engine="http://127.0.0.1:1")
    assert play(judge(), once, None, [100.0] * 8) == 1
    assert play(judge(launches="3"), thrice, None, [100.0] * 8) == 3


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
