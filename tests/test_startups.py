"""Start-up in judgements: cold and warm starts apart, each launch's once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.metrics import MetricKey
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

WORKLOAD = Workload(input_tokens=16, output_tokens=8)
SLOW, FAST = LoadPoint(rate=1.0, duration_s=5.0), LoadPoint(rate=2.0, duration_s=5.0)
HERE = {"place": "local"}
TEST = "tests/test_it.py::test_a"
COLD = "cold"
STEADY = [1.0, 1.004, 0.997, 1.002, 0.999, 1.003, 0.998, 1.001]


class Launches:
    """One test of a session, at two load points, and its judge."""

    def __init__(
        self, directory: Path, limits: Mapping[str, float] | None = None, url: str = "", **said: str
    ) -> None:
        options = {name.replace("_", "-"): text for name, text in said.items() if name != "update"}
        resolved = Settings.resolve({"gate": "startup_s", **options}, {}, {}, update="update" in said)
        self.judge = Judge(resolved, Baselines(directory))
        self.result = TestResult(TEST, Slo.of(limits or {}))
        self.result.subject, self.result.subject_text = {"engine": url or "vllm"}, url or "vllm==2"
        self.result.base_subject, self.result.base_subject_text = {"engine": "vllm"}, "vllm==1"
        self.result.environment = HERE

    def launch(self, candidate: float | None, base: float | None = None) -> bool:
        """Measure and judge once more; whether another launch is wanted. A start of more than 100 s is cold;
        None is a server that runs already."""
        number = self.result.rounds + 1
        for point in (SLOW, FAST):
            self.result.add(WORKLOAD, point, _run(number, point, candidate))
            if base is not None:
                self.result.add(WORKLOAD, point, _run(number, point, base), of_base=True)
        self.judge.judge([self.result])
        return self.result.wants_launch

    def play(self, candidate: Sequence[float], base: Sequence[float] = ()) -> int:
        """Launch as long as that is wanted; how often that was."""
        for number, start in enumerate(candidate, 1):
            if not self.launch(start, base[number - 1] if base else None):
                return number
        return len(candidate)

    @property
    def judged(self) -> list[tuple[str, int]]:
        return [
            (objective.limit.key.name, objective.launches)
            for point in self.result.points.values()
            for objective in point.objectives
            if objective.limit.key.metric_name != "error_rate"
        ]


def _run(number: int, point: LoadPoint, start: float | None) -> Run:
    values = {} if start is None else {"cold_startup_s" if start > 100 else "startup_s": start}
    measurement = Measurement(
        workload=WORKLOAD,
        point=point,
        requests=100,
        values={"error_rate": 0.0, "ttft_p50_ms": 20.0, **values},
        errors={},
        health=HEALTH,
        uncertainty={},
    )
    return Run(1 if start is None else number, number, measurement, {})


# -- limits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "start"), [({"startup_s": 90.0}, 62.0), ({"cold_startup_s": 240.0}, 130.0)]
)
def test_a_limit_is_judged_once_however_many_load_points_there_are(
    tmp_path: Path, limits: Mapping[str, float], start: float
) -> None:
    test = Launches(tmp_path, limits)
    assert not test.launch(start)
    assert test.result.verdict is Verdict.PASS
    assert test.judged == [(*limits, 1)]


def test_a_limit_on_warm_starts_wants_one_and_counts_no_cold_one(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"startup_s": 90.0})
    assert test.launch(130.0)
    assert test.judged == []
    assert not test.launch(62.0)
    assert (test.result.verdict, test.result.error) == (Verdict.PASS, None)
    assert test.judged == [("startup_s", 1)]


def test_each_of_two_limits_has_its_own_starts(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"startup_s": 90.0, "cold_startup_s": 240.0})
    assert test.launch(130.0)
    assert not test.launch(62.0)
    assert test.result.verdict is Verdict.PASS
    assert test.judged == [("startup_s", 1), ("cold_startup_s", 1)]


@pytest.mark.parametrize(
    ("limits", "gate"), [({"cold_startup_s": 131.0}, "startup_s"), ({}, "cold_startup_s")]
)
def test_what_is_undecided_of_cold_starts_wants_no_warm_ones(
    tmp_path: Path, limits: Mapping[str, float], gate: str
) -> None:
    accept(tmp_path, [131.0], gate="cold_startup_s")
    test = Launches(tmp_path, limits, launches="1..8", gate=gate)
    assert test.play([130.0, 132.0, 62.0, 62.0]) == 3
    assert test.result.verdict is Verdict.INCONCLUSIVE
    assert test.result.launches == 3


def test_where_all_starts_were_cold_the_way_out_is_told(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"startup_s": 90.0})
    assert test.play([130.0, 128.0, 131.0, 131.0]) == 2  # not eight: the second would have been warm
    assert test.result.verdict is Verdict.INVALID
    assert test.result.error is not None
    assert "the SLO start-up ≤ 90 s cannot be judged" in test.result.error
    assert "all 2 starts (130 s, 128 s) found them empty; where nothing is kept" in test.result.error
    assert "limit cold_startup_s= instead" in test.result.error


def test_a_single_launch_that_was_cold_is_told_at_once(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"startup_s": 90.0}, launches="1")
    assert not test.launch(130.0)
    assert test.result.verdict is Verdict.INVALID
    assert "the only start (130 s) found them empty; --llmperf-launches 2" in str(test.result.error)


def test_a_budget_that_ends_before_a_warm_start_is_no_pass(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"startup_s": 90.0})
    assert test.launch(130.0)
    test.result.is_last_look = True
    test.judge.judge([test.result])
    assert not test.result.wants_launch
    assert test.result.verdict is Verdict.INVALID


def test_another_limit_that_is_broken_is_enough(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"startup_s": 90.0, "ttft_p50_ms": 2.0})
    assert not test.launch(130.0)
    assert test.result.verdict is Verdict.SLO_BROKEN


def test_no_launch_makes_a_cold_start_of_warm_ones(tmp_path: Path) -> None:
    test = Launches(tmp_path, {"cold_startup_s": 240.0})
    assert not test.launch(62.0)
    assert test.result.verdict is Verdict.INVALID
    assert "the SLO cold start-up ≤ 240 s cannot be judged" in str(test.result.error)
    assert "limit startup_s= instead" in str(test.result.error)


@pytest.mark.parametrize("name", ["startup_s", "cold_startup_s"])
def test_a_server_that_runs_already_has_no_start(tmp_path: Path, name: str) -> None:
    test = Launches(tmp_path, {name: 90.0}, url="http://x:1")
    assert not test.launch(None)
    assert test.result.verdict is Verdict.INVALID
    assert f"http://x:1 runs already and was not started from here; leave {name} out" in str(
        test.result.error
    )


# -- side by side ------------------------------------------------------------------------------------


def test_the_first_starts_of_two_versions_are_cold_and_not_compared_with_warm_ones(tmp_path: Path) -> None:
    test = Launches(tmp_path, against="vllm==1", launches="3..8")
    slower = [130.0, *(75 * v for v in STEADY)]
    assert test.play(slower, [140.0, *(60 * v for v in STEADY)]) < 8
    assert test.result.verdict is Verdict.REGRESSED
    (change,) = [change for point in test.result.points.values() for change in point.changes.values()]
    assert change.estimate == pytest.approx(0.25, abs=0.01)
    assert change.base_launches == change.candidate_launches == test.result.rounds - 1


def test_a_fixed_number_of_launches_decides_by_those_that_count(tmp_path: Path) -> None:
    test = Launches(tmp_path, against="vllm==1", launches="5")
    slower = [130.0, *(75 * v for v in STEADY[:4])]
    assert test.play(slower, [140.0, *(60 * v for v in STEADY[:4])]) == 5
    assert test.result.verdict is Verdict.REGRESSED


def test_one_side_s_cold_start_does_not_shift_its_launches_against_the_other_s(tmp_path: Path) -> None:
    """On a machine that gets slower by 5 % a round. Paired by position, the side without its first start
    would be behind by a round that the drift then explains in part; as they are, the means are compared."""
    test = Launches(tmp_path, against="vllm==1", launches="5")
    drift = [60 * 1.05**number for number in range(5)]
    test.play([130.0, *drift[1:]], drift)
    change = test.result.points[next(iter(test.result.points))].changes[MetricKey("startup")]
    assert (change.base_launches, change.candidate_launches) == (5, 4)
    assert change.estimate == pytest.approx(1.05**0.5 - 1, abs=1e-4)


def test_where_only_cold_starts_were_there_a_comparison_waits_for_others(tmp_path: Path) -> None:
    test = Launches(tmp_path, against="vllm==1", launches="1..8", inconclusive="fail")
    assert test.launch(130.0, 140.0)
    assert test.result.baseline.endswith("; not compared: start-up (only cold starts)")
    assert not test.launch(131.0, 60.0)
    assert test.result.verdict is Verdict.INCONCLUSIVE


# -- baselines ---------------------------------------------------------------------------------------


def accept(directory: Path, starts: Sequence[float], gate: str = "startup_s") -> Baseline:
    test = Launches(directory, update="yes", launches=str(len(starts)), gate=gate)
    test.play(starts)
    test.judge.accept(test.result)
    found = Baselines(directory).find(TEST, HERE)
    assert found is not None
    return found


def test_a_baseline_keeps_the_warm_starts_once(tmp_path: Path) -> None:
    stored = accept(tmp_path, [130.0, 60.0, 61.0], gate="startup_s cold_startup_s ttft_p50_ms")
    assert [dict(values) for values in stored.points.values()] == [
        {"cold_startup_s": (130.0,), "startup_s": (60.0, 61.0), "ttft_p50_ms": (20.0,) * 3},
        {"ttft_p50_ms": (20.0,) * 3},
    ]


def test_a_start_that_got_slower_is_worse_than_its_baseline(tmp_path: Path) -> None:
    accept(tmp_path, [60 * v for v in STEADY[:5]])
    test = Launches(tmp_path)
    assert test.play([130.0, *(90 * v for v in STEADY)]) < 8
    assert test.result.verdict is Verdict.REGRESSED
    same = Launches(tmp_path)
    same.play([130.0, *(60 * v for v in STEADY)])
    assert same.result.verdict is Verdict.PASS


def test_a_baseline_of_other_load_points_first_is_compared_all_the_same(tmp_path: Path) -> None:
    stored = accept(tmp_path, [60 * v for v in STEADY[:3]])
    first, second = stored.points
    turned = {first: stored.points[second], second: stored.points[first]}
    Baseline(TEST, stored.accepted, HERE, {}, "vllm", turned).write(Baselines(tmp_path).path(TEST, HERE))
    test = Launches(tmp_path)
    test.play([60 * v for v in STEADY])
    assert test.result.verdict is Verdict.PASS
    assert [list(point.changes) for point in test.result.points.values()] == [[MetricKey("startup")], []]


def test_a_baseline_without_warm_starts_is_waited_for_in_vain_by_nobody(tmp_path: Path) -> None:
    accept(tmp_path, [130.0, 131.0, 132.0], gate="startup_s cold_startup_s")
    test = Launches(tmp_path)
    assert test.play([130.0, 131.0, 132.0, 133.0, 134.0]) == 3
    assert "not compared: start-up at 1/s" in test.result.baseline


def test_cold_starts_are_compared_with_cold_ones(tmp_path: Path) -> None:
    accept(tmp_path, [130.0], gate="cold_startup_s startup_s")
    test = Launches(tmp_path, gate="cold_startup_s")
    test.play([60.0, 61.0, 62.0])
    assert "not compared: cold start-up (no cold start)" in test.result.baseline
