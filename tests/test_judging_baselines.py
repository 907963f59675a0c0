"""What is judged against a stored baseline, and what becomes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.judging import Judge
from pytest_llmperf.keep.baseline import Baseline
from pytest_llmperf.keep.baselines import Baselines
from tests.judged import HERE, POINT, STEADY, WORKLOAD, Judges, Test, judge, play, settings

__all__ = ["judge"]


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
