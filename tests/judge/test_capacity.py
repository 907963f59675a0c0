from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.capacity import (
    DOUBLINGS,
    HIGHEST_SHARE,
    LOWEST_SHARE,
    Capacity,
    CapacitySearch,
    Probe,
    Trial,
)
from pytest_llmperf.judge.run_in import lag, relaxation_s, run_in_s

LOW, HIGH = 1.0, 40.0
Margin = Callable[[float, float], float]
MARGINS = st.floats(-3, 3) | st.just(math.inf) | st.just(-math.inf)


def search(
    margin: Margin,
    *,
    low: float = LOW,
    high: float = HIGH,
    most: int = 14,
    error: float = 0.03,
    full_s: float = 600.0,
) -> tuple[Capacity, list[Trial]]:
    """Search with the answers of ``margin``, by rate and share of a full run."""
    searching = CapacitySearch(low, high, most=most)
    trials: list[Trial] = []
    while (trial := searching.next()) is not None:
        assert len(trials) < most
        trials.append(trial)
        searching.add(Probe(trial.rate, margin(trial.rate, trial.share), error, full_s * trial.share))
    return searching.capacity(), trials


def straight(capacity: float, slope: float) -> Margin:
    return lambda rate, _: slope * math.log(rate / capacity)


def noisy(capacity: float, slope: float, deviation: float, seed: int) -> Margin:
    """Straight to the edge, steeper beyond; what a run's requests tell is half of the true deviation."""
    rng = np.random.default_rng(seed)

    def margin(rate: float, share: float) -> float:
        distance = math.log(rate / capacity)
        bent = slope * distance * (1.5 if distance > 0 else 0.7)
        return bent + rng.standard_t(5) * deviation / math.sqrt(share)

    return margin


@given(st.floats(0.05, 0.95), st.floats(1, 15))
@settings(max_examples=25, deadline=None)
def test_without_noise_the_edge_is_found(share: float, slope: float) -> None:
    capacity, trials = search(straight(share * HIGH, slope))
    assert capacity.kind == "found"
    assert abs(math.log(capacity.rate / (share * HIGH))) < 0.04
    assert trials[-1].share == 1.0


@given(
    st.lists(MARGINS, min_size=14, max_size=14), st.integers(1, 14), st.floats(0.01, 100), st.floats(1, 300)
)
@settings(max_examples=40, deadline=None)
def test_whatever_the_answers_are_a_search_ends_within_its_bounds(
    margins: list[float], most: int, low: float, ratio: float
) -> None:
    answers = iter(margins)
    capacity, trials = search(lambda *_: next(answers), low=low, high=low * ratio, most=most)
    assert len(trials) <= most
    for trial in trials:
        highest = 2**DOUBLINGS * HIGHEST_SHARE * low * ratio
        assert LOWEST_SHARE * low * (1 - 1e-9) <= trial.rate <= highest * (1 + 1e-9)
        assert 0 < trial.share <= 1
        assert trial.rate == float(f"{trial.rate:.3g}")
    assert 0 < capacity.low <= capacity.rate <= capacity.high < math.inf
    assert 0 < capacity.deviation < math.inf


@pytest.mark.parametrize("share", [0.21, 0.48, 0.83])
@pytest.mark.parametrize(("power", "seed"), [(-2, 0), (1, 1), (3, 2)])
def test_other_units_of_rate_change_nothing(power: int, share: float, seed: int) -> None:
    scale = 10.0**power
    one, trials = search(noisy(share * HIGH, 4, 0.1, seed))
    other, scaled = search(
        noisy(share * HIGH * scale, 4, 0.1, seed), low=LOW * scale, high=HIGH * scale, full_s=600 / scale
    )
    assert [trial.rate * scale for trial in trials] == pytest.approx([trial.rate for trial in scaled])
    assert other.rate == pytest.approx(one.rate * scale)
    assert (other.kind, other.is_settled) == (one.kind, one.is_settled)


def test_rates_are_read_easily_and_far_from_the_edge_runs_are_short() -> None:
    _, trials = search(straight(12.34, 4))
    assert [trial.rate for trial in trials] == [float(f"{trial.rate:.3g}") for trial in trials]
    shares = [trial.share for trial in trials]
    assert shares[0] == 0.25
    assert shares == sorted(shares)


def test_the_interval_is_as_wide_as_the_errors_are() -> None:
    """Counted over 60 searches with fixed seeds: 95 % of the intervals shall hold what is true."""
    found = [search(noisy(17.0, 5, 0.08, seed))[0] for seed in range(60)]
    assert sum(one.low <= 17.0 <= one.high for one in found) >= 54
    assert sum(abs(math.log(one.rate / 17.0)) <= 0.03 for one in found) >= 56
    assert sum(one.is_settled for one in found) >= 50


