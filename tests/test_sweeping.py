from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.load import LoadPoint, Ramp, Sweep
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.keep.result import Run
from pytest_llmperf.load.bounds import Bounds
from pytest_llmperf.sweeping import Exploration, capped, explore, in_order, scheduled, single, told
from tests.load.healthy import HEALTH
from tests.sweeps import ALONE_MS, MOST, WORKLOAD, run

BOUNDS = Bounds(latency_s=ALONE_MS / 1e3, throughput=MOST, at_once=16, is_flat=True)
SLO = Slo.of({"ttft_ms": 300})


class Clock:
    """Time that passes only while a load point is measured."""

    def __init__(self, overhead_s: float = 2.0) -> None:
        self.now_s, self._overhead_s = 0.0, overhead_s

    def __call__(self) -> float:
        return self.now_s

    def measure(self, point: LoadPoint) -> Run:
        self.now_s += (point.expected_s or 5.0) + self._overhead_s
        return run(point)


def sweep(kind: str = "adaptive", **said: object) -> Sweep:
    return Sweep.of(rates=kind, **{"duration": 10, "budget": 1000, **said})


def found(of: Sweep, slo: Slo = SLO) -> Exploration:
    clock = Clock()
    return explore(of, slo, BOUNDS, clock.measure, of.budget_s or 0.0, clock)


def rates(of: Exploration) -> list[float]:
    return [rate for rate, _ in of.open_loop()]


def test_one_at_a_time_and_a_batch_come_first() -> None:
    points = found(sweep()).points
    assert points[0] == LoadPoint(concurrency=1, duration_s=10 / 3)
    assert points[1] == LoadPoint.of_batch(32)
    assert all(point.rate is not None for point in points[2:])


def test_points_go_up_to_where_the_engine_is_saturated_and_no_further() -> None:
    explored = found(sweep())
    assert BOUNDS.lowest <= min(rates(explored)) <= 1.5 * BOUNDS.lowest
    assert MOST / 2 < max(rates(explored)) < MOST
    assert all((point.rate or 0) >= MOST for point, _ in explored.saturated)  # type: ignore[operator]


def test_a_linear_grid_has_equal_gaps_and_ends_at_saturation() -> None:
    explored = found(sweep("linear:12"))
    kept = rates(explored)
    gaps = [high - low for low, high in pairwise(kept)]
    assert gaps == pytest.approx([gaps[0]] * len(gaps), abs=0.11)
    assert len(explored.saturated) <= 1
    assert explored.ended == ""


@pytest.mark.parametrize("budget", [60, 90, 150])
def test_the_budget_ends_a_sweep_before_it_is_spent(budget: float) -> None:
    clock = Clock()
    explored = explore(sweep("linear:30"), SLO, BOUNDS, clock.measure, budget, clock)
    assert explored.ended == "budget"
    assert clock.now_s <= budget
    assert clock.now_s > budget - 2 * 12


def test_three_rates_are_measured_whatever_the_budget() -> None:
    explored = found(sweep(budget="1s"))
    assert len(rates(explored)) + len(explored.saturated) == 3


def test_a_sweep_by_requests_takes_a_third_of_them_one_at_a_time() -> None:
    assert single(Sweep.of(rates="adaptive", requests=30)) == LoadPoint(concurrency=1, requests=10)
    assert single(Sweep.of(rates="adaptive", requests=5)) == LoadPoint(concurrency=1, requests=3)


def test_what_was_found_is_told() -> None:
    explored = found(sweep())
    said = told("w", "base", sweep(), SLO, BOUNDS, explored)
    assert said["rates"] == rates(explored)
    # 2 × 50 ms / (1 − rate / 20) is 300 ms at 13.3/s.
    assert said["meets_slo_at"] <= 13.34 < said["misses_slo_at"]
    assert said["bounds"]["throughput"] == MOST
    assert (said["search"], said["side"]) == ("adaptive", "base")


def test_without_limits_nothing_is_said_of_them() -> None:
    said = told("w", "base", sweep(), Slo(), BOUNDS, found(sweep(), Slo()))
    assert said["meets_slo_at"] is None
    assert said["misses_slo_at"] is None


