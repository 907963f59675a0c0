from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.prior import Prior
from pytest_llmperf.judge.ranking import Entrant, rank

PRIOR = Prior(0.05)
VALUES = st.lists(st.floats(0.1, 1000), min_size=1, max_size=5).map(tuple)


def launches(rng: np.random.Generator, truth: float, count: int, spread: float = 0.05) -> tuple[float, ...]:
    return tuple(float(truth * math.exp(e)) for e in rng.normal(0, spread, count))


def test_what_is_better_by_far_is_best_and_the_rest_is_worse() -> None:
    best, other = rank([Entrant("b", (10.0, 10.2)), Entrant("a", (14.1, 13.9))], "higher", PRIOR)
    assert (best.entrant.name, best.difference, other.is_tie) == ("a", None, False)
    assert other.difference == pytest.approx(10.1 / 14 - 1, abs=0.01)
    assert rank([best.entrant, other.entrant], "lower", PRIOR)[0].entrant.name == "b"


def test_a_single_launch_each_tells_only_what_is_far_apart() -> None:
    near = rank([Entrant("a", (10.0,)), Entrant("b", (11.0,))], "higher", PRIOR)
    far = rank([Entrant("a", (10.0,)), Entrant("b", (13.0,))], "higher", PRIOR)
    assert [one.is_tie for one in (*near, *far)] == [True, True, True, False]


def test_what_may_be_better_than_it_was_seen_is_never_called_worse() -> None:
    _, other = rank(
        [Entrant("a", (100.0,) * 3), Entrant("b", (10.0,) * 3, may_be_better=True)], "higher", PRIOR
    )
    assert other.is_tie


@given(st.lists(VALUES, min_size=1, max_size=5), st.floats(0.01, 100))
def test_order_ties_and_intervals_hold_together(sets: list[tuple[float, ...]], scale: float) -> None:
    entrants = [Entrant(str(i), values) for i, values in enumerate(sets)]
    ranked = rank(entrants, "higher", PRIOR)
    assert sorted(one.entrant.name for one in ranked) == sorted(one.name for one in entrants)
    assert [one.is_tie for one in ranked] == sorted((one.is_tie for one in ranked), reverse=True)
    assert ranked[0].estimate == max(one.estimate for one in ranked)
    for one in ranked:
        assert one.low <= one.estimate <= one.high
        if one.difference_low is not None and one.difference_high is not None:
            assert one.is_tie == (one.difference_low <= 0 <= one.difference_high) or math.isclose(
                one.difference_high, 0, abs_tol=1e-6
            )
    scaled = [Entrant(one.name, tuple(scale * value for value in one.values)) for one in entrants]
    again = {one.entrant.name: one for one in rank(scaled, "higher", PRIOR)}
    for one in ranked:
        assert again[one.entrant.name].estimate == pytest.approx(scale * one.estimate)


def test_equals_are_ties_and_a_third_more_is_found_counted_over_fixed_sessions() -> None:
    """Three launches each that vary by 5 %: of equals, one that is not best is seldom called worse; 30 % less
    nearly always."""
    rng = np.random.default_rng(1)
    wrong = missed = 0
    for _ in range(300):
        equals = [Entrant(name, launches(rng, 10, 3)) for name in "abc"]
        wrong += any(not one.is_tie for one in rank(equals, "higher", PRIOR))
        apart = [Entrant("a", launches(rng, 13, 3)), Entrant("b", launches(rng, 10, 3))]
        best, other = rank(apart, "higher", PRIOR)
        missed += best.entrant.name != "a" or other.is_tie
    assert wrong <= 15  # 5 % of 300
    assert missed <= 3


def test_nothing_comes_of_nothing() -> None:
    assert rank([], "higher", PRIOR) == []
    with pytest.raises(ValueError, match="a: needs positive values"):
        rank([Entrant("a", (0.0,))], "higher", PRIOR)
