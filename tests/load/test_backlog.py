from __future__ import annotations

import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.search.cases import CASES
from bench.search.engine import Engine, open_loop
from bench.search.searches import Case, stopped_at
from bench.search.truth import stored
from pytest_llmperf.load.backlog import Backlog

RUN_S = 30.0
SLOTS = CASES[2].engine
SATURATION = stored()[SLOTS.name].saturation


def stops(engine: Engine, rate: float, runs: int) -> list[float]:
    """When runs were given up, of so many."""
    found = (stopped_at(open_loop(engine, rate, RUN_S, seed), rate, RUN_S) for seed in range(runs))
    return [one for one in found if one is not None]


def watched(rate: float, latency_s: float, growth: float, seconds: float = 60.0) -> float | None:
    """When it is decided about an even load, whose latency grows by so much a second of the schedule."""
    backlog = Backlog(rate)
    for look in range(1, int(seconds * 5) + 1):
        at_s = look / 5
        begun = max(0.0, (at_s - latency_s) / (1 + growth)) * rate
        if backlog.see(at_s, int(at_s * rate), int(begun)):
            return at_s
    return None


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.engine.name)
def test_an_engine_that_keeps_up_is_not_given_up(case: object) -> None:
    """Counted over fixed seeds at 90 % of the load that saturates."""
    engine = next(one.engine for one in CASES if one is case)
    assert len(stops(engine, 0.9 * stored()[engine.name].saturation, 60)) <= 1


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.engine.name != "decode-bound"], ids=lambda case: case.engine.name
)
def test_a_load_that_is_too_much_is_given_up_early(case: Case) -> None:
    """Counted over fixed seeds, at 130 % of what saturates."""
    found = stops(case.engine, 1.3 * stored()[case.engine.name].saturation, 30)
    assert len(found) >= 28
    assert sorted(found)[15] < RUN_S / 2


def test_a_batch_that_grows_for_as_long_as_the_run_is_no_queue_until_requests_wait() -> None:
    """All that a decode-bound engine of 512 sequences is sent, it takes at once, and answers ever slower."""
    decode = CASES[1].engine
    assert not stops(decode, 1.3 * stored()[decode.name].saturation, 10)
    assert len(stops(decode, 2.0 * stored()[decode.name].saturation, 10)) >= 9


def test_lengths_that_are_all_the_same_are_no_help_and_no_harm() -> None:
    even = dataclasses.replace(SLOTS, spread=0.0)
    assert not stops(even, 0.9 * SATURATION, 20)
    assert len(stops(even, 1.4 * SATURATION, 10)) >= 9


@given(st.floats(5, 500), st.floats(0.01, 20))
@settings(max_examples=20, deadline=None)
def test_the_requests_before_the_first_answer_are_no_queue(rate: float, latency_s: float) -> None:
    assert watched(rate, latency_s, growth=0.0) is None


@given(st.floats(10, 500), st.floats(0.05, 1.0), st.floats(0.25, 1.0))
@settings(max_examples=20, deadline=None)
def test_an_even_growth_is_seen_whatever_the_rate(rate: float, latency_s: float, growth: float) -> None:
    at_s = watched(rate, latency_s, growth)
    assert at_s is not None
    assert at_s >= 6


def test_latency_that_rises_to_a_new_plateau_is_no_queue() -> None:
    backlog = Backlog(50.0)
    due = [number / 50 for number in range(3000)]
    ends = sorted(one + 1 + 3 * (1 - math.exp(-one / 8)) for one in due)
    for look in range(1, 300):
        at_s = look / 5
        assert not backlog.see(at_s, sum(one <= at_s for one in due), sum(one <= at_s for one in ends))


def test_what_was_decided_is_not_taken_back() -> None:
    backlog = Backlog(20.0)
    look = 0
    while not backlog.see(look / 5, 4 * look, 2 * look):
        look += 1
        assert look < 300
    assert backlog.see(look / 5 + 1, 4 * look, 4 * look)


def test_time_that_stands_still_tells_nothing() -> None:
    backlog = Backlog(20.0)
    assert not any(backlog.see(1.0, 1000, 1) for _ in range(100))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.inf, math.nan])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="not above zero"):
        Backlog(rate)
