from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.search.cases import CASES
from bench.search.engine import Array, Engine, Served, open_loop
from bench.search.searches import Case
from bench.search.truth import stored
from pytest_llmperf.measure.saturation import MIN_REQUESTS, is_saturated
from tests.measure.traces import timeline

RUN_S = 60.0


def saturated(engine: Engine, share: float, runs: int) -> int:
    """How many of so many runs at a share of the load that saturates are called saturated."""
    rate = share * stored()[engine.name].saturation
    return sum(is_saturated(open_loop(engine, rate, RUN_S, seed).timeline(RUN_S)) for seed in range(runs))


def served(latency_s: Array, every_s: float = 0.1) -> bool:
    due = every_s * np.arange(latency_s.size, dtype=np.float64)
    first = due + latency_s
    return is_saturated(Served(due, first, first + 0.5, np.full(due.size, 8.0)).timeline(0.0))


def test_answers_that_get_slower_after_their_first_token_wait_for_nobody() -> None:
    due = np.arange(400.0)
    slower = Served(due, due + 0.01, due + 0.5 + 0.2 * due, np.full(due.size, 8.0))
    assert not is_saturated(slower.timeline(0.0))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine.name)
def test_an_engine_that_keeps_up_is_not_saturated(case: Case) -> None:
    """Counted over fixed seeds."""
    assert saturated(case.engine, 0.9, 60) <= 1


@pytest.mark.parametrize("case", [CASES[0], CASES[2]], ids=lambda case: case.engine.name)
def test_an_engine_that_does_not_keep_up_is_saturated(case: Case) -> None:
    assert saturated(case.engine, 1.15, 20) >= 18


@given(st.floats(0.1, 2), st.floats(0.01, 5), st.floats(0.01, 10))
@settings(max_examples=30, deadline=None)
def test_latency_that_rises_along_a_line_is_a_queue(growth: float, base: float, every_s: float) -> None:
    assert served(base + growth * every_s * np.arange(400.0), every_s)


@given(st.integers(0, 10**6), st.floats(0.01, 5))
@settings(max_examples=30, deadline=None)
def test_latency_that_falls_is_none(seed: int, base: float) -> None:
    noise = np.random.default_rng(seed).uniform(0, base, 400)
    assert not served(base + noise + np.linspace(50, 0, 400))


def test_latency_that_rises_to_a_new_plateau_is_none() -> None:
    assert not served(1 + 5 * (1 - np.exp(-np.arange(600.0) / 60)))


def test_a_single_burst_is_none() -> None:
    latency = np.full(600, 0.5)
    latency[300:360] += np.linspace(6, 0, 60)
    assert not served(latency)


def test_too_few_requests_tell_nothing() -> None:
    assert not served(np.arange(MIN_REQUESTS - 1.0))
    assert served(np.arange(float(MIN_REQUESTS)))
    assert not is_saturated(timeline([]))