def test_a_saturated_run_is_told_with_its_values_and_is_no_point() -> None:
    explored = Exploration()
    point = LoadPoint(rate=25.0, duration_s=10.0)
    explored.keep(point, run(point))
    assert explored.points == []
    (one,) = told("w", "base", sweep(), SLO, BOUNDS, explored)["saturated"]
    assert one["rate"] == 25.0
    assert one["values"]["ttft_p95_ms"] == 60_000.0
    assert one["gave_up"] is True


def test_a_late_load_generator_bounds_a_sweep_and_is_never_taken_for_the_engine() -> None:
    def measure(point: LoadPoint) -> Run:
        driven = run(point)
        if (point.mean_rate or 0.0) <= 8:
            return driven
        health = dataclasses.replace(HEALTH, problems=("late",), is_late=True)
        measured = dataclasses.replace(driven.measurement, health=health)
        return dataclasses.replace(driven, measurement=measured, is_saturated=True)

    explored = explore(sweep(), SLO, BOUNDS, measure, 1000.0, clock=lambda: 0.0)
    assert max(rates(explored)) <= 8
    assert explored.late
    assert explored.saturated == []
    assert explored.ended == "load generator"
    said = told("w", "candidate", sweep(), SLO, BOUNDS, explored)
    assert said["saturated"] == []
    assert min(one["rate"] for one in said["late"]) > 8


def test_where_the_engine_keeps_up_with_all_that_was_thought_possible_the_sweep_goes_on() -> None:
    timid = dataclasses.replace(BOUNDS, throughput=3.0)

    def measure(point: LoadPoint) -> Run:
        driven = run(point)
        kept = {**driven.measurement.values, "requests_per_s": min(point.mean_rate or 1.0, MOST)}
        return dataclasses.replace(driven, measurement=dataclasses.replace(driven.measurement, values=kept))

    explored = explore(sweep("adaptive:40"), SLO, timid, measure, 1000.0, clock=lambda: 0.0)
    assert explored.saturated
    assert max(rates(explored)) > 10


def test_requests_without_an_end_are_given_one() -> None:
    assert capped(Sweep.of(rates="adaptive", requests=1000, budget=300)).duration_s == 100
    assert capped(Sweep.of(rates="adaptive", requests=1000, duration=7)).duration_s == 7
    assert capped(Sweep.of(rates="adaptive")).duration_s is None


# -- the schedule of those that come after ----------------------------------------------------------------


def keys(points: list[LoadPoint]) -> list[str]:
    return [f"{WORKLOAD}, {point.key}" for point in points]


@pytest.mark.parametrize("kind", ["adaptive", "linear:6"])
def test_a_later_sweep_finds_the_points_of_an_earlier_one_in_its_baseline(kind: str) -> None:
    points = found(sweep(kind)).points
    again = scheduled(keys(points), str(WORKLOAD), sweep(kind))
    assert in_order(again) == in_order(points)


@pytest.mark.parametrize(
    "other",
    [
        lambda points: [dataclasses.replace(point, duration_s=20.0) for point in points],
        lambda points: [dataclasses.replace(point, arrivals="constant") for point in points],
        lambda points: [],
    ],
)
def test_points_that_would_be_driven_in_another_way_are_no_schedule(
    other: Callable[[list[LoadPoint]], list[LoadPoint]],
) -> None:
    points = [point for point in found(sweep()).points if point.rate is not None]
    assert scheduled(keys(other(points)), str(WORKLOAD), sweep()) == []


def test_a_ramp_is_no_schedule_and_no_error() -> None:
    ramp = f"{WORKLOAD}, {LoadPoint(rate=Ramp(2, 8), duration_s=10.0).key}"
    assert scheduled([ramp], str(WORKLOAD), sweep()) == []


def test_another_workload_has_a_schedule_of_its_own() -> None:
    assert scheduled(keys(found(sweep()).points), "8 in / 8 out", sweep()) == []


@given(st.lists(st.floats(0.01, 9999), unique_by=lambda rate: f"{rate:.3g}", min_size=1, max_size=8))
def test_any_rate_that_a_sweep_may_have_chosen_is_found_again(chosen: list[float]) -> None:
    points = [sweep().at(float(f"{rate:.3g}")) for rate in chosen]
    assert scheduled(keys(points), str(WORKLOAD), sweep()) == [single(sweep()), *in_order(points)]