def test_noisier_runs_take_more_of_them_and_are_known_less_well() -> None:
    quiet, few = search(noisy(17.0, 5, 0.02, 1), error=0.02)
    loud, many = search(noisy(17.0, 5, 0.6, 1), error=0.4)
    assert len(few) < len(many) == 14
    assert quiet.is_settled
    assert not loud.is_settled
    assert loud.deviation > 2 * quiet.deviation


def test_runs_that_were_given_up_tell_their_side() -> None:
    capacity, _ = search(lambda rate, _: math.inf if rate > 20 else -0.5 - 0.1 * math.log(20 / rate))
    assert capacity.rate == pytest.approx(20, rel=0.05)


def test_one_run_that_lies_moves_the_edge_little() -> None:
    lies = iter([False] * 6 + [True] + [False] * 20)
    capacity, _ = search(lambda rate, _: 4 * math.log(rate / 17) + (2.0 if next(lies) else 0.0))
    assert capacity.rate == pytest.approx(17, rel=0.03)


def test_no_run_is_known_better_than_half_of_them_are() -> None:
    """A tail that comes of stalls looks short, and well known, in a run that met none."""

    def found(lucky_error: float) -> Capacity:
        searching = CapacitySearch(LOW, HIGH)
        for rate, margin, error in (
            (20, -0.1, 0.3),
            (22, 0.15, 0.3),
            (21, -0.9, lucky_error),
            (24, 0.3, 0.3),
        ):
            searching.add(Probe(rate, margin, error, 60.0))
        return searching.capacity()

    assert found(0.02) == found(0.3)
    assert found(0.6).rate != found(0.3).rate


def test_what_is_never_missed_is_tried_at_up_to_eight_times_the_highest_rate() -> None:
    capacity, trials = search(lambda *_: -1.0)
    highest = 2**DOUBLINGS * HIGHEST_SHARE * HIGH
    assert (capacity.kind, capacity.is_settled) == ("above", False)
    assert capacity.rate == max(trial.rate for trial in trials) == pytest.approx(highest, rel=0.01)
    assert capacity.low == capacity.rate <= capacity.high
    assert len(trials) < 12


def test_what_is_met_as_long_as_the_engine_keeps_up_is_above_and_a_rate_that_was_served() -> None:
    """The bound is wrong: too high, too low by far, or right."""
    for most in (0.5 * HIGH, HIGH, 3 * HIGH):
        capacity, trials = search(lambda rate, _, most=most: math.inf if rate > most else -1.0)  # type: ignore[misc]
        assert capacity.kind == "above"
        assert capacity.rate == max(trial.rate for trial in trials if trial.rate <= most)
        assert 0.88 * most < capacity.rate <= most
        assert capacity.low <= capacity.rate <= capacity.high


def test_a_bound_that_is_too_low_is_no_capacity() -> None:
    capacity, _ = search(straight(3 * HIGH, 4))
    assert (capacity.kind, capacity.is_settled) == ("found", True)
    assert capacity.rate == pytest.approx(3 * HIGH, rel=0.04)


def test_where_time_ran_out_before_anything_was_missed_the_rest_is_open() -> None:
    capacity, trials = search(straight(3 * HIGH, 4), most=2)
    assert (capacity.kind, capacity.is_settled) == ("above", False)
    assert capacity.rate == max(trial.rate for trial in trials)
    assert capacity.high > 3 * HIGH


def early(capacity: float, latency_s: float, run_in: float) -> Capacity:
    """A search of runs that begin with an empty engine, and have so much of the run-in that they should."""
    searching = CapacitySearch(LOW, HIGH, full_s=60.0)
    while (trial := searching.next()) is not None:
        duration_s = 60 * trial.share
        before_s = run_in * run_in_s(trial.relaxation_s, duration_s)
        looks_better = lag(before_s, relaxation_s(latency_s, 1 / LOW), duration_s)
        margin = 4 * (math.log(trial.rate / capacity) - looks_better)
        searching.add(Probe(trial.rate, margin, 0.03, duration_s, before_s, latency_s))
    return searching.capacity()


def test_what_a_search_lags_is_taken_off_and_told_by_its_interval() -> None:
    for latency_s in (1.5, 3.0, 6.0):
        found = early(17.0, latency_s, run_in=1.0)
        assert found.rate == pytest.approx(17, rel=0.03)
        assert found.low <= 17 <= found.high
    quick, slow = (early(17.0, latency_s, run_in=1.0) for latency_s in (1.5, 6.0))
    assert slow.deviation > 1.5 * quick.deviation
    assert not slow.is_settled


def test_what_is_missed_even_by_a_trickle_is_below() -> None:
    capacity, _ = search(lambda *_: 1.0)
    assert (capacity.kind, capacity.rate, capacity.is_settled) == ("below", LOW * LOWEST_SHARE, True)


def test_asking_again_gives_the_same_answer_and_nothing_is_known_before_a_run() -> None:
    searching = CapacitySearch(LOW, HIGH)
    assert searching.next() == searching.next()
    assert (searching.capacity().kind, searching.capacity().is_settled) == ("found", False)


