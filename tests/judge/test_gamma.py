from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.gamma import digamma, inverse_trigamma, trigamma

EULER = 0.57721566490153286


@pytest.mark.parametrize(
    ("x", "published"),
    [
        (1, -EULER),
        (0.5, -EULER - 2 * math.log(2)),
        (0.25, -EULER - math.pi / 2 - 3 * math.log(2)),
        (2, 1 - EULER),
        (10, 2.25175258906672110764),
        (100, 4.60016185273808740),
    ],
)
def test_digamma_has_the_published_values(x: float, published: float) -> None:
    assert float(digamma(x)) == pytest.approx(published, rel=1e-13)


@pytest.mark.parametrize(
    ("x", "published"),
    [
        (1, math.pi**2 / 6),
        (0.5, math.pi**2 / 2),
        (2, math.pi**2 / 6 - 1),
        (10, 0.10516633568168574613),
        (100, 0.01005016666333357139),
    ],
)
def test_trigamma_has_the_published_values(x: float, published: float) -> None:
    assert float(trigamma(x)) == pytest.approx(published, rel=1e-13)


@settings(deadline=None)
@given(x=st.floats(0.05, 500))
def test_both_obey_their_recurrences(x: float) -> None:
    assert float(digamma(x + 1) - digamma(x)) == pytest.approx(1 / x, rel=1e-9, abs=1e-13)
    assert float(trigamma(x) - trigamma(x + 1)) == pytest.approx(1 / x**2, rel=1e-7, abs=1e-13)


@settings(deadline=None)
@given(x=st.floats(0.1, 200))
def test_they_are_the_derivatives_of_log_gamma_and_of_each_other(x: float) -> None:
    step = 1e-4 * x
    slope = (math.lgamma(x + step) - math.lgamma(x - step)) / (2 * step)
    assert float(digamma(x)) == pytest.approx(slope, rel=1e-5, abs=1e-6)
    slope = float(digamma(x + step) - digamma(x - step)) / (2 * step)
    assert float(trigamma(x)) == pytest.approx(slope, rel=1e-6)


def test_arrays_are_taken_element_by_element_and_left_as_they_were() -> None:
    x = np.array([[0.5, 1.0], [10.0, 1e6]])
    kept = x.copy()
    for function in (digamma, trigamma):
        whole = function(x)
        assert whole.shape == (2, 2)
        assert whole.ravel().tolist() == [float(function(one)) for one in kept.ravel()]
    assert (x == kept).all()


@settings(deadline=None)
@given(exponent=st.floats(-8, 8))
def test_inverse_trigamma_is_undone_by_trigamma(exponent: float) -> None:
    y = 10**exponent
    assert float(trigamma(inverse_trigamma(y))) == pytest.approx(y, rel=1e-9)


def test_they_are_mean_and_variance_of_the_logarithm_of_a_variance() -> None:
    """Of normal samples with 4 degrees of freedom: what shrinkage of variances rests on."""
    rng = np.random.default_rng(3)
    logs = np.log(rng.normal(size=(100_000, 5)).var(axis=1, ddof=1))
    assert logs.mean() == pytest.approx(float(digamma(2)) - math.log(2), abs=0.01)
    assert logs.var() == pytest.approx(float(trigamma(2)), rel=0.02)
