from __future__ import annotations

import dataclasses

import pytest

from pytest_llmperf.declare.load import Sweep
from pytest_llmperf.declare.metrics import METRICS
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.keep.result import Run
from pytest_llmperf.load.bounds import Bounds
from pytest_llmperf.load.run_in import WithRunIn
from pytest_llmperf.searching import Found, seek, sought
from tests.sweeps import ALONE_MS, MOST, WORKLOAD, run

BOUNDS = Bounds(latency_s=ALONE_MS / 1e3, throughput=MOST, at_once=16, is_flat=True)
SLO = Slo.of({"ttft_ms": 300})
TRUTH = MOST * (1 - ALONE_MS / 300)  # where 2 × 50 ms / (1 − rate / 20) is 300 ms
SWEEP = Sweep.of(duration=10, budget="1h")


def search(slo: Slo = SLO, sweep: Sweep = SWEEP, bounds: Bounds = BOUNDS) -> Found:
    return seek(sweep, slo, bounds, lambda part, number: run(part.point), sweep.allowed_s, clock=lambda: 0.0)


def test_the_rate_at_which_the_limit_is_reached_is_found() -> None:
    found = search()
    assert found.capacity.rate == pytest.approx(TRUTH, rel=0.03)
    assert found.capacity.low <= TRUTH <= found.capacity.high
    assert found.capacity.kind == "found"


def test_the_limit_that_is_reached_first_decides() -> None:
    slo = Slo.of({"ttft_ms": 300, "e2e_p50_ms": 200})
    assert search(slo).capacity.rate == pytest.approx(MOST / 2, rel=0.03)


def test_what_is_missed_at_any_rate_is_said_to_be() -> None:
    found = search(Slo.of({"ttft_ms": 50}))
    assert found.capacity.kind == "below"
    assert found.capacity.rate <= 2 * BOUNDS.lowest


def test_each_run_has_a_number_of_its_own_and_none_is_longer_than_a_load_point() -> None:
    asked: list[tuple[WithRunIn, int]] = []

    def measure(part: WithRunIn, number: int) -> Run:
        asked.append((part, number))
        return run(part.point)

    found = seek(SWEEP, SLO, BOUNDS, measure, SWEEP.allowed_s, clock=lambda: 0.0)
    assert [number for _, number in asked] == list(range(len(found.runs)))
    assert all(0 < part.point.scheduled_s <= 10 for part, _ in asked)


def test_the_run_in_grows_with_how_long_requests_take_and_is_half_of_what_counts_at_most() -> None:
    parts: list[WithRunIn] = []

    def measure(part: WithRunIn, number: int) -> Run:
        parts.append(part)
        return run(part.point)

    seek(SWEEP, SLO, BOUNDS, measure, SWEEP.allowed_s, clock=lambda: 0.0)
    by_rate = sorted(parts, key=lambda part: part.point.mean_rate or 0)
    assert 0 < by_rate[0].run_in_s < by_rate[-1].run_in_s
    assert all(part.run_in_s <= part.point.scheduled_s / 2 for part in parts)
    slow = dataclasses.replace(BOUNDS, latency_s=8.0)
    parts.clear()
    seek(SWEEP, SLO, slow, measure, SWEEP.allowed_s, clock=lambda: 0.0)
    assert parts[0].run_in_s == parts[0].point.scheduled_s / 2


def test_the_budget_ends_a_search_that_has_something_to_say() -> None:
    now = 0.0

    def measure(part: WithRunIn, number: int) -> Run:
        nonlocal now
        now += part.driven.scheduled_s
        return run(part.point)

    found = seek(SWEEP, SLO, BOUNDS, measure, 25.0, clock=lambda: now)
    assert len(found.runs) >= 1
    assert now <= 25
    assert not found.capacity.is_settled


def test_a_run_that_says_nothing_ends_the_search_and_its_problem_is_that_of_the_whole() -> None:
    def measure(part: WithRunIn, number: int) -> Run:
        one = run(part.point)
        if number < 2:
            return one
        health = dataclasses.replace(one.measurement.health, problems=("late",), is_late=True)
        return dataclasses.replace(one, measurement=dataclasses.replace(one.measurement, health=health))

    found = seek(SWEEP, SLO, BOUNDS, measure, SWEEP.allowed_s, clock=lambda: 0.0)
    whole = found.as_run(WORKLOAD, sought(SWEEP, SLO))
    assert len(found.runs) == 3  # two that count, and the one that was too many
    assert not whole.is_valid
    assert whole.measurement.health.problems == ("late",)
    assert whole.measurement.values["capacity_per_s"] > 0


def test_a_run_that_says_nothing_now_and_then_is_driven_again() -> None:
    asked: list[tuple[object, int]] = []

    def measure(part: WithRunIn, number: int) -> Run:
        asked.append((part.point.rate, number))
        one = run(part.point)
        if number not in (1, 4):
            return one
        health = dataclasses.replace(one.measurement.health, problems=("late",), is_late=True)
        return dataclasses.replace(one, measurement=dataclasses.replace(one.measurement, health=health))

    found = seek(SWEEP, SLO, BOUNDS, measure, SWEEP.allowed_s, clock=lambda: 0.0)
    assert found.as_run(WORKLOAD, sought(SWEEP, SLO)).is_valid
    assert [number for _, number in asked] == list(range(len(asked)))
    assert asked[1][0] == asked[2][0]
    assert asked[4][0] == asked[5][0]
    assert len(found.runs) == len(asked) - 2
    assert [bool(probe["problems"]) for probe in found.probes].count(True) == 2
    assert found.capacity.rate == pytest.approx(TRUTH, rel=0.03)


def test_the_first_run_may_say_nothing_already() -> None:
    def measure(part: WithRunIn, number: int) -> Run:
        one = run(part.point)
        health = dataclasses.replace(one.measurement.health, problems=("late",), is_late=True)
        return dataclasses.replace(one, measurement=dataclasses.replace(one.measurement, health=health))

    found = seek(SWEEP, SLO, BOUNDS, measure, SWEEP.allowed_s, clock=lambda: 0.0)
    assert len(found.runs) == 1
    assert not found.as_run(WORKLOAD, sought(SWEEP, SLO)).is_valid


def test_one_run_stands_for_all_with_what_each_said() -> None:
    found = search()
    whole = found.as_run(WORKLOAD, sought(SWEEP, SLO))
    assert whole.measurement.values == {"capacity_per_s": found.capacity.rate}
    assert whole.measurement.uncertainty == {"capacity_per_s": found.capacity.deviation}
    assert whole.measurement.requests == 100 * len(found.runs)
    assert len(whole.probes) == len(found.runs)
    assert whole.capacity is not None
    assert whole.capacity["low"] <= found.capacity.rate <= whole.capacity["high"]
    for probe in whole.probes:
        assert (probe["margin"] is None) == probe["saturated"]


def test_a_search_is_called_by_its_limits_and_says_nothing_but_its_capacity() -> None:
    point = sought(SWEEP, SLO)
    assert point.label == "capacity"
    assert point.key == "capacity under TTFT p95 ≤ 300 ms, poisson for 10 s"
    own = [metric.name for metric in METRICS.values() if point.concerns(metric) and metric.per != "launch"]
    assert own == ["capacity"]
