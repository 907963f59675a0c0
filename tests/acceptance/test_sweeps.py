"""Sweeps that find their own rates, and capacities: against a queue whose capacity can be computed."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from tests.acceptance.conftest import Project
from tests.servers import TruthServer

SLOTS, TTFT_S, ITL_S, TOKENS = 4, 0.04, 0.01, 7
SERVICE_S = TTFT_S + (TOKENS - 1) * ITL_S
LIMIT_MS = 100


def ttft_p95_ms(rate: float, requests: int = 100_000) -> float:
    """Of the queue that the server is: Poisson arrivals, so many slots, each busy for ``SERVICE_S``."""
    rng = np.random.default_rng(20261122)
    arrivals = np.cumsum(rng.exponential(1 / rate, requests))
    free = [0.0] * SLOTS
    waits = np.empty(requests)
    for number, at in enumerate(arrivals):
        begun = max(at, heapq.heappop(free))
        waits[number] = begun - at
        heapq.heappush(free, begun + SERVICE_S)
    return 1e3 * float(np.percentile(waits, 95) + TTFT_S)


def true_capacity() -> float:
    low, high = 1.0, SLOTS / SERVICE_S
    while high / low > 1.005:
        middle = (low * high) ** 0.5
        low, high = (middle, high) if ttft_p95_ms(middle) <= LIMIT_MS else (low, middle)
    return float((low * high) ** 0.5)


TESTS = f"""
from pytest_llmperf import Workload, slo, sweep

WORKLOAD = Workload(input_tokens=8, output_tokens={TOKENS})

@slo(ttft_ms={LIMIT_MS}, capacity_per_s=10)
def test_capacity(llmperf):
    assert llmperf.capacity(WORKLOAD, duration=4, budget="28s").value("capacity_per_s") > 10

@slo(ttft_ms={LIMIT_MS})
@sweep(duration=1.5, budget="14s")
def test_curve(llmperf):
    points = llmperf(WORKLOAD)
    assert points[0].point.concurrency == 1
    assert points[-1].point.batch is not None

def test_batch(llmperf):
    assert llmperf.batch(WORKLOAD, requests=40).value("requests_per_s") <= {1.02 * SLOTS / SERVICE_S}
"""


def test_the_capacity_of_a_queue_is_found_and_its_curve_ends_where_it_is_saturated(project: Project) -> None:
    project.write(test_it=TESTS)
    with TruthServer(ttft_s=TTFT_S, itl_s=ITL_S, slots=SLOTS) as server:
        ran = project.run("--llmperf", "-v", "--llmperf-engine", server.url)
    ran.assert_outcomes(passed=3)
    (record,) = project.records()
    capacity, curve, batch = record["tests"]
    (point,) = capacity["points"]
    (run,) = point["runs"]
    # A server with an event loop of its own needs some time for a request beyond what it waits.
    assert run["values"]["capacity_per_s"] == pytest.approx(true_capacity(), rel=0.2)
    assert run["capacity"]["kind"] == "found"
    assert len(run["probes"]) >= 3
    counted = [probe for probe in run["probes"] if not probe["saturated"]]
    driven = sum(probe["rate"] * (probe["duration_s"] + probe["run_in_s"]) for probe in counted)
    assert all(0 < probe["run_in_s"] <= probe["duration_s"] / 2 for probe in counted)
    assert 0.5 * driven < sum(probe["requests"] for probe in counted) < 0.97 * driven  # without the run-ins
    ran.stdout.fnmatch_lines(
        ["*capacity under TTFT p95 ≤ 100 ms, error rate ≤ 0%: *✓ (95% interval of this launch*runs*"]
    )
    (sweep,) = curve["sweeps"]
    assert sweep["rates"] == sorted(sweep["rates"])
    assert (
        max(sweep["rates"]) < 1.5 * SLOTS / SERVICE_S
    )  # in so short runs a queue can hardly be seen to grow
    # In so short a run a rate that is too much may be met by chance.
    assert sweep["meets_slo_at"] is None or sweep["meets_slo_at"] < 1.5 * SLOTS / SERVICE_S
    assert curve["points"][0]["load"] == "1 at once"
    assert curve["verdict"] == "pass"
    ran.stdout.fnmatch_lines(["*sweep: one at a time *"])
    assert [point["load"] for point in batch["points"]] == ["batch of 40"]


def test_the_rates_of_a_baseline_are_kept_to(project: Project) -> None:
    project.write(
        test_it="""
