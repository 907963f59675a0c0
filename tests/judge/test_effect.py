from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.effect import SCALE, chance_beyond

LIMIT = 0.05


def risk(estimate: float, error: float, degrees: float = 8, limit: float = LIMIT) -> float:
    return float(chance_beyond(*(np.array([value]) for value in (estimate, error, degrees, limit)))[0])


@pytest.mark.parametrize("limit", [0.01, 0.05, 0.2])
@pytest.mark.parametrize("degrees", [4, 12, 300])
@pytest.mark.parametrize("error", [0.003, 0.01, 0.05, 0.2])
@pytest.mark.parametrize("estimate", [-0.1, 0.0, 0.03, 0.05, 0.06, 0.3])
def test_it_agrees_with_the_mean_likelihood_of_a_million_changes(
    estimate: float, error: float, degrees: float, limit: float
) -> None:
    shares = (np.arange(1_000_000) + 0.5) / 1_000_000
    changes = SCALE * limit * np.tan(math.pi * (shares - 0.5))
    likelihood = (1 + ((estimate - changes) / error) ** 2 / degrees) ** (-(degrees + 1) / 2)
    exact = likelihood[changes > limit].sum() / likelihood.sum()
    assert risk(estimate, error, degrees, limit) == pytest.approx(exact, abs=2e-3)


def test_what_measures_nothing_leaves_the_prior() -> None:
    beyond = 0.5 - math.atan(1 / SCALE) / math.pi
    assert risk(0.0, 100.0) == pytest.approx(beyond, abs=3e-3)


def test_the_prior_is_the_one_of_the_documentation() -> None:
    assert 2 * math.atan(1) / math.pi == 0.5  # half of all changes are within SCALE × tolerance
    assert 2 * math.atan(2 / SCALE) / math.pi == pytest.approx(0.9, abs=0.015)
    assert 1 - 2 * math.atan(1 / SCALE) / math.pi == pytest.approx(0.2, abs=0.025)


@pytest.mark.parametrize(
    ("estimate", "certain"), [(0.0, 0.0), (0.045, 0.0), (0.055, 1.0), (0.1, 1.0), (3.0, 1.0)]
)
def test_what_is_measured_well_is_believed(estimate: float, certain: float) -> None:
    assert risk(estimate, 1e-4, 30) == pytest.approx(certain, abs=1e-3)


def test_a_change_that_is_measured_well_to_lie_on_the_tolerance_is_an_even_bet() -> None:
    assert risk(LIMIT, 1e-4, 30) == pytest.approx(0.5, abs=0.01)


def test_the_prior_argues_a_vague_change_away_and_a_clear_one_not() -> None:
    assert risk(0.06, 0.05) < 0.4
    assert risk(0.5, 0.05) > 0.99


@settings(deadline=None)
@given(
    estimate=st.floats(-0.5, 1),
    more=st.floats(0.001, 0.5),
    error=st.floats(0.002, 0.3),
    degrees=st.floats(4, 300),
)
def test_it_is_a_probability_that_rises_with_the_estimate(
    estimate: float, more: float, error: float, degrees: float
) -> None:
    lower, higher = risk(estimate, error, degrees), risk(estimate + more, error, degrees)
    assert 0 <= lower <= higher + 1e-5
    assert higher <= 1 + 1e-12


@settings(deadline=None)
@given(
    estimate=st.floats(-0.3, 0.5),
    error=st.floats(0.002, 0.3),
    degrees=st.floats(1, 300),
    unit=st.floats(0.01, 40),
)
def test_it_does_not_depend_on_the_unit(estimate: float, error: float, degrees: float, unit: float) -> None:
    scaled = risk(estimate * unit, error * unit, degrees, LIMIT * unit)
    assert scaled == pytest.approx(risk(estimate, error, degrees), abs=1e-9)


@settings(deadline=None)
@given(estimate=st.floats(-0.3, 0.04), error=st.floats(0.002, 0.1), factor=st.floats(1.1, 10))
def test_a_wider_tolerance_is_less_likely_to_be_passed(estimate: float, error: float, factor: float) -> None:
    # Up to what the trapezoids leave, where both are next to nothing.
    assert risk(estimate, error, limit=LIMIT * factor) <= risk(estimate, error) + 2e-3


def test_each_of_many_is_as_it_is_alone() -> None:
    figures = [(0.0, 0.01, 4.0, 0.05), (0.2, 0.1, 12.0, 0.02), (-0.1, 0.003, 300.0, 0.9)]
    together = chance_beyond(*np.array(figures).T)
    assert together.tolist() == pytest.approx([risk(*figure) for figure in figures], rel=1e-12)
