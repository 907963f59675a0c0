from __future__ import annotations

import dataclasses
import json

import pytest

from pytest_llmperf.declare.load import LoadPoint, Ramp
from pytest_llmperf.declare.metrics import MetricKey, parse_metric
from pytest_llmperf.declare.slo import Limit, Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.change import Comparison, judge_changes
from pytest_llmperf.judge.objective import judge_limit
from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.keep.result import Base, Creep, Run, TestResult
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

WORKLOAD = Workload(input_tokens=16, output_tokens=8)
SLOW, FAST = LoadPoint(rate=1.0, duration_s=5.0), LoadPoint(rate=4.0, duration_s=5.0)
TTFT = MetricKey("ttft", "p95")


def run(launch: int, point: LoadPoint = SLOW, problems: tuple[str, ...] = (), **values: float) -> Run:
    measurement = Measurement(
        workload=WORKLOAD,
        point=point,
        requests=5,
        values=values,
        errors={"reset": (2, "reset: by peer")},
        health=dataclasses.replace(HEALTH, dispatch_lag_p99_ms=0.123456789, problems=problems),
        uncertainty=dict.fromkeys(values, 0.2 / 3),
    )
    return Run(
        launch,
        launch,
        measurement,
        warm_up={"requests": 3, "settled": True},
        counters={"prompt_tokens": 80.0},
        moments={"cache_use": 1 / 3},
        cache_reset=False,
    )


def result(*runs: Run) -> TestResult:
    found = TestResult("test_x.py::test_y", Slo.of({"ttft_ms": 300}))
    for one in runs:
        found.add(WORKLOAD, one.measurement.point, one)
    return found


def test_the_launches_of_a_point_come_together() -> None:
    found = result(run(1, SLOW), run(1, FAST), run(2, SLOW), run(2, FAST))
    assert list(found.points) == [
        "16 in / 8 out, poisson 1/s for 5 s",
        "16 in / 8 out, poisson 4/s for 5 s",
    ]
    assert [[r.launch for r in point.runs] for point in found.points.values()] == [[1, 2], [1, 2]]
    assert found.launches == 2


def test_a_point_that_one_round_measures_again_is_a_point_of_its_own() -> None:
    found = result(run(1), run(1), run(1), run(2), run(2), run(2))
    key = "16 in / 8 out, poisson 1/s for 5 s"
    assert list(found.points) == [key, f"{key} (call 2)", f"{key} (call 3)"]
    assert [[r.launch for r in point.runs] for point in found.points.values()] == [[1, 2]] * 3
    assert [point["key"] for point in found.as_json()["points"]] == list(found.points)


def test_what_was_explored_is_put_in_order() -> None:
    alone = LoadPoint(concurrency=1, duration_s=5.0)
    found = result(run(1, FAST), run(1, alone), run(1, SLOW))
    found.arrange(WORKLOAD, [alone, SLOW])
    assert [point.point for point in found.points.values()] == [FAST, alone, SLOW]


def test_a_search_is_recorded_with_what_it_was_found_from() -> None:
    probe = {"rate": 9.12345678, "margin": None, "saturated": True, "values": {"ttft_p95_ms": 33.33333333}}
    found = dataclasses.replace(run(1, capacity_per_s=9.0), capacity={"low": 1 / 3}, probes=[probe])
    run_json = json.loads(json.dumps(result(found).as_json()["points"][0]["runs"][0]))
    assert run_json["capacity"] == {"low": 0.333333}
    assert run_json["probes"] == [
        {"rate": 9.12346, "margin": None, "saturated": True, "values": {"ttft_p95_ms": 33.3333}}
    ]


def test_the_runs_of_a_launch_that_is_not_started_again_are_one_value() -> None:
    runs = [run(1, ttft_p95_ms=value) for value in (100.0, 400.0)]
    found = result(*(dataclasses.replace(one, round=number) for number, one in enumerate(runs, 1)))
    (point,) = found.points.values()
    assert (found.launches, found.rounds) == (1, 2)
    assert point.values(TTFT) == [pytest.approx(200.0)]


def test_workloads_are_told_apart() -> None:
    found = result(run(1))
    found.add(Workload(input_tokens=16, output_tokens=8, chat=True), SLOW, run(1))
    assert list(found.points)[1] == "16 in / 8 out chat, poisson 1/s for 5 s"


def test_a_launch_without_a_value_is_left_out_and_not_counted_as_zero() -> None:
    found = result(run(1, ttft_p95_ms=100.0), run(2), run(3, ttft_p95_ms=0.0))
    (point,) = found.points.values()
    assert point.values(TTFT) == [100.0, 0.0]


def test_problems_say_where_they_occurred() -> None:
    found = result(run(1), run(2, problems=("late", "cached")))
    (point,) = found.points.values()
    assert point.problems == ["1/s, launch 2: late", "1/s, launch 2: cached"]


def test_without_a_run_there_is_no_launch() -> None:
    assert result().launches == 0