from pytest_llmperf import Workload, sweep

@sweep(duration=0.6, budget="6s")
def test_curve(llmperf):
    llmperf(Workload(input_tokens=8, output_tokens=4))
"""
    )
    with TruthServer(ttft_s=0.01, itl_s=0.005, slots=2) as server:
        accepted = project.run("--llmperf", "--llmperf-engine", server.url, "--llmperf-update")
        compared = project.run("--llmperf", "--llmperf-engine", server.url)
    accepted.assert_outcomes(passed=1)
    compared.assert_outcomes(passed=1)
    first, second = ([point["key"] for point in record["tests"][0]["points"]] for record in project.records())
    assert first == second
    assert len(first) >= 3
    assert all(point["changes"] for point in project.records()[1]["tests"][0]["points"])
    assert "not compared" not in project.records()[1]["tests"][0]["baseline"]


def test_what_no_rate_meets_fails_and_says_so(project: Project) -> None:
    project.write(
        test_it="""
from pytest_llmperf import Workload, slo, sweep

WORKLOAD = Workload(input_tokens=8, output_tokens=4)

def test_capacity(llmperf):
    llmperf.capacity(WORKLOAD, ttft_ms=1, duration=0.6, budget="5s")

def test_without_limits(llmperf):
    llmperf.capacity(WORKLOAD)

@slo(requests_per_s=20)
@sweep()
def test_unfit_limit(llmperf):
    llmperf(WORKLOAD)
"""
    )
    with TruthServer(ttft_s=0.01, itl_s=0.005, slots=2) as server:
        ran = project.run("--llmperf", "--llmperf-engine", server.url)
    ran.assert_outcomes(failed=3)
    ran.stdout.fnmatch_lines_random(
        [
            "*no rate meets TTFT p95 ≤ 1 ms, error rate ≤ 0%: it is missed at */s, too*",
            "*under which limits?*",
            "*no load for the limit requests ≥ 20/s: ask for capacity_per_s=*",
        ]
    )


def test_side_by_side_both_are_measured_at_the_same_rates_and_a_smaller_capacity_fails(
    project: Project,
) -> None:
    project.write(
        test_it="""
from pytest_llmperf import Workload, slo, sweep

WORKLOAD = Workload(input_tokens=8, output_tokens=4)

@sweep(rates="adaptive:2", duration=1, budget="10s")
def test_curve(llmperf):
    llmperf(WORKLOAD)

@slo(ttft_ms=60)
def test_capacity(llmperf):
    llmperf.capacity(WORKLOAD, duration=1.5, budget="8s")
"""
    )
    with (
        TruthServer(ttft_s=0.03, itl_s=0.01, slots=4) as base,
        TruthServer(ttft_s=0.03, itl_s=0.01, slots=1) as candidate,
    ):
        # Two launches that were searched for seconds may leave it undecided whether an interval that wide is
        # beyond the tolerance; that it is much less they say.
        ran = project.run(
            *("--llmperf", "--llmperf-engine", candidate.url, "--llmperf-against", base.url),
            *("--llmperf-inconclusive", "fail"),
        )
    ran.assert_outcomes(failed=2)
    curve, capacity = project.records()[0]["tests"]
    points = {point["load"]: point for point in curve["points"]}
    assert len(points) >= 3
    assert all(point["runs"] and point["base_runs"] for point in points.values())
    assert points["batch of 16"]["changes"][0]["metric"] == "output_tokens_per_s"
    (point,) = capacity["points"]
    (change,) = point["changes"]
    assert change["metric"] == "capacity_per_s"
    assert change["verdict"] in ("regressed", "inconclusive")
    assert -0.99 < change["estimate"] < -0.5  # of four slots one is left
    ran.stdout.fnmatch_lines(["*capacity: */s → */s, -*%*"])
