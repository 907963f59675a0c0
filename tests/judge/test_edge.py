from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.edge import Edge, Sight


def seen(*sights: Sight) -> Edge:
    edge = Edge(-1.0, 3.0)
    for sight in sights:
        edge.add(sight)
    return edge


def median(edge: Edge) -> float:
    return edge.quantiles([0.5])[0]


@given(st.floats(-1, 3), st.floats(-3, 3) | st.sampled_from([math.inf, -math.inf]), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_density_is_one_whatever_was_seen(log_rate: float, margin: float, error: float) -> None:
    edge = seen(Sight(log_rate, margin, error))
    assert edge.density.min() >= 0
    assert float(edge.density.sum()) == pytest.approx(1)
    low, high = edge.quantiles([0.025, 0.975])
    assert -1 <= low <= high <= 3


@given(st.floats(-0.5, 2.5), st.floats(0.01, 2))
@settings(max_examples=30, deadline=None)
def test_a_miss_lowers_and_a_pass_raises_what_is_expected(log_rate: float, margin: float) -> None:
    missed, met = (seen(Sight(log_rate, sign * margin, 0.05)) for sign in (1, -1))
    assert median(missed) < median(met)
    assert median(seen(Sight(log_rate, math.inf, 0))) < median(seen(Sight(log_rate, -math.inf, 0)))


def test_a_run_close_to_the_edge_tells_more_than_one_far_from_it() -> None:
    near, far = (seen(Sight(1.0 + off, 4 * off, 0.05)) for off in (0.02, 0.8))
    assert near.deviation < far.deviation


OFFSETS = (-0.05, -0.02, 0.02, 0.05)
"""Four runs, because one alone leaves the slope open."""


def test_what_lags_or_is_short_tells_less() -> None:
    known, lagging, few = (
        seen(*(Sight(1 + off, 4 * off, 0.05, lag, spread) for off in OFFSETS))
        for lag, spread in ((0.0, 0.0), (0.05, 0.0), (0.0, 0.05))
    )
    assert known.deviation < lagging.deviation
    assert known.deviation < few.deviation


def test_what_looks_better_than_it_is_by_a_lag_has_its_edge_so_much_lower() -> None:
    at_once, lagging = (seen(*(Sight(1 + off, 4 * off, 0.05, lag) for off in OFFSETS)) for lag in (0.0, 0.02))
    assert median(at_once) - median(lagging) == pytest.approx(0.02, abs=0.01)


def test_the_tail_of_a_long_run_is_that_of_its_worst_stretches() -> None:
    """As long as margins are noisy, the edge is below where they are 0 on average."""
    quiet, noisy = (seen(*(Sight(1 + off, 8 * off, error) for off in OFFSETS * 3)) for error in (0.01, 0.4))
    assert median(noisy) < median(quiet)


def test_errors_that_are_too_small_are_seen_through() -> None:
    """Runs at one rate that are far apart by their own errors: the interval grows with how far."""
    close, apart = (
        seen(*(Sight(1.0, sign * spread, 0.03) for sign in (1, -1) * 4)) for spread in (0.02, 0.15)
    )
    assert apart.deviation > 1.2 * close.deviation


def above(edge: Edge, log_rate: float) -> float:
    """The chance that the capacity is higher."""
    return float(edge.density[edge.grid > log_rate].sum())


def test_no_lag_makes_a_miss_a_pass() -> None:
    """However much better than it is a run may look: what it missed is missed."""
    at_once, lagging = (above(seen(Sight(1.0, 0.5, 0.05, lag)), 1.05) for lag in (0.0, 0.2))
    assert lagging < 1.2 * at_once + 0.02


def test_no_capacity_is_far_above_a_rate_that_saturates() -> None:
    """However little the runs below it say of the slope."""
    for spread in (0.02, 0.1):
        edge = seen(Sight(0.5, -0.3, 0.3, 0.0, spread), Sight(1.0, math.inf, 0.0, 0.0, spread))
        assert above(edge, 1.1) < 0.12
        assert above(seen(Sight(0.5, -0.3, 0.3, 0.0, spread)), 1.1) > 0.6


@pytest.mark.parametrize("depth", [0.5, 1.0])
def test_what_is_flat_far_below_says_nothing_of_the_slope(depth: float) -> None:
    """A hockey stick: flat up to 5 % below the edge, then steep."""
    flat = [Sight(1 - off, -depth, 0.05) for off in (0.4, 0.2, 0.08)]
    edge = Edge(-1.0, 1.4)
    for sight in (*flat, Sight(1.03, 0.5, 0.05)):
        edge.add(sight)
    assert 0.92 < median(edge) < 1.03
    assert above(edge, 0.88) > 0.95
    assert above(edge, 1.08) < 0.3