def test_the_base_has_launches_of_its_own_at_the_same_points() -> None:
    found = result()
    for number, value in ((1, 100.0), (2, 400.0)):
        for _ in range(2):
            found.add(WORKLOAD, SLOW, run(number, ttft_p95_ms=value), of_base=True)
    found.add(WORKLOAD, SLOW, run(1, ttft_p95_ms=90.0))
    first, second = found.points.values()
    assert second.key == first.key
    assert (first.values(TTFT), first.base_values(TTFT)) == ([90.0], [100.0, 400.0])
    assert (second.values(TTFT), second.base_values(TTFT)) == ([], [100.0, 400.0])
    assert first.uncertainty(TTFT) == [pytest.approx(0.2 / 3)]
    assert len(first.base_uncertainty(TTFT)) == 2
    assert (found.launches, found.rounds) == (1, 1)
    assert [len(point["base_runs"]) for point in found.as_json()["points"]] == [2, 2]


def test_problems_of_the_base_are_problems() -> None:
    found = result()
    found.add(WORKLOAD, SLOW, run(1, problems=("late",)), of_base=True)
    assert found.points["16 in / 8 out, poisson 1/s for 5 s"].problems == ["1/s, launch 1 of the base: late"]


# -- what the requests leave unknown -----------------------------------------------------------------


def uncertain(launch: int, round_: int, ttft: float | None, known: float | None) -> Run:
    values = {} if ttft is None else {"ttft_p95_ms": ttft}
    measured = dataclasses.replace(
        run(launch).measurement, values=values, uncertainty={} if known is None else {"ttft_p95_ms": known}
    )
    return dataclasses.replace(run(launch), round=round_, measurement=measured)


def test_the_uncertainty_has_one_value_for_each_value() -> None:
    found = result(uncertain(1, 1, 100, 0.1), uncertain(2, 2, None, None), uncertain(3, 3, 120, 0.2))
    (point,) = found.points.values()
    assert point.uncertainty(TTFT) == [0.1, 0.2]
    assert len(point.values(TTFT)) == 2


def test_runs_of_one_launch_are_together_known_as_their_mean_is() -> None:
    found = result(*(uncertain(1, number, 100, known) for number, known in enumerate((0.3, 0.4), 1)))
    (point,) = found.points.values()
    assert point.uncertainty(TTFT) == [pytest.approx(0.25)]
    found = result(*(uncertain(1, number, 100, 0.2) for number in range(1, 5)))
    (point,) = found.points.values()
    assert point.uncertainty(TTFT) == [pytest.approx(0.1)]


def test_what_is_not_over_requests_is_known_as_it_is() -> None:
    (point,) = result(uncertain(1, 1, 100, None)).points.values()
    assert point.uncertainty(TTFT) == [0]


def test_the_number_of_attempts_at_a_run_is_told() -> None:
    found = result(dataclasses.replace(run(1), attempts=3))
    assert found.as_json()["points"][0]["runs"][0]["attempts"] == 3


def test_a_test_that_was_never_judged_says_so() -> None:
    assert result().as_json()["verdict"] == "not judged"
    assert result().as_json()["is_compared"] is False


@pytest.fixture
def judged() -> TestResult:
    found = result(run(1, ttft_p95_ms=400.0), run(2, ttft_p95_ms=100.0 / 3))
    found.command = ("pytest", "--llmperf-rates", "1")
    found.subject, found.subject_text = {"engine": "vllm"}, "vllm -v"
    found.environment = {"place": "local"}
    found.verdict, found.baseline = Verdict.REGRESSED, "compared with vllm"
    found.is_compared = True
    found.subject_differences = ["version: 1 → 2"]
    (point,) = found.points.values()
    point.objectives.append(judge_limit(Limit(TTFT, 300.0), point.values(TTFT), Prior(0.05)))
    point.objectives.append(judge_limit(Limit(parse_metric("error_rate"), 0.0), [0.0, 0.0], Prior(0.05)))
    comparison = Comparison("ttft", [100.0], point.values(TTFT), "lower", 0.05, Prior(0.05))
    (change,) = judge_changes([comparison])
    point.changes[TTFT] = change
    point.creep[TTFT] = Creep("2026-01-01", "vllm==1", steps=3, change=change)
    found.compared_with = Base("baseline", "vllm==1", {"engine": "vllm"}, 1, "2026-02-03", "main")
    return found


