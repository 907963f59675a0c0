from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.edge import Edge, Sight, _t_below
from pytest_llmperf.judge.student import t_tail


def seen(*sights: Sight) -> Edge:
    edge = Edge(-1.0, 3.0)
    for sight in sights:
        edge.add(sight)
    return edge


def median(edge: Edge) -> float:
    return edge.quantiles([0.5])[0]


@given(st.floats(-50, 50))
def test_students_probability_with_four_degrees(t: float) -> None:
    """As well as the other one is good near 0."""
    assert float(_t_below(np.array(t))) == pytest.approx(float(1 - t_tail(t, 4)), abs=1e-7)


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
