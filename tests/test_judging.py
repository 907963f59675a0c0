from __future__ import annotations

import dataclasses

import pytest

from pytest_llmperf.judge.verdict import Verdict
from tests.judged import STEADY, Judges, Test, judge, play, settings
from tests.load.healthy import HEALTH

__all__ = ["judge"]


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


# -- a server at a URL -------------------------------------------------------------------------------


def test_a_server_that_runs_already_is_measured_once_and_as_often_as_asked(judge: Judges) -> None:
    once, thrice = Test(engine="http://127.0.0.1:1"), Test(engine="http://127.0.0.1:1")
    assert play(judge(), once, None, [100.0] * 8) == 1
    assert play(judge(launches="3"), thrice, None, [100.0] * 8) == 3