def test_a_search_of_one_run_ends_after_it() -> None:
    capacity, trials = search(straight(17, 4), most=1)
    assert len(trials) == 1
    assert not capacity.is_settled


@pytest.mark.parametrize(
    ("low", "high", "precision", "most"),
    [
        (0.0, 1.0, 0.03, 14),
        (2.0, 1.0, 0.03, 14),
        (1.0, math.inf, 0.03, 14),
        (math.nan, 1.0, 0.03, 14),
        (1.0, 2.0, 0.0, 14),
        (1.0, 2.0, 1.0, 14),
        (1.0, 2.0, 0.03, 0),
    ],
)
def test_a_search_without_bounds_is_refused(low: float, high: float, precision: float, most: int) -> None:
    with pytest.raises(ValueError, match=r"rates|precision|search"):
        CapacitySearch(low, high, precision=precision, most=most)


@pytest.mark.parametrize(
    "probe",
    [
        Probe(0.0, 0.0, 0.1, 60),
        Probe(math.inf, 0.0, 0.1, 60),
        Probe(1.0, math.nan, 0.1, 60),
        Probe(1.0, 0.0, -0.1, 60),
        Probe(1.0, 0.0, math.nan, 60),
        Probe(1.0, 0.0, 0.1, 0),
    ],
)
def test_a_run_that_is_none_is_refused(probe: Probe) -> None:
    with pytest.raises(ValueError, match=r"is none|says nothing"):
        CapacitySearch(LOW, HIGH).add(probe)


HOPELESS = (math.inf, 0.0)
ENGINES = {
    "flat, then steep": (
        (0.92, 35.4),
        (21.9, 25.4, 30.5),
        [
            (15.5, (-0.70, 0.20), 5, 2.5, 1.84),
            (21.2, (-0.89, 0.03), 20, 10, 2.84),
            (30.5, HOPELESS, 20, 10, 12.3),
            (25.4, (0.53, 0.18), 20, 10, 6.28),
            (21.9, (-0.83, 0.03), 20, 10, 3.05),
        ],
    ),
    "stalls in some runs": (
        (0.89, 34.9),
        (20.8, 24.4, 28.6),
        [
            (15.3, (-0.65, 0.20), 5, 2.5, 1.78),
            (20.8, (-0.10, 0.20), 20, 10, 2.68),
            (21.9, (0.14, 0.18), 20, 10, 3.65),
            (20.4, (-0.94, 0.03), 20, 10, 2.74),
            (28.6, HOPELESS, 20, 10, 11.4),
            (24.4, (0.32, 0.18), 20, 10, 7.30),
            (22.5, (-0.62, 0.06), 20, 10, 3.22),
        ],
    ),
    "bent": (
        (0.86, 36.8),
        (25.0, 27.3, 32.9),
        [
            (16.2, (-0.66, 0.20), 5, 2.5, 1.62),
            (22.6, (-0.66, 0.03), 20, 9.24, 2.25),
            (32.9, HOPELESS, 20, 10, 10.8),
            (27.3, (-0.22, 0.10), 20, 10, 4.07),
            (29.9, (0.49, 0.10), 20, 10, 7.79),
            (26.1, (0.003, 0.10), 20, 10, 4.76),
            (25.0, (-0.37, 0.06), 20, 10, 2.73),
        ],
    ),
}
"""Searches on an H100 (TTFT p95 of 300 ms): seconds of a request alone and the highest rate; between which
rates a person sees the edge, and what saturated; and each run's rate, margin with its error, duration, run-in
and latency."""


@pytest.mark.parametrize("name", ENGINES)
def test_real_engines_have_their_capacity_where_a_person_sees_it(name: str) -> None:
    (alone_s, highest), (low, high, saturated), runs = ENGINES[name]
    searching = CapacitySearch(1 / alone_s, highest, full_s=20.0)
    for rate, (margin, error), duration_s, run_in, latency_s in runs:
        searching.add(Probe(rate, margin, error, duration_s, run_in, latency_s))
    found = searching.capacity()
    assert found.kind == "found"
    assert low <= found.rate <= high
    assert 0.8 * low < found.low < low
    assert high < found.high < 1.01 * saturated


def test_a_run_that_missed_lags_no_more_than_the_one_that_met_the_slo_below_it() -> None:
    """What requests take beyond the edge is how long the queue is."""

    def found(latency_s: float) -> Capacity:
        searching = CapacitySearch(LOW, HIGH, full_s=20.0)
        searching.add(Probe(20, -0.8, 0.05, 20.0, 10.0, 3.0))
        searching.add(Probe(24, 0.5, 0.05, 20.0, 10.0, latency_s))
        return searching.capacity()

    assert found(3.0) == found(12.0)
    assert found(1.0) != found(3.0)
