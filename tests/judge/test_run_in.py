from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmperf.judge.run_in import MOST_SHARE, lag, relaxation_s, run_in_s

SECONDS = st.floats(1e-3, 1e3)


@given(SECONDS, SECONDS, SECONDS)
def test_a_run_in_is_bounded_and_a_longer_one_lags_less(
    relaxes_s: float, duration_s: float, more_s: float
) -> None:
    before_s = run_in_s(relaxes_s, duration_s)
    assert 0 < before_s <= MOST_SHARE * duration_s
    assert 0 <= lag(before_s + more_s, relaxes_s, duration_s) <= lag(before_s, relaxes_s, duration_s) < 1


def test_a_batch_relaxes_as_its_formula_says() -> None:
    """Steps of 8 + 0.08 n ms, 100 tokens: how fast the number under way comes back to the steady state."""
    rate, alone_s, by_each_s = 8.0, 0.8, 0.008

    def growth(n: float) -> float:
        return rate - n / (alone_s + by_each_s * n)

    steady = rate * alone_s / (1 - rate * by_each_s)
    n, passed_s, step_s = 0.99 * steady, 0.0, 0.001
    while n < steady * (1 - 0.01 / math.e):
        n, passed_s = n + step_s * growth(n), passed_s + step_s
    assert passed_s == pytest.approx(relaxation_s(alone_s + by_each_s * steady, alone_s), rel=0.02)


def test_nothing_is_faster_than_what_is_alone() -> None:
    assert relaxation_s(1.0, 2.0) == 1.0
