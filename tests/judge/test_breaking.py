from __future__ import annotations

import math
import random
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.declare.load import LoadPoint
from pytest_llmperf.declare.slo import Slo
from pytest_llmperf.declare.workload import Workload
from pytest_llmperf.judge.breaking import LEAST, MOST, judge_breaking
from pytest_llmperf.judge.verdict import Verdict
from pytest_llmperf.measure.measurement import Measurement
from tests.load.healthy import HEALTH

LIMIT = Slo.of({"ttft_p50_ms": 100}).with_no_errors()
WORKLOAD, POINT = Workload(input_tokens=8, output_tokens=1), LoadPoint(concurrency=1, requests=8)


def run(values: Mapping[str, float], known: float = 0.01) -> Measurement:
    uncertainty = {name: known for name in values if name.endswith("_ms")}
    return Measurement(WORKLOAD, POINT, 8, {"error_rate": 0.0, **values}, {}, HEALTH, uncertainty)


def verdict(*took_ms: float, known: float = 0.01) -> Verdict:
    return judge_breaking(LIMIT, [run({"ttft_p50_ms": value}, known) for value in took_ms])[0]


@given(st.floats(1, 60))
def test_what_is_far_within_its_limit_needs_one_run(took_ms: float) -> None:
    assert verdict(took_ms) is Verdict.PASS


@given(st.floats(150, 10_000))
def test_what_is_far_beyond_it_needs_two(took_ms: float) -> None:
    assert verdict(took_ms) is Verdict.INCONCLUSIVE
    assert verdict(took_ms, took_ms) is Verdict.SLO_BROKEN


@given(st.lists(st.floats(98, 102), min_size=1, max_size=MOST))
def test_what_is_near_it_breaks_nothing(took_ms: list[float]) -> None:
    assert verdict(*took_ms) is not Verdict.SLO_BROKEN


@given(st.lists(st.floats(20, 500), min_size=LEAST, max_size=MOST), st.floats(1.0, 3.0))
def test_a_higher_limit_is_never_broken_by_what_does_not_break_a_lower_one(
    took_ms: list[float], factor: float
) -> None:
    runs = [run({"ttft_p50_ms": value}) for value in took_ms]
    higher = Slo.of({"ttft_p50_ms": 100 * factor})
    if judge_breaking(Slo.of({"ttft_p50_ms": 100}), runs)[0] is not Verdict.SLO_BROKEN:
        assert judge_breaking(higher, runs)[0] is not Verdict.SLO_BROKEN


def test_one_slow_run_among_others_is_the_machine_and_not_the_workload() -> None:
    assert verdict(300.0, 60.0, 61.0) is not Verdict.SLO_BROKEN


def test_few_requests_know_little() -> None:
    assert verdict(115.0, 115.0, 115.0, known=0.01) is Verdict.SLO_BROKEN
    assert verdict(115.0, 115.0, 115.0, known=0.2) is Verdict.INCONCLUSIVE


def test_a_request_that_fails_breaks_the_limit_that_nobody_named() -> None:
    failed = run({"error_rate": 0.125, "ttft_p50_ms": 10.0})
    found, objectives = judge_breaking(LIMIT, [failed, failed])
    assert found is Verdict.SLO_BROKEN
    assert [one.limit.key.name for one in objectives if one.verdict is found] == ["error_rate"]


def test_where_nothing_was_answered_there_is_no_latency_to_judge() -> None:
    nothing = run({"error_rate": 1.0})
    found, objectives = judge_breaking(LIMIT, [nothing, nothing])
    assert found is Verdict.SLO_BROKEN
    assert [one.limit.key.name for one in objectives] == ["error_rate"]


def judged(rng: random.Random, true_ms: float, spread: float) -> Verdict:
    """As a probe goes on: up to three runs, until it is known."""
    took: list[float] = []
    while True:
        took.append(true_ms * math.exp(rng.gauss(0, spread)))
        found = verdict(*took)
        if found is not Verdict.INCONCLUSIVE or len(took) == MOST:
            return found


@pytest.mark.parametrize("spread", [0.01, 0.03])
def test_counted_how_often_what_meets_its_limit_is_said_to_break_it(spread: float) -> None:
    rng = random.Random(1)
    found = [judged(rng, 99.0, spread) for _ in range(1000)]
    assert found.count(Verdict.SLO_BROKEN) <= 20


@pytest.mark.parametrize(("spread", "beyond"), [(0.01, 1.10), (0.03, 1.20)])
def test_counted_how_often_what_is_beyond_its_limit_is_found(spread: float, beyond: float) -> None:
    rng = random.Random(2)
    found = [judged(rng, 100 * beyond, spread) for _ in range(1000)]
    assert found.count(Verdict.SLO_BROKEN) >= 950