def test_an_entry_of_the_record_has_all_that_is_known(judged: TestResult) -> None:
    (point,) = (entry := judged.as_json()).pop("points")
    assert entry == {
        "test": "test_x.py::test_y",
        "command": ["pytest", "--llmperf-rates", "1"],
        "verdict": "regressed",
        "error": None,
        "slo": ["TTFT p95 ≤ 300 ms"],
        "subject": {"text": "vllm -v", "fields": {"engine": "vllm"}},
        "environment": {"place": "local"},
        "launches": 2,
        "compared_with": {
            "kind": "baseline",
            "text": "vllm==1",
            "fields": {"engine": "vllm"},
            "launches": 1,
            "accepted": "2026-02-03",
            "name": "main",
        },
        "left_out": [],
        "baseline": "compared with vllm",
        "is_compared": True,
        "subject_differences": ["version: 1 → 2"],
        "sweeps": [],
    }
    assert (point["workload"], point["load"]) == ("16 in / 8 out", "1/s")
    assert point["declared"] == {
        "workload": {"input_tokens": 16, "output_tokens": 8, "chat": False},
        "load": {"rate": 1.0, "arrivals": "poisson", "duration_s": 5.0},
    }


@pytest.mark.parametrize(
    ("point", "declared"),
    [
        (
            LoadPoint(rate=Ramp(1, 10), arrivals="gamma:0.5", duration_s=5),
            {"rate": "1..10", "arrivals": "gamma:0.5", "duration_s": 5},
        ),
        (LoadPoint(replay=2, requests=9), {"replay": 2, "requests": 9}),
        (LoadPoint(concurrency=4, requests=9), {"concurrency": 4, "requests": 9}),
        (LoadPoint.of_batch(9), {"concurrency": 9, "requests": 9, "batch": 9}),
        (
            LoadPoint(seeks="TTFT p95 ≤ 1 s", duration_s=5),
            {"seeks": "TTFT p95 ≤ 1 s", "arrivals": "poisson", "duration_s": 5},
        ),
    ],
)
def test_every_kind_of_load_is_recorded_as_it_was_declared(
    point: LoadPoint, declared: dict[str, object]
) -> None:
    (entry,) = result(run(1, point)).as_json()["points"]
    assert json.loads(json.dumps(entry["declared"]["load"])) == declared


def test_a_run_of_the_record_is_rounded_to_what_a_measurement_can_know(judged: TestResult) -> None:
    run_json = judged.as_json()["points"][0]["runs"][1]
    assert run_json == {
        "launch": 2,
        "round": 2,
        "attempts": 1,
        "requests": 5,
        "values": {"ttft_p95_ms": 33.3333},
        "uncertainty": {"ttft_p95_ms": 0.0666667},
        "errors": {"reset": {"count": 2, "example": "reset: by peer"}},
        "health": {
            "dispatch_lag_p50_ms": 0.1,
            "dispatch_lag_p99_ms": 0.123457,
            "connect_wait_p99_ms": 0.3,
            "read_lag_p99_ms": 0.2,
            "merged_share": 0.001,
            "arrivals": 1.0,
            "clock_drift_ms": 0.01,
            "cpu_share": 0.2,
            "cpu_wait_share": 0.01,
            "steal_share": 0.0,
            "processes": 1,
            "clock": "kernel",
            "cached_prompt_share": 0.0,
            "wrong_prompt_lengths": 0,
            "is_late": False,
            "problems": (),
        },
        "warm_up": {"requests": 3, "settled": True},
        "counters": {"prompt_tokens": 80.0},
        "moments": {"cache_use": 0.333333},
        "cache_reset": False,
        "disturbances": [],
        "gave_up": False,
        "saturated": False,
    }


def test_objectives_and_changes_of_the_record_speak_for_themselves(judged: TestResult) -> None:
    (point,) = judged.as_json()["points"]
    assert point["objectives"] == [
        {
            "metric": "ttft_p95_ms",
            "label": "TTFT p95",
            "limit": 300.0,
            "value": 115.47,
            "low": 27.6155,
            "high": 482.821,
            "margin": 0.6151,
            "met": True,
            "launches": 2,
            "missed": 1,
            "verdict": "inconclusive",
        },
        {
            "metric": "error_rate",
            "label": "error rate",
            "limit": 0.0,
            "value": 0.0,
            "low": 0.0,
            "high": 0.0,
            "margin": None,
            "met": True,
            "launches": 2,
            "missed": 0,
            "verdict": "pass",
        },
    ]
    (change,) = point["changes"]
    assert (change["metric"], change["label"], change["better"]) == ("ttft_p95_ms", "TTFT p95", "lower")
    assert (change["base"], change["candidate"], change["estimate"]) == (100.0, 115.47, 0.154701)
    assert (change["base_launches"], change["candidate_launches"], change["tolerance"]) == (1, 2, 0.05)
    assert change["low"] < 0 < change["estimate"] < change["high"]
    assert change["verdict"] == "inconclusive"
    (creep,) = point["creep"]
    assert {name: creep.pop(name) for name in ("since", "since_subject", "steps")} == {
        "since": "2026-01-01",
        "since_subject": "vllm==1",
        "steps": 3,
    }
    assert creep == change


def test_an_entry_survives_the_way_through_json(judged: TestResult) -> None:
    entry = judged.as_json()
    travelled = json.loads(json.dumps(entry))
    assert json.dumps(travelled) == json.dumps(entry)
