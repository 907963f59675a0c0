from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.boundary import levels

NORMAL = NormalDist()
EVEN = (0.2, 0.4, 0.6, 0.8, 1.0)
TIMES = st.lists(st.integers(1, 19), max_size=5, unique=True).map(
    lambda k: (*(n / 20 for n in sorted(k)), 1.0)
)


@pytest.mark.parametrize("alpha", [0.4, 0.05, 0.001, 1e-6, 1e-9])
def test_who_looks_once_may_spend_it_all(alpha: float) -> None:
    assert levels(alpha, [1.0]) == pytest.approx((alpha,), rel=1e-12, abs=0)


@pytest.mark.parametrize("first", [0.1, 0.5, 0.9])
def test_the_first_look_spends_the_fifth_power_of_its_time(first: float) -> None:
    assert levels(0.01, [first, 1.0])[0] == pytest.approx(0.01 * first**5, rel=1e-12, abs=0)


@pytest.mark.parametrize("alpha", [0.05, 1e-3, 1e-5])
@pytest.mark.parametrize("first", [0.25, 0.5, 0.8, 0.95])
def test_two_looks_agree_with_the_bivariate_normal_distribution(alpha: float, first: float) -> None:
    """P(no alarm at the first, one at the second), by another quadrature, is what the second may spend."""
    one, two = (-NORMAL.inv_cdf(level) for level in levels(alpha, [first, 1.0]))
    z, step = np.linspace(-10, one, 20_001, retstep=True)
    later = np.array([(two - x * math.sqrt(first)) / math.sqrt(2 * (1 - first)) for x in z])
    crossing = np.exp(-z * z / 2) / math.sqrt(2 * math.pi) * 0.5 * np.array([math.erfc(x) for x in later])
    spent = float((crossing[1:] + crossing[:-1]).sum() / 2 * step)
    assert spent == pytest.approx(alpha * (1 - first**5), rel=1e-3, abs=0)


@pytest.mark.parametrize("times", [EVEN, (0.5, 0.625, 0.75, 0.875, 1.0), (0.9, 0.93, 0.96, 0.98, 1.0)])
def test_paths_of_chance_cross_as_often_as_they_may(times: tuple[float, ...]) -> None:
    alpha, paths = 0.05, 200_000
    rng = np.random.default_rng(11)
    steps = rng.normal(size=(paths, len(times))) * np.sqrt(np.diff([0.0, *times]))
    z = steps.cumsum(axis=1) / np.sqrt(times)
    crossed = z > [-NORMAL.inv_cdf(level) for level in levels(alpha, times)]
    by_then = np.logical_or.accumulate(crossed, axis=1).mean(axis=0)
    allowed = alpha * np.array(times) ** 5
    assert by_then == pytest.approx(allowed, abs=float(4 * math.sqrt(alpha / paths)))


@settings(deadline=None, max_examples=40)
@given(times=TIMES, alpha=st.sampled_from([0.05, 1e-3, 1e-5]))
def test_no_look_may_spend_more_than_all_and_all_no_less_than_that(
    times: tuple[float, ...], alpha: float
) -> None:
    each = levels(alpha, times)
    assert len(each) == len(times)
    # A look may call at least what it adds to the error: those who were called before would be called again.
    spends = np.diff([0.0, *(alpha * time**5 for time in times)])
    for level, spend in zip(each, spends, strict=True):
        assert spend * (1 - 1e-4) <= level <= alpha * (1 + 1e-9)
    assert sum(each) >= alpha * (1 - 1e-4)


def test_later_looks_may_say_more() -> None:
    each = levels(1e-4, EVEN)
    assert list(each) == sorted(each)


def test_another_look_costs_the_last_one_little() -> None:
    """Why the fifth power: five looks leave more than 70 % of the error to the last."""
    assert levels(1e-4, (4 / 8, 5 / 8, 6 / 8, 7 / 8, 1.0))[-1] > 0.7e-4


def test_a_first_look_of_very_many_has_a_level_too() -> None:
    assert levels(1e-5, [0.001, 1.0])[0] == pytest.approx(1e-20, rel=1e-9, abs=0)


@pytest.mark.parametrize(
    "times", [[], [0.5], [0.0, 1.0], [-0.5, 1.0], [0.6, 0.3, 1.0], [0.5, 0.5, 1.0], [1.0, 2.0]]
)
def test_times_that_do_not_rise_to_1_are_refused(times: list[float]) -> None:
    with pytest.raises(ValueError, match="do not rise to 1"):
        levels(0.01, times)


@pytest.mark.parametrize("alpha", [0.0, -0.1, 0.5, 1.0, math.nan])
def test_an_error_that_is_none_is_refused(alpha: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and"):
        levels(alpha, [1.0])
