from __future__ import annotations

import itertools
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.judge.ranks import exact_p, normal_score, u_statistic

# What is expected of these is what scipy 1.16 says, and asv 0.6 of the exact p.
LEFT = np.array([1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30])
RIGHT = np.array([0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.061, 3.14, 1.291])
TIED_LEFT = np.array([1.0, 1, 2, 3, 3, 4, 5])
TIED_RIGHT = np.array([2.0, 3, 3, 5, 5, 6, 7, 7])

SAMPLES = st.lists(st.integers(0, 20), min_size=1, max_size=12).map(lambda some: np.array(some, dtype=float))


def p_of(score: float) -> float:
    return 2 * NormalDist().cdf(-abs(score))


def test_the_exact_p_is_that_of_scipy() -> None:
    assert u_statistic(LEFT, RIGHT) == (23, 0)
    assert exact_p(LEFT, RIGHT) == pytest.approx(0.13591114767585355, rel=1e-12)


def test_the_normal_approximation_is_that_of_scipy() -> None:
    assert p_of(normal_score(LEFT, RIGHT)) == pytest.approx(0.12227667721471389, rel=1e-9)
    assert normal_score(LEFT, RIGHT) < 0


def test_with_ties_too() -> None:
    assert u_statistic(TIED_LEFT, TIED_RIGHT)[0] == 56 - 11.5
    assert p_of(normal_score(TIED_LEFT, TIED_RIGHT)) == pytest.approx(0.05248130584343236, rel=1e-9)


def test_six_against_six_can_never_reach_what_asv_asks_for() -> None:
    assert exact_p(np.arange(6.0), np.arange(6.0) + 10) == pytest.approx(2 / 924)


@pytest.mark.parametrize(("m", "n"), [(1, 1), (2, 5), (4, 4), (5, 3)])
def test_the_exact_p_counts_all_orders(m: int, n: int) -> None:
    def excess(places: tuple[int, ...]) -> float:
        right = np.setdiff1d(np.arange(m + n), places).astype(float)
        return abs(u_statistic(np.array(places, dtype=float), right)[0] - m * n / 2)

    orders = list(itertools.combinations(range(m + n), m))
    for places in orders:
        right = np.setdiff1d(np.arange(m + n), places).astype(float)
        as_far = sum(excess(other) >= excess(places) for other in orders)
        assert exact_p(np.array(places, dtype=float), right) == pytest.approx(min(1, as_far / len(orders)))


def test_ties_have_no_exact_p() -> None:
    with pytest.raises(ValueError, match="without ties"):
        exact_p(TIED_LEFT, TIED_RIGHT)


@given(SAMPLES, SAMPLES)
def test_sides_that_are_swapped_give_the_opposite_score(left: np.ndarray, right: np.ndarray) -> None:
    assert normal_score(left, right) == pytest.approx(-normal_score(right, left))
    assert u_statistic(left, right)[0] + u_statistic(right, left)[0] == len(left) * len(right)


@given(SAMPLES, SAMPLES, st.integers(1, 5))
def test_only_the_order_counts(left: np.ndarray, right: np.ndarray, factor: int) -> None:
    assert normal_score(left**2 * factor, right**2 * factor) == normal_score(left, right)
