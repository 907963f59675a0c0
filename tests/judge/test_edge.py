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
    edge = seen(Sight(log_rate, margin, error, 1.0))
    assert edge.density.min() >= 0
    assert float(edge.density.sum()) == pytest.approx(1)
    low, high = edge.quantiles([0.025, 0.975])
    assert -1 <= low <= high <= 3


@given(st.floats(-0.5, 2.5), st.floats(0.01, 2))
@settings(max_examples=30, deadline=None)
def test_a_miss_lowers_and_a_pass_raises_what_is_expected(log_rate: float, margin: float) -> None:
    missed, met = (seen(Sight(log_rate, sign * margin, 0.05, 1.0)) for sign in (1, -1))
    assert median(missed) < median(met)
    assert median(seen(Sight(log_rate, math.inf, 0, 1.0))) < median(seen(Sight(log_rate, -math.inf, 0, 1.0)))


def test_a_run_close_to_the_edge_tells_more_than_one_far_from_it() -> None:
    near, far = (seen(Sight(1.0 + off, 4 * off, 0.05, 1.0)) for off in (0.02, 0.8))
    assert near.deviation < far.deviation


def test_a_short_run_tells_less_than_a_full_one() -> None:
    """Four runs each, because one alone leaves the slope open."""
    offsets = (-0.05, -0.02, 0.02, 0.05)
    full, short = (seen(*(Sight(1 + off, 4 * off, 0.05, share) for off in offsets)) for share in (1.0, 0.25))
    assert full.deviation < short.deviation


def test_errors_that_are_too_small_are_seen_through() -> None:
    """Runs at one rate that are far apart by their own errors: the interval grows with how far."""
    close, apart = (
        seen(*(Sight(1.0, sign * spread, 0.03, 1.0) for sign in (1, -1) * 4)) for spread in (0.02, 0.15)
    )
    assert apart.deviation > 1.2 * close.deviation
