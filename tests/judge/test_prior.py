from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.prior import DEGREES, MOST_DEGREES, Prior, learn

PRIOR = Prior(0.05)
HISTORIES = st.lists(st.tuples(st.floats(1e-7, 1e-1), st.integers(1, 12)), max_size=12)


def test_a_documented_spread_is_worth_four_degrees() -> None:
    assert PRIOR.degrees == DEGREES == 4.0


@pytest.mark.parametrize("history", [[], [(0.0, 4)], [(0.01, 0)], [(0.0, 2), (0.0, 3)]])
def test_without_a_history_the_prior_stays(history: list[tuple[float, int]]) -> None:
    assert learn(PRIOR, history) == PRIOR


def test_variances_are_pooled_by_their_degrees() -> None:
    learnt = learn(PRIOR, [(0.0001, 4), (0.0009, 2)])
    assert learnt.spread**2 == pytest.approx((4 * 0.0025 + 4 * 0.0001 + 2 * 0.0009) / 10)


def test_one_session_adds_its_degrees() -> None:
    learnt = learn(PRIOR, [(0.0025, 6)])
    assert (learnt.spread, learnt.degrees) == pytest.approx((0.05, 10.0))


def test_a_spread_of_zero_is_no_knowledge() -> None:
    """Launches that are equal to the last digit have coarse values, and not no spread."""
    history = [(0.0004, 4), (0.0005, 4)]
    assert learn(PRIOR, [*history, (0.0, 4)]) == learn(PRIOR, history)


def test_like_sessions_are_worth_sixteen_degrees_and_no_more() -> None:
    learnt = learn(PRIOR, [(0.0004, 4)] * 1000)
    assert learnt.degrees == MOST_DEGREES == 16.0
    assert learnt.spread == pytest.approx(0.02, rel=0.01)


def test_sessions_that_differ_by_chance_only_are_worth_about_as_much() -> None:
    rng = np.random.default_rng(5)
    history = [(0.0004 * float(rng.chisquare(4)) / 4, 4) for _ in range(200)]
    assert learn(PRIOR, history).degrees > 12


def test_unlike_sessions_are_worth_less() -> None:
    """Variances that themselves vary as if from 6 degrees: what is learnt is worth about 6."""
    rng = np.random.default_rng(6)
    history = [(0.0004 * 6 / float(rng.chisquare(6)) * float(rng.chisquare(8)) / 8, 8) for _ in range(400)]
    assert learn(PRIOR, history).degrees == pytest.approx(6, abs=1.5)


def test_a_history_at_odds_with_itself_is_worth_no_less_than_the_prior() -> None:
    learnt = learn(PRIOR, [(1e-6, 8), (1e-2, 8), (1e-6, 8), (1e-2, 8)])
    assert learnt.degrees == PRIOR.degrees


@settings(deadline=None)
@given(history=HISTORIES, prior=st.builds(Prior, st.floats(0.005, 0.2), st.floats(1, 16)))
def test_what_is_learnt_lies_between_what_was_known_and_seen(
    history: list[tuple[float, int]], prior: Prior
) -> None:
    learnt = learn(prior, history)
    spreads = [prior.spread, *(math.sqrt(variance) for variance, _ in history)]
    assert min(spreads) * (1 - 1e-9) <= learnt.spread <= max(spreads) * (1 + 1e-9)
    assert prior.degrees * (1 - 1e-9) <= learnt.degrees <= MOST_DEGREES


@settings(deadline=None)
@given(history=HISTORIES.filter(bool), unit=st.floats(0.1, 10))
def test_the_unit_of_a_spread_does_not_change_what_it_is_worth(
    history: list[tuple[float, int]], unit: float
) -> None:
    plain = learn(PRIOR, history)
    scaled = learn(Prior(0.05 * unit), [(variance * unit**2, degrees) for variance, degrees in history])
    assert scaled.spread == pytest.approx(plain.spread * unit)
    assert scaled.degrees == pytest.approx(plain.degrees)
