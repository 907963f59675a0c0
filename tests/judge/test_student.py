from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytest_llmperf.judge.student import t_quantile, t_tail

PROBABILITIES = st.floats(0.0005, 0.9995)
DEGREES = st.floats(0.5, 500)


@pytest.mark.parametrize(
    ("probability", "degrees", "published"),
    [
        (0.75, 1, 1.0),
        (0.95, 1, 6.3137515147),
        (0.975, 1, 12.7062047364),
        (0.995, 1, 63.6567411629),
        (0.95, 2, 2.9199855804),
        (0.975, 2, 4.3026527297),
        (0.975, 3, 3.1824463053),
        (0.975, 4, 2.7764451052),
        (0.975, 5, 2.5705818356),
        (0.975, 6, 2.4469118511),
        (0.975, 8, 2.3060041352),
        (0.90, 10, 1.3721836411),
        (0.975, 10, 2.2281388520),
        (0.995, 30, 2.7499956536),
        (0.975, 100, 1.9839715185),
    ],
)
def test_quantiles_agree_with_the_published_tables(
    probability: float, degrees: float, published: float
) -> None:
    assert t_quantile(probability, degrees) == pytest.approx(published, rel=1e-9)


@pytest.mark.parametrize("degrees", [1e7, 1e8])
def test_with_very_many_degrees_it_is_the_normal_distribution(degrees: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(1.9599639845, abs=1e-6)


@settings(deadline=None)
@given(probability=PROBABILITIES)
def test_one_degree_is_cauchys_distribution_in_closed_form(probability: float) -> None:
    exact = math.tan(math.pi * (probability - 0.5))
    assert t_quantile(probability, 1) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@settings(deadline=None)
@given(probability=PROBABILITIES)
def test_two_degrees_have_a_closed_form_too(probability: float) -> None:
    exact = (2 * probability - 1) * math.sqrt(2 / (4 * probability * (1 - probability)))
    assert t_quantile(probability, 2) == pytest.approx(exact, rel=1e-8, abs=1e-8)


@settings(deadline=None)
@given(probability=PROBABILITIES, degrees=DEGREES)
def test_it_is_symmetric_about_zero(probability: float, degrees: float) -> None:
    mirrored = -t_quantile(1 - probability, degrees)
    assert t_quantile(probability, degrees) == pytest.approx(mirrored, rel=1e-8, abs=1e-8)


@settings(deadline=None)
@given(probability=PROBABILITIES, step=st.floats(1e-4, 0.4), degrees=DEGREES)
def test_it_grows_with_the_probability(probability: float, step: float, degrees: float) -> None:
    larger = min(probability + step, 0.9999)
    assert t_quantile(probability, degrees) < t_quantile(larger, degrees)


@settings(deadline=None)
@given(probability=st.floats(0.6, 0.9995), degrees=DEGREES, more=st.floats(1.1, 100))
def test_more_degrees_bring_the_tail_in_but_never_inside_the_normal_one(
    probability: float, degrees: float, more: float
) -> None:
    few, many = t_quantile(probability, degrees), t_quantile(probability, degrees * more)
    assert few > many > NormalDist().inv_cdf(probability)


def test_the_median_is_zero() -> None:
    assert t_quantile(0.5, 3) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("probability", [0, 1, -0.1, 1.1, math.nan])
def test_a_probability_outside_0_to_1_is_refused(probability: float) -> None:
    with pytest.raises(ValueError, match="is not between 0 and 1"):
        t_quantile(probability, 3)


# -- tails -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(t=st.floats(-1e6, 1e6))
def test_the_tail_of_one_degree_is_cauchys_in_closed_form(t: float) -> None:
    exact = math.atan2(1, t) / math.pi
    assert float(t_tail(t, 1)) == pytest.approx(exact, rel=1e-11, abs=1e-8 if abs(t) < 1e-3 else 0)


@settings(deadline=None)
@given(exponent=st.floats(-2, 60))
def test_the_tail_of_two_degrees_is_exact_however_far_out(exponent: float) -> None:
    t = 10**exponent
    root = math.hypot(t, math.sqrt(2))
    exact = 1 / (root * (root + t))  # (1 - t/√(t²+2)) / 2 without its cancellation
    assert float(t_tail(t, 2)) == pytest.approx(exact, rel=1e-11, abs=0)


@pytest.mark.parametrize("degrees", [4, 6, 10, 40])
@pytest.mark.parametrize("t", [0.5, 3.0, 20.0, 1000.0])
def test_tails_agree_with_the_integral_of_the_density(t: float, degrees: int) -> None:
    """From t to infinity in s = 1/x, by Gauss's rule."""
    nodes, weights = np.polynomial.legendre.leggauss(200)
    s = (nodes + 1) / (2 * t)
    density = s ** (degrees - 1) * (s * s + 1 / degrees) ** (-(degrees + 1) / 2)
    scale = math.exp(math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)) / math.sqrt(math.pi * degrees)
    exact = scale * float(weights @ density) / (2 * t)
    assert float(t_tail(t, degrees)) == pytest.approx(exact, rel=1e-9, abs=0)


@pytest.mark.parametrize(
    ("t", "degrees", "published"),
    [
        (2.7764451051977987, 4, 0.025),
        (4.604094871415897, 4, 0.005),
        (8.610301581379271, 4, 0.0005),
        (3.1692726726169518, 10, 0.005),
        (4.586893858702636, 10, 0.0005),
        (3.6459586350420214, 30, 0.0005),
    ],
)
def test_tails_agree_with_the_published_tables(t: float, degrees: float, published: float) -> None:
    assert float(t_tail(t, degrees)) == pytest.approx(published, rel=1e-9)


@settings(deadline=None)
@given(t=st.floats(-50, 50), degrees=DEGREES)
def test_both_tails_make_one(t: float, degrees: float) -> None:
    assert float(t_tail(t, degrees) + t_tail(-t, degrees)) == pytest.approx(1, abs=1e-12)


@settings(deadline=None)
@given(probability=PROBABILITIES, degrees=DEGREES)
def test_a_quantile_leaves_its_tail(probability: float, degrees: float) -> None:
    left = float(t_tail(t_quantile(probability, degrees), degrees))
    assert left == pytest.approx(1 - probability, rel=1e-8, abs=1e-8)


def test_a_quantile_far_below_the_median_is_as_good() -> None:
    t = t_quantile(1e-20, 2)
    assert t == pytest.approx(-1 / math.sqrt(2e-20), rel=1e-9)


def test_tails_of_arrays_are_those_of_their_elements() -> None:
    t, degrees = np.array([[-1.0, 0.0, 3.0]]), np.array([[1.0], [7.5]])
    together = t_tail(t, degrees)
    assert together.shape == (2, 3)
    assert together[:, 1].tolist() == [0.5, 0.5]
    assert float(together[1, 2]) == pytest.approx(float(t_tail(3.0, 7.5)), rel=1e-12)


def test_a_tail_too_thin_for_a_number_is_zero() -> None:
    assert float(t_tail(1e6, 300)) == 0


@pytest.mark.parametrize("degrees", [0, -1, math.nan])
def test_no_degrees_of_freedom_are_refused(degrees: float) -> None:
    with pytest.raises(ValueError, match="greater than 0"):
        t_tail(1.0, degrees)
